"""The inspection of a LoRA file from anywhere: what it is, how strong, for which base, and who reads it."""
