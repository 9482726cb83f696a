"""Where a base model lies and what its files say, found without torch."""
