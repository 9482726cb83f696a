"""What strangers write, read within bounds: numbers, JSON, TOML, archives, encodings, plain text."""
