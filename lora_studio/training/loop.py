"""The training loop: batches in, optimizer steps out, an event for each."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch.optim.lr_scheduler import LRScheduler

from lora_studio.data.captions import caption_for_use
from lora_studio.data.loader import Batch
from lora_studio.data.seeds import seed_of
from lora_studio.errors import Diverged
from lora_studio.events import StepDone
from lora_studio.training.checkpoint import HALVE
from lora_studio.training.engine import Engine
from lora_studio.training.objective import draw, sample_losses, sample_seed
from lora_studio.training.prepare import TrainingData


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


def run_steps(
    engine: Engine, data: TrainingData, optimizer: torch.optim.Optimizer, schedule: LRScheduler
) -> Iterator[StepDone]:
    """Train, yielding after each optimizer step; the caller may stop by not asking for the next one. Raises
    Diverged."""
    mean, total = LossMean(), engine.config.optimizer.max_train_steps
    engine.train_mode(True)
    step = epoch = 0
    while step < total:
        epoch += 1
        for index, group in enumerate(data.loader.epoch(epoch)):
            if step == total:
                break
            begun = time.perf_counter()
            rate = float(schedule.get_last_lr()[-1])
            loss = _step(engine, data, group, optimizer, step + 1)
            schedule.step()
            step += 1
            yield StepDone(
                step=step,
                total_steps=total,
                loss=loss,
                average_loss=mean.add(index, loss),
                learning_rate=rate,
                seconds=time.perf_counter() - begun,
                epoch=epoch,
            )


def _step(
    engine: Engine, data: TrainingData, group: tuple[Batch, ...], optimizer: torch.optim.Optimizer, step: int
) -> float:
    """One optimizer step on the mean loss of all pictures in the group, however they are split into
    batches."""
    pictures = sum(len(batch) for batch in group)
    loss = 0.0
    optimizer.zero_grad(set_to_none=True)
    for number, batch in enumerate(group):
        with _own_dropout(engine, step, number):
            losses = _batch_losses(engine, data, batch)
            (losses.sum() / pictures).backward()
        loss += losses.detach().sum().item() / pictures
    weights = [weight for entry in optimizer.param_groups for weight in entry["params"]]
    length = torch.nn.utils.clip_grad_norm_(weights, engine.config.optimizer.max_grad_norm or math.inf)
    if not math.isfinite(loss) or not torch.isfinite(length):
        raise Diverged(f"The training fell apart at step {step}: its loss is no longer a number.", HALVE)
    optimizer.step()
    return loss


def _batch_losses(engine: Engine, data: TrainingData, batch: Batch) -> torch.Tensor:
    settings = engine.config.dataset
    captions = [
        caption_for_use(
            sample.placed.picture.caption, settings, sample_seed(engine.config, "caption", sample)
        )
        for sample in batch
    ]
    text = engine.encode_text(captions) if data.texts is None else data.texts.batch(captions)
    return sample_losses(engine, draw(batch, data.latents, engine.config), text)


@contextlib.contextmanager
def _own_dropout(engine: Engine, step: int, batch: int) -> Iterator[None]:
    """Dropout alone draws from torch's global generator: seed it for this batch, and put it back
    afterwards."""
    if not engine.config.network.network_dropout:
        yield
        return
    with torch.random.fork_rng(devices=[0] if engine.device.kind == "cuda" else []):
        torch.manual_seed(seed_of(engine.config.optimizer.seed, "dropout", step, batch))
        yield
