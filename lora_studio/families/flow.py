"""The mathematics of flow matching along straight lines (Lipman et al. 2023, Liu et al. 2023). Legend: b
batch, c channels, h w height and width.

A time is 1000 times sigma, the share of noise: 0 is a picture, 1000 nothing but noise. What is here under
the names of sd-scripts' options gives its numbers; flux2_shift is musubi-tuner's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from lora_studio.catalog import FLOW_SAMPLERS
from lora_studio.config_groups import DIFFUSION_SETTINGS, NoiseGroup
from lora_studio.errors import ConfigError

TIMES = 1000
OWN_SCHEDULER = "FlowMatchEulerDiscreteScheduler"
LEAST_SIGMA = 1 / TIMES
"""Weights by 1 / sigma stop to grow here, where the table of times ends."""
BASE_TOKENS, MOST_TOKENS, BASE_SHIFT, MOST_SHIFT = 256, 4096, 0.5, 1.15
"""FLUX.1's line from the size of a picture to the logarithm of its shift."""
USED_BY: Mapping[str, tuple[str, ...]] = {
    "sigmoid_scale": ("sigmoid", "shift", "flux_shift", "flux2_shift"),
    "discrete_flow_shift": ("sigma", "shift"),
}
"""Settings that some ways of drawing a time use."""
USED_BY_DENSITY = {"logit_mean": "logit_normal", "logit_std": "logit_normal", "mode_scale": "mode"}


def shifted(sigma: torch.Tensor, shift: float) -> torch.Tensor:
    """Sigmas moved towards noise, 0 and 1 staying where they are (Esser et al. 2024)."""
    return sigma * shift / (1 + (shift - 1) * sigma)


