"""The second engine: the user's own sd-scripts as a child process, its console turned into our events."""

from __future__ import annotations

import math
import os
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

from lora_studio.config import TrainConfig
from lora_studio.errors import ConfigError, DeviceBusy, Diverged, StudioError
from lora_studio.events import (
    CheckpointSaved,
    Commands,
    Emit,
    Finished,
    Noted,
    PhaseAdvanced,
    ShouldStop,
    Started,
    StepDone,
    Stopped,
    no_commands,
)
from lora_studio.files import disk_errors
from lora_studio.jobs.sd_scripts.child_process import Child
from lora_studio.jobs.sd_scripts.console_output import LOG_NAME, Bar, Epoch, Saving, explain, read_line
from lora_studio.jobs.sd_scripts.launch_files import Launch, prepare
from lora_studio.jobs.sd_scripts.saved_files import STEP, SavedFiles
from lora_studio.runtime import DeviceLease
from lora_studio.settings import Settings
from lora_studio.training_request import RunRequest

HOLDER = "training"
LOOK_SECONDS = 0.25
KEPT_LINES = 400
HELD_SECONDS = 3.0
ENVIRONMENT = {
    **{"PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1", "PYTHONIOENCODING": "utf-8", "COLUMNS": "200"},
    **{"NO_COLOR": "1", "TERM": "dumb", "ACCELERATE_DISABLE_RICH": "1"},
}
"""Variables that make lines come as soon as they are printed, whole and without colours."""
NOT_INHERITED = ("LORA_STUDIO_", "SUPABASE_", "MODAL_", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
"""Prefixes of variables that the child lacks: ours, with passwords, and what leads another Python astray."""
NOTHING_SAVED = "sd-scripts saves nothing when it is stopped, and no checkpoint was due yet: nothing is kept."
NO_RESUME = "Start it again, or give sd_scripts_args its own resume = '<folder of a state>'."
PHASES = ("load", "cache", "train", "save")


class SdScriptsWorker:
    """A worker that runs trainings by sd-scripts. Generations that come meanwhile share the device with it: a
    child can't give way between two steps."""

    def __init__(
        self,
        settings: Settings,
        lease: DeviceLease,
        *,
        grace_seconds: float = 10.0,
        quiet_seconds: float = 600.0,
    ) -> None:
        self._settings, self._lease = settings, lease
        self._grace_seconds, self._quiet_seconds = grace_seconds, quiet_seconds
        self._commands: Commands = no_commands

    def run(self, request: RunRequest, emit: Emit, should_stop: ShouldStop) -> None:
        """Run sd-scripts until the training has ended or stopped. Raises StudioError. There is no resuming,
        and commands are only answered with a note."""
        if request.resume_from:
            raise ConfigError(
                "A training by sd-scripts can't be resumed from here.", NO_RESUME, field="engine"
            )
        config, self._commands = request.config, request.commands
        folder = request.folder or Path(config.output.output_dir) / "sd-scripts"
        launch = prepare(config, self._settings, folder)
        try:
            with self._lease.hold(HOLDER, give_up=should_stop):
                self._run(config, launch, folder, emit, should_stop)
        except DeviceBusy:
            if not should_stop():
                raise
            emit(Stopped(step=0))

    def _run(
        self, config: TrainConfig, launch: Launch, folder: Path, emit: Emit, should_stop: ShouldStop
    ) -> None:
        watch = _Watch(config=config, launch=launch, emit=emit)
        watch.announce()
        log = folder / LOG_NAME
        with disk_errors("sd-scripts", "started", ""):
            child = Child(launch.command, folder=launch.folder, environment=environment(), log=log)
        try:
            stopped = self._follow(child, watch, should_stop)
        finally:
            code = child.stop(self._grace_seconds)
        if stopped:
            watch.stopped()
        else:
            watch.ended(code)

    def _follow(self, child: Child, watch: _Watch, should_stop: ShouldStop) -> bool:
        """Read the console until its end; True when the run is to be stopped."""
        heard = time.monotonic()
        while True:
            self._lease.give_way(HOLDER)
            if should_stop():
                return True
            if command := self._commands():
                watch.refuse(command)
            try:
                line = child.line(LOOK_SECONDS)
            except TimeoutError:
                watch.idle()
                if time.monotonic() - heard > self._quiet_seconds:
                    heard = time.monotonic()
                    watch.quiet(self._quiet_seconds)
                continue
            if line is None:
                child.wait()
                return False
            heard = time.monotonic()
            watch.take(line)


def environment() -> dict[str, str]:
    """The child's environment variables."""
    theirs = {name: value for name, value in os.environ.items() if not name.startswith(NOT_INHERITED)}
    return {**theirs, **ENVIRONMENT}


@dataclass(kw_only=True)
class _Watch:
    """The state of the console so far, and the events that come of it. sd-scripts draws a step twice: when it
    is counted, still with the loss before, and when its loss is known."""

    config: TrainConfig
    launch: Launch
    emit: Emit
    started: float = field(default_factory=time.monotonic)
    step: int = 0
    average: float | None = None
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=KEPT_LINES))
    _epoch: int = 1
    _pending: Bar | None = None
    _pending_at: float = 0.0
    _step_at: float = 0.0
    _loaded: bool = False
    _cached: tuple[int, int] = (0, 0)
    _saving: str = ""

    def __post_init__(self) -> None:
        self.files = SavedFiles(config=self.config, launch=self.launch)

    def announce(self) -> None:
        precision = self.config.model.mixed_precision
        self.emit(
            Started(
                total_steps=self.launch.total_steps,
                phases=PHASES,
                device="sd-scripts",
                dtype=precision if precision in ("bf16", "fp16") else "float32",
                images=self.launch.images,
            )
        )
        for note in self.launch.notes:
            self.emit(Noted(message=note))
        self.emit(PhaseAdvanced(phase="load", done=0, total=1, note=self.launch.base.name))

    def take(self, line: str) -> None:
        """Read one line of the console. Raises Diverged when its loss is no number any more."""
        self.lines.append(line)
        match read_line(line):
            case Bar() as bar if bar.trains:
                self._trained(bar)
            case Bar() as bar if not self._loaded and bar.total > 1 and (bar.done, bar.total) != self._cached:
                self._cached = (bar.done, bar.total)
                self.emit(PhaseAdvanced(phase="cache", done=bar.done, total=bar.total, note=bar.name))
            case Epoch() as epoch:
                self._epoch = epoch.number
            case Saving(removed=False) as saving:
                self._saved()
                self._saving = saving.path
            case _:
                pass

    def idle(self) -> None:
        """Emit the pending step after a silence: between its two drawings a file may be made."""
        if time.monotonic() - self._pending_at > HELD_SECONDS:
            self._flush()

    def quiet(self, seconds: float) -> None:
        minutes = max(1, round(seconds / 60))
        self.emit(
            Noted(
                message=f"sd-scripts has said nothing for {minutes} minutes; it may still be working.",
                level="warning",
            )
        )

    def refuse(self, command: str) -> None:
        """Emit a note on a command that only our own engine can do."""
        self.emit(Noted(message=f"sd-scripts can't be told to {command} while it runs.", level="warning"))

    def stopped(self) -> None:
        """Keep the latest whole checkpoint after the child was ended."""
        self._flush()
        self._take_previews(runs=False)
        newest = self.files.newest()
        if newest is None:
            self.emit(Noted(message=NOTHING_SAVED, level="warning"))
            self.emit(Stopped(step=self.step))
            return
        file, step = newest
        path = self.files.publish(file, self._facts("stopped", step or self.step))
        self.emit(
            Noted(message=f"sd-scripts saves nothing when it is stopped; kept is its checkpoint {file.name}.")
        )
        self.emit(Stopped(step=self.step, path=str(path.parent)))

    def ended(self, code: int) -> None:
        """Publish the result after the child's own end. Raises StudioError with the reason if it failed."""
        self._flush()
        self._take_previews(runs=False)
        self._saved()
        file = self.files.finished() if code == 0 else None
        if file is None:
            raise self._with_what_is_kept(explain(self.lines, code))
        self.emit(PhaseAdvanced(phase="save", done=0, total=1))
        path = self.files.publish(file, self._facts("finished", self.step))
        self.emit(PhaseAdvanced(phase="save", done=1, total=1))
        self.emit(CheckpointSaved(step=self.step, path=str(path), final=True))
        self.emit(Finished(path=str(path.parent), steps=self.step, seconds=time.monotonic() - self.started))

    def _trained(self, bar: Bar) -> None:
        if not self._loaded:
            self._loaded, self._step_at = True, time.monotonic()
            self.emit(PhaseAdvanced(phase="load", done=1, total=1, note=self.launch.base.name))
        if bar.done <= self.step or bar.done > bar.total:
            return
        if self._pending is None or self._pending.done != bar.done:
            self._flush()
            self._pending, self._pending_at = bar, time.monotonic()
        elif bar.loss is not None:
            self._pending = bar
            self._flush()

    def _flush(self) -> None:
        bar, self._pending = self._pending, None
        loss = self.average if bar is None or bar.loss is None else bar.loss
        if bar is None or loss is None:
            return
        if not math.isfinite(loss):
            raise self._with_what_is_kept(
                Diverged(
                    f"The loss is no longer a number at step {bar.done}, so sd-scripts was ended.",
                    "Halve the learning rate, or use constant_with_warmup; look for odd pictures in the set.",
                )
            )
        self.average = loss
        now = time.monotonic()
        steps = range(self.step + 1, bar.done + 1)
        seconds = (now - self._step_at) / len(steps) if self.step else bar.seconds or now - self._step_at
        self.step, self._step_at = bar.done, now
        for step in steps:
            self.emit(self._step_done(step, bar.total, loss=loss, seconds=seconds))
        self._saved()
        self._take_previews(runs=True)

    def _step_done(self, step: int, total: int, *, loss: float, seconds: float) -> StepDone:
        """The event of a step. The console shows the mean loss and no rate: the loss of the step alone is
        unknown, the rate is the one that the schedule starts from."""
        rates = self.config.optimizer
        return StepDone(
            step=step,
            total_steps=total,
            loss=loss,
            average_loss=loss,
            learning_rate=rates.learning_rate if rates.unet_lr is None else rates.unet_lr,
            seconds=seconds,
            epoch=self._epoch,
        )

    def _saved(self) -> None:
        """Emit the checkpoint whose writing was announced, which is whole once another line comes."""
        path, self._saving = Path(self._saving) if self._saving else None, ""
        if path and path.is_file() and path.stem != self.config.output.output_name:
            match = STEP.search(path.stem)
            self.emit(CheckpointSaved(step=int(match[1]) if match else self.step, path=str(path)))

    def _take_previews(self, *, runs: bool) -> None:
        for preview in self.files.take_previews(self.step, runs=runs):
            self.emit(preview)

    def _facts(self, status: str, steps: int) -> dict[str, object]:
        seconds = round(time.monotonic() - self.started, 3)
        return {"status": status, "steps": steps, "seconds": seconds, "final_loss": self.average}

    def _with_what_is_kept(self, error: StudioError) -> StudioError:
        newest = self.files.newest(up_to=self.step if isinstance(error, Diverged) else None)
        if newest is not None:
            error.hint = (
                f"{error.hint} Its checkpoint {newest[0].name} is kept in {newest[0].parent}.".strip()
            )
        return error
