"""The autoencoder's shift and scale, as diffusers' own pipelines have them, and in one place for all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from PIL import Image

from lora_studio.data.training_set.folders import read_folder
from lora_studio.events import ignore, never_stop
from lora_studio.families import family_of
from lora_studio.families.vae import Codec, Moments
from lora_studio.runtime import find_device
from lora_studio.training.model import Engine, load_engine
from lora_studio.training.preparation.latent_cache_key import encoder_mark
from lora_studio.training.preparation.training_data import prepare_data
from tests.support.tiny import denoiser_training, make_tiny_sdxl

MEANS, DEVIATIONS = [0.4, -0.3, 0.2, 0.9], [1.5, 0.5, 2.0, 0.8]
CENTRED = {"latents_mean": MEANS, "latents_std": DEVIATIONS, "scaling_factor": 0.5}


@pytest.fixture(scope="module")
def centred(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_sdxl(tmp_path_factory.mktemp("bases") / "centred", **CENTRED)


def codec(**facts: object) -> Codec:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        vae = AutoencoderKL(
            block_out_channels=(4, 4),
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            norm_num_groups=2,
            **facts,
        )
    return Codec(vae.eval())


@pytest.mark.parametrize(
    ("facts", "mean", "std"),
    [
        ({"scaling_factor": 0.5}, [0.5] * 4, [1.0] * 4),
        ({"scaling_factor": 0.5, "shift_factor": 0.25}, [0.375] * 4, [1.0] * 4),
        (CENTRED, [0.3 / 1.5, 1.3 / 1.0, 0.4 / 2.0, 0.05 / 0.8], [1 / 1.5, 2.0, 0.5, 1 / 0.8]),
        (CENTRED | {"shift_factor": 1.0}, [-0.2 / 1.5, 0.15 / 0.5, -0.1 / 2.0, -0.45 / 0.8], None),
        ({"scaling_factor": 0.5, "latents_mean": MEANS}, [0.5] * 4, [1.0] * 4),
    ],
)
@torch.no_grad()
def test_latents_are_moved_and_scaled_and_brought_back(
    facts: dict[str, object], mean: list[float], std: list[float] | None
) -> None:
    """Of moments of 1 and 2 everywhere."""
    own = codec(**facts)
    raw = Moments(mean=torch.ones(1, 4, 2, 2), std=torch.full((1, 4, 2, 2), 2.0))
    found = own.scaled(raw)
    torch.testing.assert_close(found.mean[0, :, 0, 0], torch.tensor(mean))
    if std is not None:
        torch.testing.assert_close(found.std[0, :, 1, 1], torch.tensor(std))
    noise = torch.randn(1, 4, 2, 2)
    drawn = own.sample(raw, noise, torch.float32)
    torch.testing.assert_close(drawn, found.mean + found.std * noise)
    back = own.decode(drawn)
    torch.testing.assert_close(
        back, (own.vae.decode(raw.mean + raw.std * noise).sample / 2 + 0.5).clamp(0, 1)
    )


@torch.no_grad()
def test_the_quick_way_of_encoding_is_the_same_but_for_the_last_bits() -> None:
    own = codec()
    pixels = torch.rand(1, 3, 16, 16) * 2 - 1
    plain, weight = own.encode(pixels), own.vae.encoder.conv_in.weight
    quick = own.encode(pixels, quick=True)
    torch.testing.assert_close(plain.mean, quick.mean)
    assert weight.is_contiguous(memory_format=torch.channels_last)
    own.free()
    assert weight.is_contiguous()
    assert torch.equal(own.encode(pixels).mean, plain.mean)


def engine(base: Path, folder: Path) -> Engine:
    return load_engine(
        denoiser_training(folder, base), family_of(str(base)).found, find_device(), torch.float32
    )


@torch.no_grad()
def test_training_sees_what_the_denoiser_was_trained_on(centred: Path, tmp_path: Path) -> None:
    own = engine(centred, tmp_path)
    data = prepare_data(own, read_folder(own.config.dataset), ignore, never_stop)
    assert data is not None
    placed = data.loader.pictures[0]
    mean, deviation = data.latents.moments(placed, mirrored=False)
    pixels = torch.from_numpy(np.array(Image.open(placed.picture.path).convert("RGB"))).permute(2, 0, 1)
    raw = own.base.vae.encode(pixels[None] / 127.5 - 1).latent_dist
    means, widths = (torch.tensor(values).view(-1, 1, 1) for values in (MEANS, DEVIATIONS))
    torch.testing.assert_close(mean, (raw.mean[0] - means) * 0.5 / widths)
    torch.testing.assert_close(deviation, raw.std[0] * 0.5 / widths)


def test_latents_that_were_kept_unmoved_are_not_used(centred: Path, tmp_path: Path) -> None:
    """What was kept of such an autoencoder when only its scale was known has another name."""
    marks = [encoder_mark(engine(centred, tmp_path))]
    own = engine(centred, tmp_path)
    own.base.vae.register_to_config(latents_mean=None, latents_std=None)
    marks.append(encoder_mark(own))
    assert len(set(marks)) == 2
