"""The training loop: batches in, optimizer steps out, an event for each."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial

import torch
from torch.optim.lr_scheduler import LRScheduler

from lora_studio.data.loader import Batch
from lora_studio.data.seeds import seed_of
from lora_studio.errors import Diverged
from lora_studio.events import StepDone
from lora_studio.runtime import memory_in_use
from lora_studio.training.loss.loss_spikes import LossWatch
from lora_studio.training.model import Engine
from lora_studio.training.objective import draw, sample_losses
from lora_studio.training.optimization.batch_threads import BatchThreads, Gradients, add_gradients
from lora_studio.training.optimization.lr_schedules import learning_rate
from lora_studio.training.optimization.process_ranks import ALONE, Ranks
from lora_studio.training.preparation.training_data import TrainingData, captions_of
from lora_studio.training.result_folder import HALVE
from lora_studio.training.train_state import Point, copied

LEAST_SCALE = 1.0
"""Half precision scales the loss so that small gradients survive, and lowers the scale when one overflows.
Below this it is not the scale that is at fault."""


@dataclass(kw_only=True)
class LossMean:
    """Kohya's moving mean: over all steps of the first epoch, then over the last epoch's length, each step
    replacing the one at its place in the epoch before."""

    losses: list[float] = field(default_factory=list)

    def add(self, index: int, loss: float) -> float:
        """`index` is the step's place in its epoch, from 0. Returns the new mean."""
        if index < len(self.losses):
            self.losses[index] = loss
        else:
            self.losses.append(loss)
        return sum(self.losses) / len(self.losses)


