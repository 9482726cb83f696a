"""English texts of the page, and those that a language's table lacks."""
