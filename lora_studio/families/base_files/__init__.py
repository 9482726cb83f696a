"""The place of a base model and the facts in its files, found without torch."""
