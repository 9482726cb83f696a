"""The loss on pictures that are held back from the training. Nothing is drawn from any random state, so a run
is the same to the bit with and without validation."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lora_studio.data.latent_cache import PlacedPicture
from lora_studio.events import Emit, Validated
from lora_studio.training.evaluation.base_alone import at_rest, base_alone
from lora_studio.training.evaluation.picture_errors import PictureErrors
from lora_studio.training.model import Engine
from lora_studio.training.preparation.training_data import TrainingData
from lora_studio.training.result_folder import save_file


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
        measured = PictureErrors(engine=self.engine, data=self.data)
        for placed in self.pictures:
            if self.should_stop():
                return None
            losses += measured.of(placed)
        return sum(losses) / len(losses)
