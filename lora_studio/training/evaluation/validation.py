"""The loss on pictures that are held back from the training, with noise that is the same each time.

Kohya's trainer measures at four evenly spaced timesteps; so do we, on each held-out picture, with noise that
follows from the seed and the picture alone. Nothing is drawn from any random state, so a run is the same to
the bit with and without validation.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from lora_studio.config import TrainConfig
from lora_studio.data.latent_cache import PlacedPicture
from lora_studio.data.seeds import seed_of
from lora_studio.events import Emit, Validated
from lora_studio.families.base import TextOutput
from lora_studio.training.evaluation.base_alone import at_rest, base_alone
from lora_studio.training.evaluation.eval_loss import errors
from lora_studio.training.model import Engine
from lora_studio.training.objective import sizes_of
from lora_studio.training.preparation.training_data import TrainingData
from lora_studio.training.result_folder import save_file

TIMESTEPS = 4


def validation_timesteps(config: TrainConfig) -> tuple[int, ...]:
    """Evenly spaced inside the trained range: 200, 400, 600 and 800 of 0 to 1000."""
    least, most = config.noise.min_timestep, config.noise.max_timestep
    return tuple(int(least + (most - least) * part / (TIMESTEPS + 1)) for part in range(1, TIMESTEPS + 1))


@dataclass(kw_only=True)
class Validation:
    """The held-out pictures of one run. `base_loss` is the base model's own, measured at the first call.
    `losses` by step are kept beside the checkpoints, so that a resumed run knows the earlier ones."""

    engine: Engine
    data: TrainingData
    emit: Emit
    should_stop: Callable[[], bool]
    base_loss: float | None = None

    @property
    def pictures(self) -> tuple[PlacedPicture, ...]:
        """The pictures that are measured: none without a validation split."""
        held_out: tuple[PlacedPicture, ...] = self.data.validation
        return held_out[: self.engine.config.preview.max_validation_steps]

    def measure(self, step: int) -> float | None:
        """The mean loss now, told as an event; step 0 is the base by itself. None when there is nothing to
        measure or the run was stopped meanwhile."""
        if not self.pictures:
            return None
        with at_rest(self.engine):
            if self.base_loss is None:
                with base_alone(self.engine):
                    self.base_loss = self._mean()
            loss = self.base_loss if step == 0 else self._mean()
        if loss is None:
            return None
        self.emit(Validated(step=step, loss=loss, base_loss=self.base_loss))
        self._keep(step, loss)
        return loss

    @property
    def losses(self) -> dict[int, float]:
        """The losses measured so far by step, also before this run was resumed."""
        try:
            kept = json.loads(self._file.read_text("utf-8"))
            return {int(step): float(loss) for step, loss in kept.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            return {}

    @property
    def _file(self) -> Path:
        return Path(self.engine.config.output.output_dir) / "checkpoints" / "validation.json"

    def _keep(self, step: int, loss: float) -> None:
        if math.isfinite(loss):
            losses = {**{str(at): kept for at, kept in self.losses.items()}, str(step): loss}
            save_file(self._file, json.dumps(losses, indent=2))

    def _mean(self) -> float | None:
        losses: list[float] = []
        for placed in self.pictures:
            if self.should_stop():
                return None
            losses += self._losses(placed)
        return sum(losses) / len(losses)

    def _losses(self, placed: PlacedPicture) -> Iterator[float]:
        """One for each timestep."""
        mean, _ = self.data.latents.moments(placed, mirrored=False)
        generator, text = self._generator(placed), self._text([placed.picture.caption])
        sizes = torch.tensor([sizes_of(placed.placement, mirrored=False)])
        for level in validation_timesteps(self.engine.config):
            noise = torch.randn((1, *mean.shape), generator=generator)
            yield errors(self.engine, mean[None], noise, level, text, sizes).item()

    def _text(self, captions: Sequence[str]) -> TextOutput:
        texts = self.data.texts
        return self.engine.encode_text(captions) if texts is None else texts.batch(captions)

    def _generator(self, placed: PlacedPicture) -> torch.Generator:
        """Goes by the file's name: another split or order gives a picture the same noise."""
        config = self.engine.config
        seed = config.dataset.validation_seed
        seed = config.optimizer.seed if seed is None else seed
        return torch.Generator().manual_seed(seed_of(seed, "validation", placed.picture.path.name))
