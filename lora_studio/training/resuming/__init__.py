"""Saved states, and where a run begins."""
