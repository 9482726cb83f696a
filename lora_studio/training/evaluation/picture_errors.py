"""Denoising errors of single training pictures, with noise that is the same each time.

Kohya's trainer validates at four evenly spaced timesteps; so do we, with noise that follows from the seed and
the picture alone. Nothing is drawn from any random state.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from lora_studio.config import TrainConfig
from lora_studio.data.latent_cache import PlacedPicture
from lora_studio.data.seeds import seed_of
from lora_studio.families.base import TextOutput
from lora_studio.training.evaluation.eval_loss import errors
from lora_studio.training.model import Engine
from lora_studio.training.objective import sizes_of
from lora_studio.training.preparation.training_data import TrainingData

TIMESTEPS = 4


def validation_timesteps(config: TrainConfig) -> tuple[int, ...]:
    """Evenly spaced inside the trained range: 200, 400, 600 and 800 of 0 to 1000."""
    least, most = config.noise.min_timestep, config.noise.max_timestep
    return tuple(int(least + (most - least) * part / (TIMESTEPS + 1)) for part in range(1, TIMESTEPS + 1))


@dataclass(frozen=True, kw_only=True)
class PictureErrors:
    """Measures the pictures of one run with the model as it is, at rest."""

    engine: Engine
    data: TrainingData

    def of(self, placed: PlacedPicture, at_once: int = 1) -> Iterator[float]:
        """The mean squared error under the picture's own caption, one for each timestep; `at_once` of them
        are measured together, which moves the last digits."""
        mean, _ = self.data.latents.moments(placed, mirrored=False)
        levels = torch.tensor(validation_timesteps(self.engine.config))
        generator, text = self._generator(placed), self._text([placed.picture.caption])
        sizes = torch.tensor([sizes_of(placed.placement, mirrored=False)])
        for timesteps in levels.split(at_once):
            count = len(timesteps)
            noise = torch.cat([torch.randn((1, *mean.shape), generator=generator) for _ in timesteps])
            latents, texts = mean.expand(count, *mean.shape), TextOutput.stack([text] * count)
            found = errors(self.engine, latents, noise, timesteps, texts, sizes.expand(count, -1))
            yield from found.tolist()

    def _text(self, captions: Sequence[str]) -> TextOutput:
        texts = self.data.texts
        return self.engine.encode_text(captions) if texts is None else texts.batch(captions)

    def _generator(self, placed: PlacedPicture) -> torch.Generator:
        """Goes by the file's name: another split or order gives a picture the same noise."""
        config = self.engine.config
        seed = config.dataset.validation_seed
        seed = config.optimizer.seed if seed is None else seed
        return torch.Generator().manual_seed(seed_of(seed, "validation", placed.picture.path.name))
