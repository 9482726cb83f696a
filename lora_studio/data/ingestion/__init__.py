"""From uploaded files to a folder of clean pictures with captions."""
