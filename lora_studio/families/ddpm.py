"""The mathematics of discrete-time diffusion (Ho et al. 2020). Legend: b batch, c channels, h w height and
width.

`alphas` is the cumulative product of 1 - beta, one value for each timestep, in 32 bit; `snr` the ratio of
signal to noise of each sample, [b]. Weights are factors on the samples' losses, [b].
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from lora_studio.config_groups import FLOW_SETTINGS, NoiseGroup
from lora_studio.errors import ConfigError
from lora_studio.families.schedulers import build_scheduler, sampler_of

PLAIN = ("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas")
"""Settings that make a noise schedule, but for a rescaling afterwards."""
LEAST_ALPHA = 1e-4
"""The least signal that a guess at pure noise is divided by, so that nothing is divided by zero."""
HIGHEST_SNR = 1000.0
"""The ratio up to which weights that divide by the signal-to-noise ratio grow, as in Kohya's trainer."""


def noised(
    alphas: torch.Tensor, latents: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor
) -> torch.Tensor:
    """Latents with noise at each sample's timestep: sqrt(a) x + sqrt(1 - a) e, [b, c, h, w]."""
    alpha = alphas[timesteps].view(-1, 1, 1, 1)
    return alpha.sqrt() * latents + (1 - alpha).sqrt() * noise


def velocity(
    alphas: torch.Tensor, latents: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor
) -> torch.Tensor:
    """The v-prediction target sqrt(a) e - sqrt(1 - a) x (Salimans & Ho 2022), [b, c, h, w]."""
    alpha = alphas[timesteps].view(-1, 1, 1, 1)
    return alpha.sqrt() * noise - (1 - alpha).sqrt() * latents


