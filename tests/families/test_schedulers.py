from __future__ import annotations

import inspect
import math

import numpy
import pytest
import torch
from diffusers import DDPMScheduler

from lora_studio.catalog import SAMPLERS
from lora_studio.errors import ConfigError
from lora_studio.families.schedulers import build_scheduler
from tests.support.drawing import FIRST_SAMPLERS

CONFIG = {
    "_class_name": "DDIMScheduler",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "v_prediction",
    "timestep_spacing": "leading",
    "steps_offset": 1,
    "set_alpha_to_one": False,
    "clip_sample": False,
    "sample_max_value": 3.0,
}


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_keeps_the_bases_noise(name: str) -> None:
    scheduler = build_scheduler(name, CONFIG)
    assert type(scheduler).__name__ == SAMPLERS[name].scheduler
    assert scheduler.config.prediction_type == "v_prediction"
    assert (scheduler.config.beta_start, scheduler.config.beta_end) == (0.00085, 0.012)
    for option, value in SAMPLERS[name].options.items():
        assert scheduler.config[option] == value
    # What diffusers' pipelines find fault with on every picture.
    assert scheduler.config.get("clip_sample", False) is False


@pytest.mark.parametrize("name", SAMPLERS)
def test_latents_are_never_clipped_whatever_the_base_comes_with(name: str) -> None:
    own = {key: value for key, value in CONFIG.items() if key != "clip_sample"}
    scheduler = build_scheduler(name, {**own, "_class_name": "DPMSolverMultistepScheduler"})
    assert scheduler.config.get("clip_sample", False) is False


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize(
    "name",
    [name if name in FIRST_SAMPLERS else pytest.param(name, marks=pytest.mark.slow) for name in SAMPLERS],
)
def test_every_sampler_walks_from_noise_to_a_picture(name: str) -> None:
    """With a denoiser that knows the one picture there is, every sampler must arrive at it."""
    scheduler = build_scheduler(name, {**CONFIG, "prediction_type": "epsilon"})
    scheduler.set_timesteps(20)
    picture = torch.full((1, 4, 4, 4), 0.3)
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(picture.shape, generator=generator) * scheduler.init_noise_sigma
    extra = {"generator": generator} if "generator" in inspect.signature(scheduler.step).parameters else {}
    for timestep in scheduler.timesteps:
        alpha = alpha_at(float(timestep))
        noisy = scheduler.scale_model_input(latents, timestep)
        noise = (noisy - alpha**0.5 * picture) / (1 - alpha) ** 0.5
        latents = scheduler.step(noise, timestep, latents, **extra).prev_sample
    assert (latents - picture).abs().max() < 0.1


def alpha_at(timestep: float) -> float:
    """The schedule between whole timesteps, where some samplers step: linear in the logarithm of sigma."""
    alphas = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear").alphas_cumprod
    logs = ((1 - alphas) / alphas).sqrt().log().numpy()
    sigma = math.exp(numpy.interp(timestep, range(1000), logs))
    return 1 / (sigma**2 + 1)


def test_walking_samplers_keep_the_bases_spacing_and_the_others_their_own() -> None:
    assert build_scheduler("PNDM", CONFIG).config.steps_offset == 1
    assert build_scheduler("Euler", CONFIG).config.timestep_spacing == "linspace"


def test_the_bases_own_sampler_keeps_all_its_options() -> None:
    assert build_scheduler("DDIM", CONFIG).config.sample_max_value == 3.0


def test_an_unknown_sampler_is_told() -> None:
    with pytest.raises(ConfigError, match="no sampler called 'Fast'") as caught:
        build_scheduler("Fast", CONFIG)
    assert "Euler a" in caught.value.hint
