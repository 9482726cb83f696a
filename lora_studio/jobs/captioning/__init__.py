"""Captioning of uploaded sets by a model, in the background."""
