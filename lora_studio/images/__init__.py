"""Made images as files: their settings, those of other programs, pictures that came in, sheets."""