def tokens_of(size: tuple[int, int]) -> int:
    """The count of 2x2 patches of latents of this height and width."""
    return (size[0] // 2) * (size[1] // 2)


def shift_of_tokens(tokens: int) -> float:
    """The shift for a picture of so many patches, as FLUX.1 was trained with."""
    slope = (MOST_SHIFT - BASE_SHIFT) / (MOST_TOKENS - BASE_TOKENS)
    return math.exp(BASE_SHIFT + slope * (tokens - BASE_TOKENS))


def draw_sigma(noise: NoiseGroup, generator: torch.Generator, size: tuple[int, int]) -> torch.Tensor:
    """One sigma, [1], drawn as `timestep_sampling` says."""
    match noise.timestep_sampling:
        case "uniform":
            return torch.rand(1, generator=generator)
        case "sigma":
            index = (_density(noise, generator) * TIMES).long().clamp(0, TIMES - 1)
            return shifted((TIMES - index) / TIMES, noise.discrete_flow_shift)
    sigma = torch.sigmoid(noise.sigmoid_scale * torch.randn(1, generator=generator))
    match noise.timestep_sampling:
        case "shift":
            return shifted(sigma, noise.discrete_flow_shift)
        case "flux_shift":
            return shifted(sigma, shift_of_tokens(tokens_of(size)))
        case "flux2_shift":  # each latent pixel is a patch there
            return shifted(sigma, shift_of_tokens(size[0] * size[1]))
    return sigma


def _density(noise: NoiseGroup, generator: torch.Generator) -> torch.Tensor:
    """A place in the table of times, which begins with noise: 0 to 1, [1] (Esser et al. 2024, section 3)."""
    if noise.weighting_scheme == "logit_normal":
        return torch.sigmoid(torch.normal(noise.logit_mean, noise.logit_std, (1,), generator=generator))
    even = torch.rand(1, generator=generator)
    if noise.weighting_scheme == "mode":
        return 1 - even - noise.mode_scale * (torch.cos(math.pi * even / 2).square() - 1 + even)
    return even


@dataclass(kw_only=True)
class Flow:
    """The noise process of a base model that is trained by flow matching. `config` is its scheduler's
    configuration, which has the shift that it is drawn with; `takes_guidance` as BaseModel has it."""

    config: Mapping[str, Any]
    takes_guidance: bool = False

    @property
    def times(self) -> int:
        return TIMES

    @property
    def sampler(self) -> str:
        name = self.config.get("_class_name")
        return next((key for key, one in FLOW_SAMPLERS.items() if one.scheduler == name), "Euler")

    @property
    def has_shift(self) -> bool:
        return True

    def with_shift(self, shift: float) -> Flow:
        return replace(self, config={**self.config, "shift": shift, "use_dynamic_shifting": False})

    def unused(self, noise: NoiseGroup) -> tuple[str, ...]:
        sampling = noise.timestep_sampling
        names = [name for name, users in USED_BY.items() if sampling not in users]
        density = noise.weighting_scheme if sampling == "sigma" else ""
        names += [key for key, one in USED_BY_DENSITY.items() if one != density]
        return *DIFFUSION_SETTINGS, *names, *(() if self.takes_guidance else ("guidance_scale",))

    def to(self, device: str) -> None:
        """Nothing lies on a device."""

    def prepare(self, noise: NoiseGroup) -> None:
        """All settings go together."""

    def draw_time(self, noise: NoiseGroup, generator: torch.Generator, size: tuple[int, int]) -> torch.Tensor:
        """`min_timestep` and `max_timestep` squeeze what is drawn; sd-scripts leaves them out here."""
        least, most = noise.min_timestep, noise.max_timestep
        return least + (most - least) * draw_sigma(noise, generator, size)

    def add_noise(self, latents: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        """The latents that the denoiser sees, (1 - s) x + s n, [b, c, h, w]."""
        sigma = self._sigma(timesteps)
        return (1 - sigma) * latents + sigma * noise

    def target(self, latents: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        """The velocity n - x, [b, c, h, w]."""
        return noise - latents

    def prediction(
        self, answer: torch.Tensor, noisy: torch.Tensor, timesteps: torch.Tensor, noise: NoiseGroup
    ) -> torch.Tensor:
        """The answer as `model_prediction_type` takes it: a velocity (raw); added to what the denoiser saw
        (additive); the picture that a velocity leads to (sigma_scaled)."""
        match noise.model_prediction_type:
            case "additive":
                return answer + noisy
            case "sigma_scaled":
                return noisy - self._sigma(timesteps) * answer
        return answer

    def sigmas(self, timesteps: torch.Tensor) -> torch.Tensor:
        """Noise by signal, s / (1 - s), [b]."""
        sigma = timesteps / TIMES
        return sigma / (1 - sigma)

    def loss_weights(self, timesteps: torch.Tensor, noise: NoiseGroup) -> torch.Tensor:
        sigma = timesteps / TIMES
        match noise.weighting_scheme:
            case "sigma_sqrt":
                return sigma.clamp(min=LEAST_SIGMA) ** -2.0
            case "cosmap":
                return 2 / (math.pi * (1 - 2 * sigma + 2 * sigma**2))
        return torch.ones_like(sigma)

    def scheduler(self, name: str, size: tuple[int, int], steps: int) -> Any:
        import diffusers

        sampler = FLOW_SAMPLERS.get(name)
        if sampler is None:
            raise ConfigError(
                f"The sampler {name!r} can't draw with this base model, which is made for flow matching.",
                f"Choose one of: {', '.join(FLOW_SAMPLERS)}.",
                field="sampler",
            )
        scheduler_class = getattr(diffusers, sampler.scheduler)
        if sampler.scheduler == OWN_SCHEDULER == self.config.get("_class_name"):
            return scheduler_class.from_config(self.config)
        name_of_shift = "flow_shift" if "use_flow_sigmas" in sampler.options else "shift"
        return scheduler_class.from_config({name_of_shift: self._shift(size, steps), **sampler.options})

    def set_steps(self, scheduler: Any, steps: int, size: tuple[int, int], device: str) -> None:
        """The steps of these models' own pipelines: evenly from 1 to 1 / steps before the shift; those of the
        other samplers are diffusers'."""
        if type(scheduler).__name__ == OWN_SCHEDULER:
            sigmas = torch.linspace(1.0, 1 / steps, steps).tolist()
            scheduler.set_timesteps(sigmas=sigmas, device=device, mu=self.mu(size, steps))
            return
        scheduler.set_timesteps(steps, device=device)
        # Some of them are rounded down to whole numbers there, as if they counted a table's rows.
        scheduler.timesteps = (TIMES * scheduler.sigmas[:-1]).to(device)

    def guess(
        self, scheduler: Any, seen: torch.Tensor, answer: torch.Tensor, time: torch.Tensor
    ) -> torch.Tensor:
        """The way back from `add_noise` by a velocity: x = noisy - s v."""
        return seen.float() - time.float() / TIMES * answer.float()

    def _sigma(self, timesteps: torch.Tensor) -> torch.Tensor:
        return (timesteps / TIMES).view(-1, 1, 1, 1)

    def mu(self, size: tuple[int, int], steps: int) -> float:
        """The shift of so many steps that goes by a picture's size, as schedulers take it."""
        get = self.config.get
        least, most = get("base_image_seq_len", BASE_TOKENS), get("max_image_seq_len", MOST_TOKENS)
        low, high = get("base_shift", BASE_SHIFT), get("max_shift", MOST_SHIFT)
        slope = (high - low) / (most - least)
        return float(tokens_of(size) * slope + (low - slope * least))

    def _shift(self, size: tuple[int, int], steps: int) -> float:
        """The factor that a base is drawn with."""
        if not self.config.get("use_dynamic_shifting"):
            return float(self.config.get("shift", 1.0))
        linear = self.config.get("time_shift_type") == "linear"
        return self.mu(size, steps) if linear else math.exp(self.mu(size, steps))
