"""The command line: `lora-studio`, or `python -m lora_studio`. The only package that prints."""
