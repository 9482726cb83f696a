"""Measures the checkpoints' previews with the base model itself: no other model has to be fetched for it.

Likeness: what the denoiser sees in a picture (`families/features/picture_features.py`).

Adherence: of several prompts, the one that a picture shows is the one that makes its noise easiest to
predict (Li et al. 2023, "Your diffusion model is secretly a zero-shot classifier"). Taken here: by how much
each picture's own prompt beats each of the board's others, where a tenth of what the base's own pictures
reach is enough to tell.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from lora_studio.data.latent_cache import PlacedPicture
from lora_studio.data.pixels.picture_pixels import open_picture, to_pixels
from lora_studio.errors import StudioError
from lora_studio.events import Emit, Noted, PhaseAdvanced
from lora_studio.families.features.picture_features import LOOK_AT, likeness, on_one_scale, pooled, watching
from lora_studio.lora.checkpoint_report import (
    CheckpointReport,
    CheckpointRow,
    even_choice,
    recommend,
    write_report,
)
from lora_studio.runtime import memory_errors
from lora_studio.training.evaluation.base_alone import at_rest, base_alone
from lora_studio.training.evaluation.eval_loss import errors
from lora_studio.training.evaluation.previews import Previews, PreviewSampler
from lora_studio.training.evaluation.validation import Validation
from lora_studio.training.model import Engine
from lora_studio.training.preparation.training_data import TrainingData
from lora_studio.training.result_folder import saving

MOST_ROWS = 10
MOST_REFERENCES = 16
COMPARE_AT = (0.6, 0.8)
CLEAR = 0.1
"""The share of the base's own margin that tells two prompts apart."""
LEAST_MARGIN = 0.01
"""A base whose own pictures favour their prompts by a smaller error than this can't judge."""


@dataclass(kw_only=True)
class CheckpointScorer:
    """Looks at pictures through the base model, without the LoRA."""

    engine: Engine
    preview_sampler: PreviewSampler
    _latents: dict[Path, torch.Tensor] = field(default_factory=dict)

    def of_picture(self, path: Path) -> torch.Tensor:
        """Latents [1, c, h, w] of a picture file."""
        if path not in self._latents:
            mean, _ = self.engine.encode_pictures(to_pixels(open_picture(path))[None])
            self._latents[path] = mean.float().cpu()
        return self._latents[path]

    def features(self, latents: torch.Tensor) -> torch.Tensor:
        """[d] of one picture's latents [1, c, h, w]."""
        with at_rest(self.engine), base_alone(self.engine), watching(self.engine.base) as seen:
            self._errors(latents, LOOK_AT, "")
        return pooled(seen)

    def margins(self, latents: torch.Tensor, prompts: Sequence[str]) -> torch.Tensor:
        """The lead of each picture's own prompt over each of the others, [n, others], in mean squared error;
        higher is better. Latents [n, c, h, w] follow the prompts. A single prompt is compared with none."""
        asked = list(prompts) if len(prompts) > 1 else [*prompts, ""]
        with at_rest(self.engine), base_alone(self.engine):
            table = torch.stack([self._mean_errors(latents, prompt) for prompt in asked], 1)
        matching = table.diagonal()[:, None]
        others = ~torch.eye(*table.shape, dtype=torch.bool)
        return (table - matching)[others].view(len(latents), -1) / len(COMPARE_AT)

    def _mean_errors(self, latents: torch.Tensor, prompt: str) -> torch.Tensor:
        return sum((self._errors(latents, level, prompt) for level in COMPARE_AT), torch.zeros(len(latents)))

    def _errors(self, latents: torch.Tensor, level: float, prompt: str) -> torch.Tensor:
        timestep = int(level * self.engine.base.process.times)
        noise = torch.randn(latents.shape[1:], generator=torch.Generator().manual_seed(timestep))
        text = self.preview_sampler.text([prompt] * len(latents))
        timesteps = torch.full((len(latents),), timestep)
        return errors(self.engine, latents, noise.expand_as(latents), timesteps, text).cpu()


