"""Drawing with a tiny base: what a request says unless told otherwise, and the pixels that come out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image, ImageChops

from lora_studio.events import ignore
from lora_studio.families.base_files.locate import find_base
from lora_studio.generation.pipelines import LoadedBase, Pipelines
from lora_studio.generator import Generator
from lora_studio.request import GeneratedImage, GenerateRequest
from lora_studio.settings import Settings

TINY: dict[str, Any] = {
    "base": "tiny",
    "num_inference_steps": 3,
    "guidance_scale": 3.0,
    "seed": 7,
    "prompt": "a disc",
}

FIRST_SAMPLERS = ("DDIM", "Euler a", "DPM++ 2M", "LCM")
"""One of each kind for the first tier: plain, with new noise at each step, with steps before, with few."""

MakeLora = Callable[..., Path]
Draw = Callable[..., list[GeneratedImage]]


def pixels(*images: GeneratedImage) -> bytes:
    return b"".join(Image.open(image.path).tobytes() for image in images)


def difference(one: Image.Image, other: Image.Image) -> int:
    return max(high for _, high in ImageChops.difference(one, other).getextrema())


def freeze_weights(pipe: Any) -> None:
    """Keep all weights of diffusers' pipeline from training, as ours are: for others PyTorch takes another
    way through a linear layer, on a CPU without AVX-512 to other last bits."""
    import torch

    for part in pipe.components.values():
        if isinstance(part, torch.nn.Module):
            part.requires_grad_(False)


def load_tiny(settings: Settings) -> LoadedBase:
    base = Pipelines(settings).get(find_base("tiny", settings), ignore)
    assert base is not None
    return base


def fresh(settings: Settings, **values: object) -> bytes:
    """The same drawn by a generator that has never seen anything else."""
    request = GenerateRequest(**{**TINY, **values})
    return pixels(*Generator(settings).generate(request))
