"""Pictures and measures between steps: previews, validation, scores of checkpoints."""
