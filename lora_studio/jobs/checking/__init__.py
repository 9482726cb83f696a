"""Checks of uploaded sets of pictures, made in the background."""
