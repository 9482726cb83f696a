"""The way of one pass from noise to picture: a sampler of diffusers, from a later step on if wanted."""

from __future__ import annotations

import functools
from typing import Any

import torch

LEAST_ALPHA = 1e-4


class PartialScheduler:
    """Stands in for the scheduler in a pipeline's call. Of the `steps` on the noise schedule the first `skip`
    are left out: the latents given to the pipeline have as much noise as belongs there. With `skip` None they
    are pure noise. What the denoiser says is remembered until the next step, for a look at the picture."""

    def __init__(self, scheduler: Any, steps: int, skip: int | None = None) -> None:
        self.scheduler = scheduler
        self.steps = steps
        self._skip = skip
        self._seen: tuple[torch.Tensor, Any] | None = None
        self._said: torch.Tensor | None = None
        self.step = self._remembering(scheduler.step)
        if hasattr(scheduler, "set_begin_index"):
            self.set_begin_index = self._set_begin_index
        self.set_timesteps(steps)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.scheduler, name)

    @property
    def is_partial(self) -> bool:
        """Whether it begins with noisy latents rather than with pure noise."""
        return self._skip is not None

    def __len__(self) -> int:
        """Calls of the denoiser; some samplers need more than one a step."""
        return len(self.timesteps)

    def set_timesteps(self, steps: int, device: Any = None) -> None:
        """As a scheduler's. Raises ValueError for a number of steps that the sampler can't do."""
        self.scheduler.set_timesteps(steps, device=device)
        self.timesteps = self.scheduler.timesteps[self._first :]
        # Euler and its kin scale by what their steps are, so it is only known now.
        self.init_noise_sigma = self.scheduler.init_noise_sigma if self._skip is None else 1.0
        if self._skip is not None and hasattr(self, "set_begin_index"):
            self.set_begin_index(0)

    def noised(self, latents: torch.Tensor, noise: torch.Tensor, step: int = 0) -> torch.Tensor:
        """Latents with as much noise as belongs before step `step` of this pass, [b, c, h, w]; before the end
        none."""
        if step >= len(self):
            return latents
        noisy: torch.Tensor = self.scheduler.add_noise(latents, noise, self.timesteps[step : step + 1])
        return noisy

    def guess(self) -> torch.Tensor | None:
        """The picture's latents as the denoiser sees them by now, [1, c, h, w]: its answer at the last step,
        taken away from what it was shown (Ho et al. 2020; for velocities Salimans & Ho 2022)."""
        if self._seen is None or self._said is None:
            return None
        shown, timestep = self._seen
        alpha = self.scheduler.alphas_cumprod[int(timestep)].float().clamp(min=LEAST_ALPHA).to(shown.device)
        shown, said = shown.float(), self._said[-1:].float()
        match self.scheduler.config.prediction_type:
            case "v_prediction":
                return alpha.sqrt() * shown - (1 - alpha).sqrt() * said
            case "sample":
                return said
        return (shown - (1 - alpha).sqrt() * said) / alpha.sqrt()

    def scale_model_input(self, sample: torch.Tensor, timestep: Any = None) -> torch.Tensor:
        scaled: torch.Tensor = self.scheduler.scale_model_input(sample, timestep)
        self._seen = scaled[-1:], timestep
        return scaled

    @property
    def _first(self) -> int:
        return (self._skip or 0) * self.scheduler.order

    def _set_begin_index(self, index: int = 0) -> None:
        self.scheduler.set_begin_index(self._first + index)

    def _remembering(self, step: Any) -> Any:
        @functools.wraps(step)  # pipelines look at the parameters
        def remembering(model_output: torch.Tensor, *args: Any, **options: Any) -> Any:
            self._said = model_output
            return step(model_output, *args, **options)

        return remembering
