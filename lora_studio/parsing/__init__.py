"""Bounded readers of foreign text: numbers, JSON, TOML, archives, encodings, plain text."""