@dataclass(kw_only=True)
class Loop:
    """A run's place, and all that a step moves. `epoch` (1-based) and `index` (from 0) are the place of the
    next step; `moving` is True while a step changes weights, so that a step that breaks off in between is
    known to have done damage."""

    engine: Engine
    data: TrainingData
    optimizer: torch.optim.Optimizer
    schedule: LRScheduler
    scaler: torch.amp.GradScaler | None = None
    mean: LossMean = field(default_factory=LossMean)
    watch: LossWatch = field(default_factory=LossWatch)
    step: int = 0
    epoch: int = 1
    index: int = 0
    halvings: int = 0
    rungs: tuple[str, ...] = ()
    at_once: int | None = None
    moving: bool = False
    ranks: Ranks = ALONE
    _groups: tuple[int, list[tuple[Batch, ...]]] = (0, [])

    @property
    def total(self) -> int:
        return self.engine.config.optimizer.max_train_steps

    def advance(self) -> StepDone:
        """One optimizer step. Raises Diverged, before any weight is touched, when loss or gradient is no
        longer a number."""
        group = self._next_group()
        self.optimizer.zero_grad(set_to_none=True)  # gradients lie all over the heap that pictures need
        if self.data.latents.waiting:  # no part of the step's seconds, which tell how long others will take
            self.data.latents.encode_waiting(sample.placed for batch in group for sample in batch)
            self.engine.base.codec.free()  # its copy of the weights makes room for the step's buffers
        begun = time.perf_counter()
        rate = learning_rate(self.optimizer, self.schedule)
        loss = self._learn(group)
        self.step, self.index = self.step + 1, self.index + 1
        return StepDone(
            step=self.step,
            total_steps=self.total,
            loss=loss,
            average_loss=self.mean.add(self.index - 1, loss),
            learning_rate=rate,
            seconds=time.perf_counter() - begun,
            epoch=self.epoch,
            memory_bytes=memory_in_use(self.engine.device),
        )

    def point(self) -> Point:
        """A copy of where the run is now."""
        return Point(
            step=self.step,
            epoch=self.epoch,
            index=self.index,
            lora=self.engine.lora.state(),
            optimizer=copied(self.optimizer.state_dict()),
            schedule=copied(self.schedule.state_dict()),
            scaler=copied(self.scaler.state_dict()) if self.scaler else None,
            losses=tuple(self.mean.losses),
            watched=tuple(self.watch.losses),
            halvings=self.halvings,
            rungs=self.rungs,
            at_once=self.at_once,
        )

    def go_to(self, point: Point) -> None:
        """Put everything that a step moves to where it was. What saves memory stays as it is now."""
        self.engine.lora.load_state(point.lora)
        self.optimizer.zero_grad(set_to_none=True)
        self.optimizer.load_state_dict(copied(point.optimizer))
        self.schedule.load_state_dict(copied(point.schedule))
        if self.scaler is not None and point.scaler is not None:
            self.scaler.load_state_dict(dict(point.scaler))
        self.step, self.epoch, self.index = point.step, point.epoch, point.index
        self.mean, self.watch = LossMean(losses=[*point.losses]), LossWatch(losses=[*point.watched])
        self.halvings, self.moving = point.halvings, False

    def halve_rate(self) -> None:
        """Halve the learning rate of all steps to come, along the same schedule."""
        self.halvings += 1
        for group in self.optimizer.param_groups:
            group["lr"] = group["lr"] * 0.5
            if "initial_lr" in group:
                group["initial_lr"] = group["initial_lr"] * 0.5
        if hasattr(self.schedule, "base_lrs"):
            self.schedule.base_lrs = [rate * 0.5 for rate in self.schedule.base_lrs]
        self.schedule._last_lr = [group["lr"] for group in self.optimizer.param_groups]

    def _next_group(self) -> tuple[Batch, ...]:
        if self._groups[0] != self.epoch:
            self._groups = self.epoch, list(self.data.loader.epoch(self.epoch))
        if self.index < len(self._groups[1]):
            return self._groups[1][self.index]
        self.epoch, self.index = self.epoch + 1, 0
        return self._next_group()

    def _learn(self, group: tuple[Batch, ...]) -> float:
        """Follow the gradient of the mean loss of all pictures in the group, however they are split into
        batches and dealt to processes."""
        batches = [part for batch in group for part in _split(batch, self.at_once)]
        pictures = sum(len(batch) for batch in batches)
        loss = 0.0
        with self.ranks.failing_together():
            for number, batch in self.ranks.share([*enumerate(batches)]):
                with own_random_numbers(self.engine, "dropout", self.step + 1, number):
                    losses = self._descend(batch, pictures)
                loss += losses.sum().item() / pictures
        loss = self.ranks.summed(loss)
        self._follow(loss, group)
        return loss

    def _descend(self, batch: Batch, pictures: int) -> torch.Tensor:
        """The losses of a batch's samples, [b]; the gradients of their mean over all `pictures` are added to
        those of the weights."""
        parts = self._threads.parts(batch) if self.engine.batch_threads > 1 else [batch]
        if len(parts) > 1:
            found = self._threads.each(partial(self._gradients, pictures), parts)
            add_gradients(self._weights, [gradients for _, gradients in found])
            return torch.cat([losses for losses, _ in found])
        losses = batch_losses(self.engine, self.data, batch, self.step + 1)
        mean = losses.sum() / pictures
        (self.scaler.scale(mean) if self.scaler else mean).backward()
        return losses.detach()

    def _gradients(self, pictures: int, part: Batch) -> tuple[torch.Tensor, Gradients]:
        """The losses of a part of a batch and their gradients, which other threads compute beside it."""
        losses = batch_losses(self.engine, self.data, part, self.step + 1)
        gradients = torch.autograd.grad(losses.sum() / pictures, self._weights, allow_unused=True)
        return losses.detach(), gradients

    @property
    def _weights(self) -> list[torch.Tensor]:
        return [weight for entry in self.optimizer.param_groups for weight in entry["params"]]

    @cached_property
    def _threads(self) -> BatchThreads:
        count = self.engine.batch_threads
        return BatchThreads(count, max(1, torch.get_num_threads() // count))

    def _follow(self, loss: float, group: tuple[Batch, ...]) -> None:
        weights = self._weights
        self.ranks.sum_gradients(weights)
        if self.scaler is not None:
            self.scaler.unscale_(self.optimizer)
        limit = self.engine.config.optimizer.max_grad_norm or math.inf
        length = torch.nn.utils.clip_grad_norm_(weights, limit)
        if not math.isfinite(loss) or not (torch.isfinite(length) or self._scale_is_too_large()):
            names = dict.fromkeys(sample.placed.picture.path.name for batch in group for sample in batch)
            raise Diverged(
                f"The training fell apart at step {self.step + 1}: its loss is no longer a number.",
                f"{HALVE} That step's pictures: {', '.join(names)}.",
            )
        self.moving = True
        with own_random_numbers(self.engine, "optimizer", self.step + 1), self.ranks.failing_together():
            self._move()
        self.engine.after_step()
        self.moving = False

    def _move(self) -> None:
        """A step that half precision spoils is left out, and the schedule waits, as in Kohya's trainer."""
        if self.scaler is None:
            self.optimizer.step()
        else:
            before = self.scaler.get_scale()
            self.scaler.step(self.optimizer)
            self.scaler.update()
            if self.scaler.get_scale() < before:
                return
        self.schedule.step()

    def _scale_is_too_large(self) -> bool:
        return self.scaler is not None and self.scaler.get_scale() > LEAST_SCALE


@contextlib.contextmanager
def own_random_numbers(engine: Engine, purpose: str, *numbers: int) -> Iterator[None]:
    """Give a step numbers of its own from torch's global generator (for dropout, or an optimizer that rounds
    by chance); the generator goes on afterwards as if nothing had been drawn."""
    with torch.random.fork_rng(devices=[0] if engine.device.kind == "cuda" else []):
        torch.manual_seed(seed_of(engine.config.optimizer.seed, purpose, *numbers))
        yield


def _split(batch: Batch, at_once: int | None) -> Sequence[Batch]:
    size = at_once or len(batch)
    return [batch[start : start + size] for start in range(0, len(batch), size)]


def batch_losses(engine: Engine, data: TrainingData, batch: Batch, step: int) -> torch.Tensor:
    captions = captions_of(data, engine.config, batch, step)
    text = engine.encode_text(captions) if data.texts is None else data.texts.batch(captions)
    return sample_losses(engine, draw(batch, data.latents, engine.config, engine.base.process), text)
