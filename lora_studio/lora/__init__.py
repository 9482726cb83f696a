"""The adapter: attaching it, its key names, its metadata, its file."""
