"""LoRAs and pictures in a library as trainings and generations leave them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy
from PIL import Image
from safetensors.numpy import save_file

from lora_studio.gallery import Gallery
from lora_studio.images.image_metadata import Origin, save_image
from lora_studio.lora.file.lora_files import file_name
from lora_studio.request import GeneratedImage, GenerateRequest, LoraUse
from lora_studio.settings import Settings

METADATA = {
    "modelspec.title": "My Cat",
    "modelspec.trigger_phrase": "zwx",
    "ss_steps": "200",
    "ss_network_dim": "8",
    "ss_network_alpha": "4",
    "ss_sd_model_name": "starter",
    "ss_base_model_version": "sd_v1",
}


LAYER = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_k"


def write_lora(path: Path, value: float = 1.0, layer: str = LAYER, **metadata: str) -> Path:
    """A small file with Kohya's names and metadata."""
    down, up = numpy.full((8, 16), value, numpy.float32), numpy.full((16, 8), value, numpy.float32)
    tensors = {
        f"{layer}.lora_down.weight": down,
        f"{layer}.lora_up.weight": up,
        f"{layer}.alpha": numpy.float32([4]),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path, metadata={**METADATA, **metadata})
    return path


def write_result(settings: Settings, slug: str, value: float = 1.0, **metadata: str) -> Path:
    """A folder as training leaves it; returns it."""
    folder = settings.loras / slug
    write_lora(folder / file_name(slug), value, **metadata)
    (folder / "training.json").write_text(json.dumps({"config": {"dataset": {"kind": "object"}}}))
    (folder / "previews").mkdir()
    for name, colour in (
        ("base-0", "grey"),
        ("step-000050-0", "red"),
        ("step-000100-0", "green"),
        ("step-000100-1", "blue"),
    ):
        Image.new("RGB", (400, 300), colour).save(folder / "previews" / f"{name}.png")
    (folder / "checkpoints").mkdir()
    write_lora(folder / "checkpoints" / f"{slug}-step00000050.safetensors")
    return folder


def draw(
    settings: Settings, prompt: str = "a cat", seed: int = 1, loras: tuple[LoraUse, ...] = (), **values: str
) -> GeneratedImage:
    """A picture as the generator writes it."""
    request = GenerateRequest(
        prompt=prompt,
        seed=seed,
        loras=loras,
        width=64,
        height=64,
        num_inference_steps=5,
        guidance_scale=3,
        sampler="DDIM",
        **values,
    )
    image = Image.new("RGB", (64, 64), (seed % 256, 50, 50))
    return save_image(image, settings.images, Origin(request=request, prompt=prompt, model="starter"))


def slugs(gallery: Gallery, search: str = "") -> list[str]:
    return sorted(record.slug for record in gallery.loras(search))
