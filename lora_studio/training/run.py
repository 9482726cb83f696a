"""The steps of a run, and what is written, drawn and measured between them."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from lora_studio.errors import DiskFull, Diverged, OutOfMemory
from lora_studio.events import CheckpointSaved, Noted, PhaseAdvanced, StateSaved, StepDone
from lora_studio.files import KEEP_FREE, free_bytes, has_room
from lora_studio.formatting import size
from lora_studio.runtime import memory_errors
from lora_studio.settings import Settings
from lora_studio.training.disk_use import DiskUse
from lora_studio.training.evaluation.checkpoint_scores import Comparison, board_limits, compare
from lora_studio.training.evaluation.intervals import checkpoint_steps, validation_steps
from lora_studio.training.evaluation.picture_gains import SHARE, GainMeasurement, name_far_off
from lora_studio.training.evaluation.previews import Previews
from lora_studio.training.evaluation.validation import Validation
from lora_studio.training.free_encoders import free_autoencoder
from lora_studio.training.loop import Loop
from lora_studio.training.optimization.optimizers import optimizer_mode
from lora_studio.training.preparation.training_data import cache_notes
from lora_studio.training.result_folder import ResultFolder, facts_of
from lora_studio.training.resuming.rollback import LESS_MEMORY, Rollback
from lora_studio.training.resuming.start_point import RunMarks
from lora_studio.training.run_control import RunControl
from lora_studio.training.train_state import States

WARM_UP, MEASURED = 1, 10
"""Steps that tell how long one takes, after the first, which is slower."""


@dataclass(kw_only=True)
class TrainingRun:
    """One run from its first step to its last word but one. `saved` is the name of the last checkpoint."""

    session: RunControl
    rollback: Rollback
    states: States
    facts: RunMarks
    result: ResultFolder
    previews: Previews
    validation: Validation
    disk: DiskUse
    saved: str = ""
    _seconds: list[float] = field(default_factory=list)

    @property
    def loop(self) -> Loop:
        return self.rollback.loop

    def run(self) -> Path | None:
        """Do the steps until the end, a stop or a pause, then write what is to be kept: the result's file, or
        None after a pause and when nothing was learned. A full disk is a pause: `session.full` says why.
        Raises StudioError."""
        session = self.session
        self.loop.engine.train_mode(True)
        try:
            self._do_steps()
            return self._keep(session.last) if session.last and session.ranks.is_first else None
        except Diverged as error:
            kept = f" {self.saved} is kept from before." if self.saved else ""
            raise Diverged(error.message, f"{error.hint}{kept}") from error
        except DiskFull as error:
            session.full = error
            self._save_last_state()
            return None

    def _do_steps(self) -> None:
        session = self.session
        try:
            self._before_the_first_step()
            while self.loop.step < self.loop.total and not session.all_stop():
                waited = self.loop.data.latents.waiting
                session.last = self.rollback.advance()
                if waited:
                    self._say_what_waits()
                session.emit(session.last)
                self._after(session.last)
        except DiskFull as error:
            session.full = error
            if self.loop.step < self.loop.total:
                session.all_stop()  # the other processes ask there
            raise

    def _say_what_waits(self) -> None:
        """Tell how many pictures are encoded, where that is done at their first use."""
        emit, data = self.session.emit, self.loop.data
        waiting = data.latents.waiting
        emit(PhaseAdvanced(phase="cache", done=data.encoded - waiting, total=data.encoded))
        if not waiting:
            free_autoencoder(self.loop.engine)
            for note in cache_notes(data.latents):
                emit(Noted(message=note))

    @property
    def complete(self) -> bool:
        at_the_end = self.session.last is not None and self.loop.step == self.loop.total
        return at_the_end and self.session.full is None

    def _before_the_first_step(self) -> None:
        """The base's own previews, unless the first steps have to tell how many there may be; in a resumed
        run also those that its end kept from being drawn, where nothing limits them or no step follows."""
        if not self.session.ranks.is_first:
            return
        self.result.begin_hashing()
        step, previews = self.loop.step, self.previews
        if previews.plan.steps and not previews.awaits_limit and not self._drawn(0):
            self._draw(0)
        if not step:
            self._validate(0)
        is_due = step in previews.plan.steps and (step == self.loop.total or not previews.awaits_limit)
        if is_due and not self._drawn(step) and not self.session.stop():
            self._draw(step)
        if not self.rollback.keeps_points and not self.states.files():
            self.save_state()  # it is what `rollback` goes back to

    def _after(self, done: StepDone) -> None:
        session, config = self.session, self.session.config
        if not session.ranks.is_first:
            return
        stop = session.stop()
        if not stop and self._pauses_for_room(done.step):
            return
        asked = session.wishes & {"save", "preview"}
        session.wishes -= asked
        if not self.complete and (done.step in checkpoint_steps(config) or "save" in asked):
            self._checkpoint(done, asked="save" in asked)
        if done.step in validation_steps(config) and not stop:
            self._validate(done.step)
        if not stop:
            self._limit_previews(done, asked="preview" in asked)
        if (done.step in self.previews.plan.steps or "preview" in asked) and not stop:
            if self.complete:
                self._publish(done)  # safe on disk, whatever becomes of the previews
            self._draw(done.step)
        if not self.complete and self.states.is_due(done.step):
            self.save_state()

    def _limit_previews(self, done: StepDone, *, asked: bool) -> None:
        """Settle which previews there will be, once it is known how long a step takes, or when some are due;
        then draw the base's own."""
        previews = self.previews
        self._seconds.append(done.seconds)
        is_due = asked or self.complete or done.step in previews.plan.steps
        if not previews.awaits_limit or not (is_due or len(self._seconds) >= WARM_UP + MEASURED):
            return
        if self.complete:
            self._publish(done)
        pictures = sum(not one.picture.is_reg for one in self.loop.data.loader.pictures)
        try:
            with self._at_rest(), memory_errors("the previews", LESS_MEMORY):
                previews.limit(done.step, self._step_seconds, board_limits(self.loop.engine, pictures))
        except OutOfMemory:
            return  # those that are due say so
        is_ahead = any(step >= done.step for step in previews.plan.steps)
        if is_ahead and not self.complete and not self._drawn(0):
            self._draw(0)

    @property
    def _step_seconds(self) -> float:
        """Seconds of all steps of this run: those that it took, and those to come by their median."""
        usual = statistics.median(self._seconds[WARM_UP:] or self._seconds)
        return sum(self._seconds) + usual * (self.loop.total - self.loop.step)

    def _pauses_for_room(self, step: int) -> bool:
        """Whether to pause here, while a state still fits on the disk: asked before anything is written that
        could fill it."""
        session, config = self.session, self.session.config
        due = step in checkpoint_steps(config) or step in self.previews.plan.steps
        due = due or self.states.is_due(step)
        due = due or bool(session.wishes & {"save", "preview"})
        if self.complete or not due or has_room(self.result.path, self.disk.at_an_end):
            return False
        free, kept = free_bytes(self.result.path) or 0, Settings.from_environment().keep_free_bytes
        session.full = DiskFull(
            f"The disk has {size(free)} left, and to go on from step {step} the training needs "
            f"{size(self.disk.at_an_end + kept - free)} more.",
            KEEP_FREE,
        )
        return True

    def _checkpoint(self, done: StepDone, *, asked: bool) -> None:
        with self._at_rest():
            path = self.result.save_checkpoint(done.step, done.epoch)
        if path:
            self.saved = path.name
            self.session.emit(CheckpointSaved(step=done.step, path=str(path)))
        if asked:
            none = "Nothing has been learned yet, so there is nothing to save."
            self.session.emit(Noted(message=f"Saved as checkpoints/{path.name}." if path else none))

    def _validate(self, step: int) -> None:
        with self._at_rest():
            self.validation.measure(step)

    def _drawn(self, step: int) -> bool:
        return any(preview.step == step for preview in self.previews.saved)

    def _draw(self, step: int) -> None:
        """Previews of a step, 0 being the base by itself. Too little memory for them is no reason to lose the
        training."""
        try:
            with self._at_rest(), memory_errors("the previews", LESS_MEMORY):
                if not self._drawn(0):
                    self.previews.save(0)
                if step:
                    self.previews.saved = [preview for preview in self.previews.saved if preview.step < step]
                    self.previews.save(step)
                if self._seconds:
                    self.previews.keep_within(step, self._step_seconds)
        except OutOfMemory as error:
            note = f"{error.message} Those of step {step} are left out; the training goes on."
            self.session.emit(Noted(message=note, level="warning"))

    @contextlib.contextmanager
    def _at_rest(self) -> Iterator[None]:
        """Use the weights that are to be used, where an optimizer learns with others."""
        optimizer_mode(self.loop.optimizer, training=False)
        try:
            yield
        finally:
            optimizer_mode(self.loop.optimizer, training=True)

    def save_state(self) -> None:
        """Save a state to go on from. Raises StudioError when the disk is full."""
        begun, session = time.perf_counter(), self.session
        state = replace(
            session.origin.state_of(self.loop, session.config, self.facts),
            last=session.last,
            previews=tuple(self.previews.saved),
            started_at=self.result.started_at,
            session_id=self.result.session_id,
            seconds=session.seconds,
        )
        path = self.states.save(state, begun)
        session.emit(StateSaved(step=state.point.step, path=str(path)))

    def _keep(self, done: StepDone) -> Path | None:
        session = self.session
        if not self.complete:
            self._save_last_state()
            if not session.stopping:
                return None
        session.emit(PhaseAdvanced(phase="save", done=0, total=1))
        file = self._publish(done)
        if file is None:
            self._say_that_nothing_was_learned()
            return None
        session.emit(PhaseAdvanced(phase="save", done=1, total=1))
        session.emit(CheckpointSaved(step=done.step, path=str(file), final=True))
        if self.complete:
            self._compare(done.step)
            self.states.clear()
        return file

    def _save_last_state(self) -> None:
        """Save a state at the end. Where there is no room for it, the run goes on from the one before."""
        try:
            self.save_state()
        except DiskFull as error:
            if not self.session.stopping:
                self.session.full = self.session.full or error
            self.session.emit(
                Noted(message=f"{error.message} Resuming begins further back.", level="warning")
            )

    def _compare(self, step: int) -> None:
        """The board of checkpoints, beside the result, and the pictures that stayed far off."""
        engine, data, session = self.loop.engine, self.loop.data, self.session
        if not session.config.preview.checkpoint_board:
            return
        with self._at_rest():
            comparison = Comparison(
                engine=engine,
                data=data,
                previews=self.previews,
                emit=session.emit,
                should_stop=session.stop,
            )
            compare(comparison, self.validation, step)
            measurement = GainMeasurement(
                engine=engine,
                data=data,
                emit=session.emit,
                should_stop=session.stop,
                step_seconds=statistics.median(self._seconds or [0.0]),
            )
            name_far_off(measurement, self.result.path, SHARE * sum(self._seconds))

    def _say_that_nothing_was_learned(self) -> None:
        if self.complete:
            raise Diverged(
                "The LoRA has learned nothing: its weights are all zero.", "Raise the learning rate."
            )
        note = "Stopped before anything was learned, so there is no file."
        self.session.emit(Noted(message=note, level="warning"))

    def _publish(self, done: StepDone) -> Path | None:
        facts = {
            "status": "finished" if self.complete else "stopped",
            "steps": done.step,
            "seconds": round(self.session.seconds, 3),
            "final_loss": done.average_loss,
            "previews": [facts_of(preview) for preview in self.previews.saved],
        }
        with self._at_rest():
            return self.result.publish(facts, self.previews.saved, step=done.step, epoch=done.epoch)
