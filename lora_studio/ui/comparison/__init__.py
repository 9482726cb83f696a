"""Comparisons on the page: two trainings side by side, and the strength of a LoRA."""
