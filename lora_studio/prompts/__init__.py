"""What a prompt says before a model sees it: weights, wildcards, LoRA tags, styles. No torch in here."""
