"""Repairs and conversions of LoRA files: each writes a new file, and none touches an old one."""
