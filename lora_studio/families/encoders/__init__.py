"""Texts on their way to a denoiser: what encodes them, and what comes of it."""
