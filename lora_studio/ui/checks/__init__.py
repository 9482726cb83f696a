"""The checks of a set of pictures on the Upload tab."""