@dataclass(kw_only=True)
class Comparison:
    """Makes the board of one run, once, at its end. Stops within one picture; what was measured till then
    stays."""

    engine: Engine
    data: TrainingData
    previews: Previews
    emit: Emit
    should_stop: Callable[[], bool]
    _late: float = field(default=float("inf"))

    def make(
        self, last_step: int, validated: Mapping[int, float], base_loss: float | None
    ) -> CheckpointReport | None:
        """The board, written into `training.json`; None when there is nothing to compare. `validated` holds
        the losses on the held-out pictures by step. Raises StudioError when it can't be written."""
        board = self._drawn(last_step, validated, base_loss)
        if len(board.rows) < 2:
            return None
        begun = time.monotonic()
        self._late = begun + seconds_allowed(self.engine.device.kind)
        board = self._measured(board)
        self._advance(1, 1)
        step, reason = recommend(board)
        board = replace(board, recommended=step, reason=reason)
        folder = self.previews.folder.parent
        with saving(folder / "training.json"):
            write_report(folder, board)
        if reason:
            self.emit(Noted(message=reason))
        return board

    def _drawn(self, last: int, validated: Mapping[int, float], base_loss: float | None) -> CheckpointReport:
        """The board as it lies on the disk, before anything is measured."""
        folder, prompts = self.previews.folder, self.previews.prompts
        saved = {int(path.stem.rpartition("step")[2]) for path in _checkpoints(folder.parent)} | {last}
        with_pictures = {step for step in saved if (folder / f"step-{step:06d}-0.png").is_file()}
        steps = even_choice(saved if len(with_pictures) < 2 else with_pictures | {last}, MOST_ROWS)
        names = [f"-{number}.png" for number in range(len(prompts))]
        rows = tuple(
            CheckpointRow(
                step=step,
                pictures=tuple(_there(folder, f"step-{step:06d}{name}") for name in names),
                without=_there(folder, f"without-{step:06d}.png"),
                validation_loss=validated.get(step),
            )
            for step in steps
        )
        return CheckpointReport(
            prompts=prompts,
            base=tuple(_there(folder, f"base{name}") for name in names),
            rows=rows,
            without_prompt=self.previews.without_prompt,
            without_base=_there(folder, "without-base.png"),
            base_loss=base_loss,
        )

    def _measured(self, board: CheckpointReport) -> CheckpointReport:
        """Likeness and leak of all rows, then adherence, row by row."""
        if not any(row.pictures and all(row.pictures) for row in board.rows) or not all(board.base):
            return board
        judge = CheckpointScorer(engine=self.engine, preview_sampler=self.previews.preview_sampler)
        judge.preview_sampler.prepare(board.prompts)
        looks = self._looks(judge, board)
        if looks is None:
            return replace(board, notes=(*board.notes, "There was no time to compare the pictures."))
        rows = _with_looks(board, looks, len(self._references()))
        return self._with_adherence(judge, replace(board, rows=rows))

    def _looks(self, judge: CheckpointScorer, board: CheckpointReport) -> dict[str, torch.Tensor] | None:
        """Features of all pictures by path, of the training pictures by number; None when out of time."""
        folder, references = self.previews.folder.parent, self._references()
        drawn = [board.without_base, *board.base]
        drawn += [path for row in board.rows for path in (row.without, *row.pictures)]
        names = [*map(str, range(len(references))), *filter(None, drawn)]
        found: dict[str, torch.Tensor] = {}
        for done, name in enumerate(names, start=1):
            if self._over():
                return None
            if done <= len(references):
                latents = self.data.latents.moments(references[done - 1], mirrored=False)[0][None]
            else:
                latents = judge.of_picture(folder / name)
            found[name] = judge.features(latents)
            self._advance(done, len(names) + len(board.rows))
        return found

    def _with_adherence(self, judge: CheckpointScorer, board: CheckpointReport) -> CheckpointReport:
        """The report with how well pictures follow their prompts, from the last row backwards, as far as the
        time goes."""
        base_margin = float(self._margins(judge, board.base, board.prompts).mean())
        if base_margin < LEAST_MARGIN:
            sentence = (
                "The base does not tell these prompts apart, so how well pictures follow them is not judged."
            )
            return replace(board, notes=(*board.notes, sentence))
        rows = list(board.rows)
        for index in reversed(range(len(rows))):
            if self._over():
                sentence = "There was no time to judge how well all pictures follow their prompts."
                return replace(board, rows=tuple(rows), notes=(*board.notes, sentence))
            if rows[index].pictures and all(rows[index].pictures):
                margins = self._margins(judge, rows[index].pictures, board.prompts)
                adherence = (margins / (2 * CLEAR * base_margin)).tanh().mean()
                rows[index] = replace(rows[index], adherence=max(0.0, float(adherence)))
        return replace(board, rows=tuple(rows))

    def _margins(
        self, judge: CheckpointScorer, pictures: Sequence[str], prompts: Sequence[str]
    ) -> torch.Tensor:
        folder = self.previews.folder.parent
        latents = torch.cat([judge.of_picture(folder / path) for path in pictures])
        return judge.margins(latents, prompts)

    def _references(self) -> list[PlacedPicture]:
        """Training pictures to compare with; regularisation pictures are not what is to be learned."""
        subject = [one for one in self.data.loader.pictures if not one.picture.is_reg]
        return [subject[index] for index in even_choice(range(len(subject)), MOST_REFERENCES)]

    def _advance(self, done: int, total: int) -> None:
        self.emit(PhaseAdvanced(phase="save", done=done, total=total, note="compare"))

    def _over(self) -> bool:
        return self.should_stop() or time.monotonic() > self._late


