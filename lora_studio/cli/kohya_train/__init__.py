"""Trainings in sd-scripts' words, and as files for sd-scripts."""
