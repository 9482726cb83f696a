"""Samplers by the names people know, built on a base model's own noise schedule."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from lora_studio.catalog import SAMPLERS, Base
from lora_studio.errors import ConfigError

NOISE = (
    *("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas"),
    *("prediction_type", "rescale_betas_zero_snr", "clip_sample", "steps_offset"),
)
"""Settings for the noise that the base was trained with; diffusers' pipelines insist on the last two."""
SPACING = ("timestep_spacing", "set_alpha_to_one")
"""Settings for where the steps lie. The base's own values suit the samplers that walk the training steps one
by one; the others (k-diffusion's) keep the spacing that people know them with."""
WALKERS = ("DDIMScheduler", "PNDMScheduler", "LCMScheduler")
SIGMAS = ("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas")
"""Spacings that a sampler's name tells; a base that has one by itself keeps it under that name only."""


def keeps_zero_snr(name: str) -> bool:
    """Whether a sampler can begin at nothing but noise, as some v-prediction bases are trained."""
    import diffusers

    scheduler_class = getattr(diffusers, SAMPLERS[name].scheduler)
    return "rescale_betas_zero_snr" in inspect.signature(scheduler_class.__init__).parameters


def build_scheduler(name: str, config: Mapping[str, Any]) -> Any:
    """A diffusers scheduler for a sampler of the catalog. `config` is the base's own scheduler config: its
    betas and prediction type are kept; options that belong to another sampler are not. Raises
    ConfigError."""
    import diffusers

    sampler = SAMPLERS.get(name)
    if sampler is None:
        raise ConfigError(
            f"There is no sampler called {name!r}.", f"Choose one of: {', '.join(SAMPLERS)}.", field="sampler"
        )
    scheduler_class = getattr(diffusers, sampler.scheduler)
    parameters = inspect.signature(scheduler_class.__init__).parameters
    if config.get("_class_name") == sampler.scheduler:
        plain = {key: False for key in SIGMAS if key in parameters}
        return scheduler_class.from_config({**config, **plain, **sampler.options})
    names = (*NOISE, *SPACING) if sampler.scheduler in WALKERS else NOISE
    kept = {key: config[key] for key in names if key in config and key in parameters}
    if "clip_sample" in parameters:  # meant for pixels; a base whose own scheduler can't do it doesn't say no
        kept.setdefault("clip_sample", False)
    return scheduler_class.from_config({**kept, **sampler.options})


def sampler_of(config: Mapping[str, Any]) -> str:
    """The catalog's name for a base's own scheduler; the usual default if it has none there."""
    fitting = [
        name
        for name, sampler in SAMPLERS.items()
        if config.get("_class_name") == sampler.scheduler
        and all(config.get(key) == value for key, value in sampler.options.items())
    ]
    return max(fitting, key=lambda name: len(SAMPLERS[name].options), default=Base.sampler)
