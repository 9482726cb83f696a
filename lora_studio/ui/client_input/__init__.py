"""What a client sends, checked."""
