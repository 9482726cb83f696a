"""The effects atlas: what each setting does, as strips of pictures with the same seed."""
