"""Keeping a run from being spoiled."""
