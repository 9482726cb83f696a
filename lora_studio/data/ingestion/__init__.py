"""Uploaded files made a folder of clean pictures with captions and masks."""
