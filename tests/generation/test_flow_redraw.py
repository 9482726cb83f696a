"""Pictures drawn from pictures on FLUX.1, Chroma and FLUX.2 klein, against diffusers' pipelines. Their layers
are side by side there and one here, so that values are 32 bit's last bits apart: a level of 255 at most."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from PIL import Image, ImageChops

from lora_studio.families.vae import Codec
from lora_studio.generator import Generator
from lora_studio.images.input_store import keep
from lora_studio.request import GenerateRequest
from lora_studio.settings import Settings
from tests.support.drawing import freeze_weights
from tests.support.tiny import make_tiny

SIZE = {"width": 64, "height": 48}
BOX = (16, 16, 48, 32)
"""Whole tokens of klein, which are 16 pixels, and of the others."""
IMG2IMG = {"flux": "FluxImg2ImgPipeline", "chroma": "ChromaImg2ImgPipeline", "klein": ""}
INPAINT = {"flux": "FluxInpaintPipeline", "klein": "Flux2KleinInpaintPipeline"}
"""Chroma's ends in an AttributeError, in diffusers 0.42.1."""
Redraw = Callable[..., Image.Image]


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("bases")
    return {shape: make_tiny(shape, folder / shape) for shape in IMG2IMG}


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp("kept")
    found = Settings(home=folder / "home", models=folder / "models")
    found.create_folders()
    return found


@pytest.fixture(scope="module")
def redraw(bases: dict[str, Path], settings: Settings) -> Redraw:
    generator = Generator(settings)

    def call(shape: str, **values: Any) -> Image.Image:
        values = {
            name: keep(one, settings.inputs) if "image" in name else one for name, one in values.items()
        }
        request = GenerateRequest(
            base=str(bases[shape]),
            prompt="a disc",
            seed=7,
            num_inference_steps=5,
            guidance_scale=1.0,
            **({"distilled_guidance_scale": 3.5} if shape == "flux" else {}),
            **values,
        )
        image = generator.generate(request)[0]
        with Image.open(image.path) as found:
            return found.convert("RGB")

    return call


def picture() -> Image.Image:
    """A gradient of each colour another way."""
    sides = [Image.linear_gradient("L").rotate(90 * turn) for turn in range(3)]
    return Image.merge("RGB", sides).resize((64, 48))


def mask(box: tuple[int, int, int, int] = BOX) -> Image.Image:
    found = Image.new("L", (64, 48))
    found.paste(255, box)
    return found


def plain_diffusers(base: Path, shape: str, kind: str, **values: Any) -> Image.Image:
    """klein's pipeline shows its denoiser the picture as well, and takes the middle of the cloud of its
    latents where others draw from it: here it does as they do."""
    pipe = getattr(diffusers, kind).from_pretrained(base)
    pipe.set_progress_bar_config(disable=True)
    freeze_weights(pipe)
    guidance = {"flux": 3.5, "chroma": 1.0, "klein": 1.0}[shape]
    texts: dict[str, Any] = {"prompt": "a disc"}
    if shape == "chroma":  # its mask of texts doesn't mask; see docs/objective.md
        states, _, text_mask, *_ = pipe.encode_prompt("a disc", do_classifier_free_guidance=False)
        states = states[:, text_mask[0].bool()]
        texts = {"prompt_embeds": states, "prompt_attention_mask": torch.ones(states.shape[:2])}
    if shape == "klein":
        width, codec = pipe.transformer.config.in_channels, Codec(pipe.vae)

        def encoded(image: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
            moments = codec.encode(image)
            noise = torch.randn(moments.mean.shape, generator=generator)
            return codec.sample(moments, noise, torch.float32)

        pipe._encode_vae_image = encoded
        pipe.prepare_image_latents = lambda *_: (torch.zeros(1, 0, width), torch.zeros(1, 0, 4))
    generator = torch.Generator().manual_seed(7)
    image: Image.Image = pipe(
        **texts, generator=generator, num_inference_steps=5, guidance_scale=guidance, **SIZE, **values
    ).images[0]
    return image


def largest_difference(one: Image.Image, other: Image.Image) -> int:
    return max(most for _, most in ImageChops.difference(one, other).getextrema())


@pytest.mark.parametrize("strength", [0.4, 1.0])
@pytest.mark.parametrize("shape", IMG2IMG)
def test_a_redrawn_picture_is_the_pipelines(
    redraw: Redraw, bases: dict[str, Path], shape: str, strength: float
) -> None:
    """klein has a pipeline for masks only: one that leaves nothing."""
    drawn = redraw(shape, image=picture(), strength=strength)
    values: dict[str, Any] = {"image": picture(), "strength": strength}
    if not IMG2IMG[shape]:
        values["mask_image"] = mask((0, 0, 64, 48))
    wanted = plain_diffusers(bases[shape], shape, IMG2IMG[shape] or INPAINT[shape], **values)
    assert largest_difference(drawn, wanted) <= 1
    assert largest_difference(drawn, picture()) > 20


@pytest.mark.parametrize("strength", [0.6, 1.0])
@pytest.mark.parametrize("shape", INPAINT)
def test_what_a_mask_frees_is_the_pipelines(
    redraw: Redraw, bases: dict[str, Path], shape: str, strength: float
) -> None:
    drawn = redraw(shape, image=picture(), mask_image=mask(), mask_blur=0, strength=strength)
    wanted = plain_diffusers(
        bases[shape], shape, INPAINT[shape], image=picture(), mask_image=mask(), strength=strength
    )
    assert largest_difference(drawn.crop(BOX), wanted.crop(BOX)) <= 1
    outside = drawn.copy()
    outside.paste(picture().crop(BOX), BOX)
    assert outside.tobytes() == picture().tobytes()
