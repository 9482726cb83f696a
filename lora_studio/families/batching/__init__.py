"""Several pictures in one call of the denoiser."""