def compare(comparison: Comparison, validation: Validation, last_step: int) -> CheckpointReport | None:
    """The board of a finished run. What keeps it from being made, such as a full disk, is noted; the result
    is there already."""
    try:
        with memory_errors("comparing the checkpoints", ""):
            return comparison.make(last_step, validation.losses, validation.base_loss)
    except StudioError as error:
        comparison.emit(Noted(message=f"{error.message} There is no board of them.", level="warning"))
        return None


def board_limits(engine: Engine, pictures: int) -> tuple[int, float]:
    """The count of training pictures that the board compares previews with, and the seconds it may take;
    none where there is no board."""
    if not engine.config.preview.checkpoint_board:
        return 0, 0.0
    return min(pictures, MOST_REFERENCES), seconds_allowed(engine.device.kind)


def seconds_allowed(device: str) -> float:
    """The seconds that the comparison may take. A graphics card is done long before; on a CPU a large base is
    slow."""
    return 300.0 if device != "cpu" else 60.0


def _with_looks(
    board: CheckpointReport, looks: Mapping[str, torch.Tensor], references: int
) -> tuple[CheckpointRow, ...]:
    """Likeness and leak of each row, from features brought to one scale."""
    scaled = dict(zip(looks, on_one_scale(torch.stack(list(looks.values()))), strict=True))
    training = torch.stack([scaled[str(number)] for number in range(references)])
    base = torch.stack([scaled[path] for path in board.base])
    plain = scaled.get(board.without_base)
    usual = None if plain is None else float(torch.cdist(plain[None], base).mean())
    rows = []
    for row in board.rows:
        drawn = [scaled[path] for path in row.pictures if path]
        near = likeness(torch.stack(drawn), base, training) if drawn else None
        leak = None
        if plain is not None and usual and row.without:
            leak = min(1.0, float((scaled[row.without] - plain).norm()) / usual)
        rows.append(replace(row, likeness=near, leak=leak))
    return tuple(rows)


def _checkpoints(folder: Path) -> list[Path]:
    return sorted(folder.glob("checkpoints/*-step" + "[0-9]" * 8 + ".safetensors"))


def _there(folder: Path, name: str) -> str:
    """The picture's path from the result's folder; empty when there is none."""
    return f"{folder.name}/{name}" if (folder / name).is_file() else ""
