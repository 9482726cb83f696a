"""The preparation of pictures for the loop, from their folders on."""
