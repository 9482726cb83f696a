"""Captions of a whole set: changed by rule, counted, searched."""
