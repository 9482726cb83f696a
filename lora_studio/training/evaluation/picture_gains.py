"""Measures, when a run has ended, what it learned of each of its pictures: the errors of the base alone and
with the LoRA, under the same noise. What they tell stands in lora/picture_report.py."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from lora_studio.data.captions import plain_caption
from lora_studio.data.latent_cache import PlacedPicture
from lora_studio.data.training_set.folders import Picture
from lora_studio.errors import StudioError
from lora_studio.events import Emit, Noted, PhaseAdvanced
from lora_studio.lora.checkpoint_report import even_choice
from lora_studio.lora.picture_report import (
    FEWEST,
    LONGEST_NAME,
    MOST_PICTURES,
    PictureGain,
    far_off,
    far_off_sentence,
    write_gains,
)
from lora_studio.parsing.plain_text import plain_text
from lora_studio.runtime import memory_errors
from lora_studio.training.evaluation.base_alone import at_rest, base_alone
from lora_studio.training.evaluation.picture_errors import TIMESTEPS, PictureErrors
from lora_studio.training.model import Engine
from lora_studio.training.preparation.training_data import TrainingData
from lora_studio.training.result_folder import saving

SHARE = 0.05
"""The share of the time of the steps that measuring may take."""
LEAST_SECONDS = 0.5
"""A time for which it is not worth beginning."""
PASSES = 2 * TIMESTEPS
"""Looks at a picture by the denoiser, with the LoRA and without."""
STEP_IN_PASSES = 3
"""A step's time in looks at its pictures: the way back takes about twice the way forth."""


@dataclass(kw_only=True)
class GainMeasurement:
    """Measures the pictures of one run, as many as the time goes, spread evenly over all of them. By the
    seconds of a step a time too short for a few pictures is known before the first is measured."""

    engine: Engine
    data: TrainingData
    emit: Emit
    should_stop: Callable[[], bool]
    step_seconds: float = 0.0

    def measure(self, seconds: float) -> tuple[PictureGain, ...]:
        """The gains of the pictures, in about so many seconds; none where the time is too short for a few of
        them, or when stopped meanwhile."""
        pictures = self._pictures()
        least = PASSES * self.step_seconds / STEP_IN_PASSES / self.engine.config.dataset.train_batch_size
        if len(pictures) < FEWEST or seconds < max(LEAST_SECONDS, FEWEST * least):
            return ()
        begun = time.perf_counter()
        with at_rest(self.engine):
            gains = [self._gain(pictures[-1])]
            count = min(MOST_PICTURES, int(seconds / max(time.perf_counter() - begun, 1e-6)))
            chosen = even_choice(range(len(pictures)), count)[:-1] if count >= FEWEST else []
            for done, index in enumerate(chosen, start=1):
                if self.should_stop():
                    return ()
                self.emit(PhaseAdvanced(phase="save", done=done, total=len(chosen) + 1, note="pictures"))
                gains.append(self._gain(pictures[index]))
        measured = [one for one in gains if math.isfinite(one.before) and math.isfinite(one.after)]
        return tuple(measured) if len(measured) >= FEWEST else ()

    def _pictures(self) -> list[PlacedPicture]:
        """The pictures that were learned whole. Those for regularisation are not what is to be learned, and
        of masked ones a part is."""
        return [placed for placed in self.data.loader.pictures if _is_learned_whole(placed.picture)]

    def _gain(self, placed: PlacedPicture) -> PictureGain:
        errors, picture = PictureErrors(engine=self.engine, data=self.data), placed.picture
        caption = plain_caption(picture.caption, picture.settings)
        placed = replace(placed, picture=replace(picture, caption=caption))
        at_once = self.engine.config.dataset.train_batch_size  # what fits with gradients fits without
        after = list(errors.of(placed, at_once))
        with base_alone(self.engine):
            before = list(errors.of(placed, at_once))
        folder, path = Path(self.engine.config.dataset.train_data_dir), picture.path
        name = path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.name
        return PictureGain(
            picture=plain_text(name, LONGEST_NAME),
            before=sum(before) / len(before),
            after=sum(after) / len(after),
        )


def _is_learned_whole(picture: Picture) -> bool:
    return not (picture.is_reg or picture.mask or picture.settings.alpha_mask)


def name_far_off(measurement: GainMeasurement, folder: Path, seconds: float) -> tuple[PictureGain, ...]:
    """Measure for about so many seconds, keep it in the result's folder and name the pictures that stayed far
    off. What keeps it from being done is noted: the result is there already."""
    try:
        with memory_errors("measuring the pictures", ""):
            gains = measurement.measure(seconds)
        if gains:
            with saving(folder / "training.json"):
                write_gains(folder, gains)
    except StudioError as error:
        measurement.emit(Noted(message=f"{error.message} What was learned of each picture is not known."))
        return ()
    found = far_off(gains)
    if sentence := far_off_sentence(found):
        measurement.emit(Noted(message=sentence, level="warning"))
    return found
