"""Throws damaged and hostile inputs at what reads strangers' files and texts: see `__main__.py`."""
