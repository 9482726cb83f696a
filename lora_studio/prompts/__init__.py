"""Prompts before a model gets them: weights, wildcards, LoRA tags, styles. No torch in here."""
