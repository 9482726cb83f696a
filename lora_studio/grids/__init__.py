"""X/Y/Z grids: axes, cells, and the sheet that is drawn of them."""