def signal_to_noise(alphas: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
    """a / (1 - a), [b]."""
    alpha = alphas[timesteps]
    return alpha / (1 - alpha)


def min_snr_weights(snr: torch.Tensor, gamma: float, *, predicts_velocity: bool) -> torch.Tensor:
    """min(snr, gamma) / snr, or / (snr + 1) for v-prediction (Hang et al. 2023)."""
    return snr.clamp(max=gamma) / (snr + 1) if predicts_velocity else (gamma / snr).clamp(max=1)


def debiased_weights(snr: torch.Tensor, *, predicts_velocity: bool) -> torch.Tensor:
    """1 / sqrt(snr), or 1 / (snr + 1) for v-prediction (Yu et al. 2023)."""
    snr = snr.clamp(max=HIGHEST_SNR)
    return 1 / (snr + 1) if predicts_velocity else snr.rsqrt()


def noise_like_weights(snr: torch.Tensor) -> torch.Tensor:
    """Weights that make a v-prediction's loss that of the noise which follows: snr / (snr + 1)."""
    snr = snr.clamp(max=HIGHEST_SNR)
    return snr / (snr + 1)


def velocity_like_weights(snr: torch.Tensor, strength: float) -> torch.Tensor:
    """1 plus `strength` times what makes the loss of a noise prediction that of its velocity."""
    return 1 + strength / noise_like_weights(snr)


def snr_weights(noise: NoiseGroup, snr: torch.Tensor, *, predicts_velocity: bool) -> torch.Tensor:
    """All weights that are switched on, multiplied; Kohya's trainer applies them in the same order."""
    weights = torch.ones_like(snr)
    if noise.min_snr_gamma is not None:
        weights = weights * min_snr_weights(snr, noise.min_snr_gamma, predicts_velocity=predicts_velocity)
    if noise.scale_v_pred_loss_like_noise_pred:
        weights = weights * noise_like_weights(snr)
    if noise.v_pred_like_loss:
        weights = weights * velocity_like_weights(snr, noise.v_pred_like_loss)
    if noise.debiased_estimation_loss:
        weights = weights * debiased_weights(snr, predicts_velocity=predicts_velocity)
    return weights


def zero_terminal(alphas: torch.Tensor) -> torch.Tensor:
    """The schedule shifted and stretched to leave no picture at its last timestep (Lin et al. 2023), [t]."""
    roots = alphas.sqrt()
    first, last = roots[0], roots[-1]
    return ((roots - last) * (first / (first - last))).square()


def plain_alphas(scheduler_config: Mapping[str, Any]) -> torch.Tensor:
    """A base's own schedule, not rescaled, [t]."""
    from diffusers import DDPMScheduler

    settings = {key: scheduler_config[key] for key in PLAIN if key in scheduler_config}
    return DDPMScheduler.from_config(settings).alphas_cumprod


def clean(
    alpha: torch.Tensor, noisy: torch.Tensor, answer: torch.Tensor, prediction_type: str
) -> torch.Tensor:
    """The latents that a denoiser sees in `noisy`, by its answer: the way back from `noised` (Ho et al.
    2020), for velocities from `velocity` (Salimans & Ho 2022), [b, c, h, w]. `alpha` is a single number."""
    match prediction_type:
        case "v_prediction":
            return alpha.sqrt() * noisy - (1 - alpha).sqrt() * answer
        case "sample":
            return answer
    return (noisy - (1 - alpha).sqrt() * answer) / alpha.sqrt()


@dataclass(kw_only=True)
class DDPM:
    """The noise process of a base model. `config` is its scheduler's configuration, `alphas` [t] the schedule
    in use, `weight_alphas` [t] that of the loss weights, where it isn't the same."""

    config: Mapping[str, Any]
    alphas: torch.Tensor
    weight_alphas: torch.Tensor | None = None

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> DDPM:
        from diffusers import DDPMScheduler

        schedule = {key: config[key] for key in (*PLAIN, "rescale_betas_zero_snr") if key in config}
        return cls(config=config, alphas=DDPMScheduler.from_config(schedule).alphas_cumprod)

    @property
    def predicts_velocity(self) -> bool:
        return self.config.get("prediction_type") == "v_prediction"

    @property
    def times(self) -> int:
        """The count of timesteps; the last is nearly pure noise."""
        return len(self.alphas)

    @property
    def sampler(self) -> str:
        return sampler_of(self.config)

    @property
    def has_shift(self) -> bool:
        return False

    def with_shift(self, shift: float) -> DDPM:
        return self

    def unused(self, noise: NoiseGroup) -> tuple[str, ...]:
        return FLOW_SETTINGS

    def to(self, device: str) -> None:
        self.alphas = self.alphas.to(device)

    def prepare(self, noise: NoiseGroup) -> None:
        try:
            noise.check_prediction(predicts_velocity=self.predicts_velocity)
        except ValueError as error:
            raise ConfigError(f"{error}.", field=str(error).split()[0]) from None
        self.set_zero_terminal(noise.zero_terminal_snr)

    def draw_time(self, noise: NoiseGroup, generator: torch.Generator, size: tuple[int, int]) -> torch.Tensor:
        least, most = noise.min_timestep, noise.max_timestep
        if least == most:
            return torch.tensor([least])
        return torch.randint(least, most, (1,), generator=generator)

    def add_noise(self, latents: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        """The latents that the denoiser sees, [b, c, h, w]; `timesteps` are [b]."""
        return noised(self.alphas, latents, noise, timesteps)

    def target(self, latents: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        """The answer that the denoiser should give, [b, c, h, w]."""
        return velocity(self.alphas, latents, noise, timesteps) if self.predicts_velocity else noise

    def prediction(
        self, answer: torch.Tensor, noisy: torch.Tensor, timesteps: torch.Tensor, noise: NoiseGroup
    ) -> torch.Tensor:
        return answer

    def sigmas(self, timesteps: torch.Tensor) -> torch.Tensor:
        """Noise by signal, sqrt((1 - a) / a), [b]."""
        alpha = self.alphas[timesteps]
        return ((1 - alpha) / alpha).sqrt()

    def loss_weights(self, timesteps: torch.Tensor, noise: NoiseGroup) -> torch.Tensor:
        alphas = self.alphas if self.weight_alphas is None else self.weight_alphas
        snr = signal_to_noise(alphas.to(timesteps.device), timesteps)
        return snr_weights(noise, snr, predicts_velocity=self.predicts_velocity)

    def scheduler(self, name: str, size: tuple[int, int], steps: int) -> Any:
        return build_scheduler(name, self.config)

    def set_steps(self, scheduler: Any, steps: int, size: tuple[int, int], device: str) -> None:
        scheduler.set_timesteps(steps, device=device)

    def guess(
        self, scheduler: Any, seen: torch.Tensor, answer: torch.Tensor, time: torch.Tensor
    ) -> torch.Tensor:
        alpha = scheduler.alphas_cumprod[int(time)].float().clamp(min=LEAST_ALPHA).to(seen.device)
        return clean(alpha, seen.float(), answer.float(), scheduler.config.prediction_type)

    def set_zero_terminal(self, wanted: bool) -> None:
        """Let the noise end in nothing but noise if wanted. As in Kohya's trainer, whose table is made before
        that change, the loss weights keep to the plain schedule (others would divide by a signal of 0); so
        they do for a base whose schedule ends that way by itself."""
        if wanted or self.config.get("rescale_betas_zero_snr"):
            plain = plain_alphas(self.config).to(self.alphas.device)
            self.weight_alphas = plain
            self.alphas = zero_terminal(plain) if wanted else self.alphas
