"""Making images: cached pipelines, the stack of LoRAs, prompts, the denoising call, PNG files."""
