"""LoRAs: their files, folders and checkpoints, and the network that is trained."""
