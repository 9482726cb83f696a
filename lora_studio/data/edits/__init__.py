"""Edits of a set of pictures: values, their log with undo, and the pictures and captions that they give."""
