"""The training engine's front door: a frozen configuration in, a stream of events out, a stop signal in.

Importing this module loads torch; the app does so when the first job starts.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch

from lora_studio.config import TrainConfig
from lora_studio.data.folders import PictureFolder, read_folder
from lora_studio.errors import Diverged
from lora_studio.events import (
    CheckpointSaved,
    Emit,
    Finished,
    Noted,
    PhaseAdvanced,
    ShouldStop,
    Started,
    StepDone,
    Stopped,
    ignore,
    never_stop,
)
from lora_studio.families.detect import FoundBase, find_base
from lora_studio.runtime import Device, compute_dtype, find_device, memory_errors
from lora_studio.training.checkpoint import ResultFolder, check_output, facts_of
from lora_studio.training.engine import Engine, load_engine, trained_rates
from lora_studio.training.loop import run_steps
from lora_studio.training.notes import ignored_settings
from lora_studio.training.optim import build_optimizer, build_schedule, describe
from lora_studio.training.prepare import TrainingData, prepare_data
from lora_studio.training.preview import Previews, preview_steps

PHASES = ("load", "cache", "preview", "train", "save")
LESS_MEMORY = (
    "Lower resolution or train_batch_size, switch gradient_checkpointing on, or close other programs."
)


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """`path` is the result's folder and `file` the LoRA in it; both are empty when a run was stopped before
    it had learned anything."""

    status: Literal["finished", "stopped"]
    path: str
    file: str
    steps: int
    seconds: float
    final_loss: float | None


def train(config: TrainConfig, emit: Emit = ignore, should_stop: ShouldStop = never_stop) -> TrainResult:
    """Train a LoRA and write its folder `output_dir`. Stopping is a result: what was learned so far is saved.

    Raises ConfigError, DatasetError, ModelFileError and its kin, OutOfMemory, Diverged.
    """
    with memory_errors("training", LESS_MEMORY):
        return _Run(config=config, emit=emit, should_stop=should_stop).go()


@dataclass(kw_only=True)
class _Run:
    """One run from start to end. A stop signal, once given, holds."""

    config: TrainConfig
    emit: Emit
    should_stop: ShouldStop
    started: float = field(default_factory=time.perf_counter)
    stopping: bool = False
    last: StepDone | None = None

    def go(self) -> TrainResult:
        folder, found = self._check()
        device = find_device()
        dtype = compute_dtype(self.config.model.mixed_precision, device)
        self._announce(folder, device, dtype)
        self.emit(PhaseAdvanced(phase="load", done=0, total=1, note=found.name))
        engine = load_engine(self.config, found, device, dtype)
        self.emit(PhaseAdvanced(phase="load", done=1, total=1, note=found.name))
        data = None if self.stop() else prepare_data(engine, folder, self.emit, self.stop)
        if data is None or self.stop():
            return self._stopped_empty()
        return self._train(engine, data)

    def stop(self) -> bool:
        self.stopping = self.stopping or self.should_stop()
        return self.stopping

    def _check(self) -> tuple[PictureFolder, FoundBase]:
        """What can be wrong is found here, before anything is loaded, as far as possible."""
        check_output(self.config.output)
        trained_rates(self.config)
        return read_folder(self.config.dataset), find_base(self.config.model.pretrained_model_name_or_path)

    def _announce(self, folder: PictureFolder, device: Device, dtype: torch.dtype) -> None:
        has_previews = bool(preview_steps(self.config))
        self.emit(
            Started(
                total_steps=self.config.optimizer.max_train_steps,
                phases=tuple(phase for phase in PHASES if phase != "preview" or has_previews),
                device=device.title,
                dtype=str(dtype).removeprefix("torch."),
                images=len(folder.pictures),
            )
        )
        for message in (*folder.notes, *ignored_settings(self.config, device)):
            self.emit(Noted(message=message))

    def _train(self, engine: Engine, data: TrainingData) -> TrainResult:
        config = self.config
        weights = {part: engine.lora.parameters(part) for part in engine.rates}
        optimizer = build_optimizer(config.optimizer, weights, engine.rates)
        schedule = build_schedule(config.optimizer, optimizer)
        result = ResultFolder(engine=engine, data=data, optimizer=describe(optimizer, config.optimizer))
        previews = Previews(
            engine=engine, folder=result.path / "previews", emit=self.emit, should_stop=self.stop
        )
        preview_at = preview_steps(config)
        checkpoint_at = _checkpoint_steps(config, preview_at)
        if preview_at:
            previews.save(0)
        for done in () if self.stop() else run_steps(engine, data, optimizer, schedule):
            self.last = done
            self.emit(done)
            if done.step in checkpoint_at:
                self._checkpoint(result, done)
            if done.step in preview_at and not self.stop():
                if done.step == done.total_steps:
                    self._publish(result, previews, done)  # safe on disk, whatever becomes of the previews
                previews.save(done.step)
            if done.step < done.total_steps and self.stop():
                break
        return self._finish(result, previews)

    def _checkpoint(self, result: ResultFolder, done: StepDone) -> None:
        path = result.save_checkpoint(done.step, done.epoch)
        if path:
            self.emit(CheckpointSaved(step=done.step, path=str(path)))

    def _finish(self, result: ResultFolder, previews: Previews) -> TrainResult:
        if self.last is None:
            return self._stopped_empty()
        done = self.last
        complete = done.step == done.total_steps
        self.emit(PhaseAdvanced(phase="save", done=0, total=1))
        file = self._publish(result, previews, done)
        if file is None and complete:
            raise Diverged(
                "The LoRA has learned nothing: its weights are all zero.", "Raise the learning rate."
            )
        if file is None:
            self.emit(
                Noted(message="Stopped before anything was learned, so there is no file.", level="warning")
            )
            return self._stopped_empty()
        self.emit(PhaseAdvanced(phase="save", done=1, total=1))
        self.emit(CheckpointSaved(step=done.step, path=str(file), final=True))
        return self._done(file, complete=complete, done=done)

    def _publish(self, result: ResultFolder, previews: Previews, done: StepDone) -> Path | None:
        facts = {
            "status": "finished" if done.step == done.total_steps else "stopped",
            "steps": done.step,
            "seconds": round(time.perf_counter() - self.started, 3),
            "final_loss": done.average_loss,
            "previews": [facts_of(preview) for preview in previews.saved],
        }
        return result.publish(facts, previews.saved, step=done.step, epoch=done.epoch)

    def _done(self, file: Path, *, complete: bool, done: StepDone) -> TrainResult:
        seconds = time.perf_counter() - self.started
        folder = str(file.parent)
        self.emit(
            Finished(path=folder, steps=done.step, seconds=seconds)
            if complete
            else Stopped(step=done.step, path=folder)
        )
        return TrainResult(
            status="finished" if complete else "stopped",
            path=folder,
            file=str(file),
            steps=done.step,
            seconds=seconds,
            final_loss=done.average_loss,
        )

    def _stopped_empty(self) -> TrainResult:
        steps = self.last.step if self.last else 0
        self.emit(Stopped(step=steps))
        return TrainResult(
            status="stopped",
            path="",
            file="",
            steps=steps,
            seconds=time.perf_counter() - self.started,
            final_loss=self.last.average_loss if self.last else None,
        )


def _checkpoint_steps(config: TrainConfig, previews: frozenset[int]) -> frozenset[int]:
    """The steps after which a checkpoint is written; the last one is the result itself."""
    total, every = config.optimizer.max_train_steps, config.output.save_every_n_steps
    steps = previews if every is None else frozenset(range(every, total, every)) if every else frozenset()
    return steps - {total}
