"""Picture files to pixels: decoding, colour profiles, masks, sizes."""
