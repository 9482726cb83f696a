"""Keeps a run from being spoiled: when the loss blows up it goes back to the last good point at half the
rate, and when there is too little memory it needs less."""

from __future__ import annotations

import contextlib
from collections import deque
from dataclasses import dataclass, field

from lora_studio.errors import BrokenFile, Diverged, ModelFileError, OutOfMemory
from lora_studio.events import Emit, Noted, StepDone
from lora_studio.lora.run_states import step_of
from lora_studio.runtime import memory_errors
from lora_studio.training.loop import Loop
from lora_studio.training.loss.loss_spikes import RECENT
from lora_studio.training.out_of_memory import Fallbacks
from lora_studio.training.result_folder import HALVE
from lora_studio.training.train_state import Point, States, read_newest, read_state

LESS_MEMORY = (
    "Lower resolution or train_batch_size, switch gradient_checkpointing on, or close other programs."
)
MOST_HALVINGS = 2
COPY_EVERY = 20
"""Steps between two copies in memory."""
MOST_BYTES = 256 * 2**20
"""A larger point is not kept in memory: then the files have to serve."""
COPIES_OF_A_WEIGHT = 3
"""The weight and, with most optimizers, two averages of its gradient."""


@dataclass(kw_only=True)
class Rollback:
    """Does the loop's steps. `points` are copies of earlier moments of the run, newest last; the last but one
    is old enough that what led to a spike came after it."""

    loop: Loop
    fallbacks: Fallbacks
    states: States
    emit: Emit
    points: deque[Point] = field(default_factory=lambda: deque(maxlen=2))

    def advance(self) -> StepDone:
        """The next good step. Its number is lower than the last one's when the run had to go back. Raises
        Diverged, OutOfMemory; of several ranks also torch's error, where one alone has too little memory."""
        is_alone = self.loop.ranks.count == 1
        while True:
            self._keep_point()
            try:
                # A rank that made room without the others would leave them waiting, so it ends and they do.
                with memory_errors("training", LESS_MEMORY) if is_alone else contextlib.nullcontext():
                    done = self.loop.advance()
            except OutOfMemory as error:
                self._make_room(error)
                continue
            except Diverged as error:
                self._go_back(error)
                continue
            if not self.loop.watch.is_spike(done.loss):
                return done
            message = f"The loss jumped to {done.loss:.3g} at step {done.step}, far above what it was before."
            self._go_back(Diverged(message, HALVE))

    @property
    def keeps_points(self) -> bool:
        """Whether a copy is small enough to be kept in memory."""
        loop = self.loop
        parts = [loop.engine.lora.parameters(part) for part in loop.engine.rates]
        numbers = sum(weight.numel() for weights in parts for weight in weights)
        return 4 * COPIES_OF_A_WEIGHT * numbers <= MOST_BYTES

    def _keep_point(self) -> None:
        newest = self.points[-1].step if self.points else -COPY_EVERY
        if self.keeps_points and self.loop.step - newest >= COPY_EVERY:
            self.points.append(self.loop.point())

    def _make_room(self, error: OutOfMemory) -> None:
        """Climb the ladder, and go back if weights were being changed. Raises the error at its end."""
        spoiled = self.loop.moving
        if not self.fallbacks.climb():
            raise error
        if spoiled:
            point = self._earlier(0)
            if point is None:
                raise error
            self._return_to(point)

    def _go_back(self, error: Diverged) -> None:
        """Go back to a point a few steps ago, at half the rate. Raises the error when that was done twice, or
        when there is no such point."""
        halvings, failed_at = self.loop.halvings, self.loop.step
        point = self._earlier(RECENT) if halvings < MOST_HALVINGS else None
        if point is None:
            raise error
        self._return_to(point)
        while self.loop.halvings <= halvings:
            self.loop.halve_rate()
        self.points.clear()
        note = (
            f"{error.message} The run went back from step {failed_at} to step {point.step} and goes on at "
            "half the learning rate."
        )
        self.emit(Noted(message=note, level="warning"))

    def _return_to(self, point: Point) -> None:
        self.loop.go_to(point)
        self.states.forget_after(point.step)
        while self.points and self.points[-1].step > point.step:
            self.points.pop()

    def _earlier(self, steps: int) -> Point | None:
        """The newest point at least so many steps ago, else the oldest there is, from memory or disk."""
        latest = self.loop.step - steps
        if self.points:
            return next((point for point in reversed(self.points) if point.step <= latest), self.points[0])
        paths = self.states.files()
        path = next((path for path in paths if step_of(path) <= latest), paths[-1] if paths else None)
        if path is None:
            return None
        try:
            return read_state(path).point
        except BrokenFile:
            return _newest_whole(self.states)


def _newest_whole(states: States) -> Point | None:
    try:
        return read_newest(states.folder)[0].point
    except ModelFileError:
        return None
