"""LoRA files on their way into the library: from a link, repaired, merged."""
