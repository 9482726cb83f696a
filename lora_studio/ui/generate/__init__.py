"""The Generate tab and its parts."""
