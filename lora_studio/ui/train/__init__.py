"""The Train tab and its parts."""
