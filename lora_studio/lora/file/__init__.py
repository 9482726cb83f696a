"""LoRA files on disk: keys, headers, metadata. No torch in here."""
