"""The training run: loop, objective, optimizer, checkpoints, previews."""
