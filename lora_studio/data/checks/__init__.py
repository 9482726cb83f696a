"""Checks of a set of pictures before it is trained on: measured once, looked through, and reported."""
