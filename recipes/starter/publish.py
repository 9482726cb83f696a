"""Put a finished snapshot where the app finds it."""

import os
import shutil

from diffusers import AutoencoderKL, StableDiffusionPipeline

from recipes.starter import autoencoder, settings, text_to_image

KEPT = ("README.md", "NOTICE", "sheet.webp", "gates.json")


def publish() -> None:
    """Copy the snapshot, with the autoencoder as it is now, to ``models/starter`` in one swap."""
    pipeline = StableDiffusionPipeline.from_pretrained(settings.SNAPSHOT, safety_checker=None)
    pipeline.vae = AutoencoderKL.from_pretrained(autoencoder.WIDE)
    part, old = settings.MODEL.with_name("starter.part"), settings.MODEL.with_name("starter.old")
    for folder in (part, old):
        shutil.rmtree(folder, ignore_errors=True)
    text_to_image.write_pipeline(pipeline, part)
    for name in KEPT:
        if (settings.MODEL / name).is_file():
            shutil.copyfile(settings.MODEL / name, part / name)
    if settings.MODEL.exists():
        os.replace(settings.MODEL, old)
    os.replace(part, settings.MODEL)
    shutil.rmtree(old, ignore_errors=True)
    size = sum(path.stat().st_size for path in settings.MODEL.rglob("*") if path.is_file())
    print(f"{settings.MODEL.name}: {size / 1e6:.1f} MB", flush=True)
