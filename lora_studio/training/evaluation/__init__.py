"""What is drawn and measured between steps: previews, validation, scores of checkpoints."""
