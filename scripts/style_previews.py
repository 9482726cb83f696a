"""Draw the preview of every style with the embedded base model: `python -m scripts.style_previews`."""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image

from lora_studio.generator import Generator
from lora_studio.prompts.styles import STYLES, apply_style
from lora_studio.request import GenerateRequest
from lora_studio.settings import Settings

SIDE = 128
SEED = 3
TILES = 3
"""Repetitions of the pattern along a side."""


def main() -> int:
    with TemporaryDirectory() as folder:
        settings = Settings(home=Path(folder), models=Path(folder) / "models")
        settings.create_folders()
        generator = Generator(settings)
        for style in STYLES.values():
            prompt, negative = apply_style(style.subject, "", style.key, base="starter")
            request = GenerateRequest(
                prompt=prompt, negative_prompt=negative, num_inference_steps=20, seed=SEED
            )
            (image,) = generator.generate(request)
            style.preview.parent.mkdir(parents=True, exist_ok=True)
            with Image.open(image.path) as picture:
                shown = _tiled(picture) if style.key == "pattern" else picture
                shown.convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS).save(
                    style.preview, "WEBP", quality=88, method=6
                )
    return 0


def _tiled(picture: Image.Image) -> Image.Image:
    sheet = Image.new("RGB", (picture.width * TILES, picture.height * TILES))
    for place in range(TILES * TILES):
        sheet.paste(picture, (place % TILES * picture.width, place // TILES * picture.height))
    return sheet


if __name__ == "__main__":
    sys.exit(main())
