"""LoRAs put on the Hugging Face Hub: the files that go up, and the way there."""
