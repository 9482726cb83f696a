"""The rule never takes the noise of training for a spike, and always sees a run that falls apart."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from lora_studio.training.loss import loss_spikes
from lora_studio.training.loss.loss_spikes import KNOWN, LEAST, RECENT, LossWatch

RECORDED = json.loads(Path(__file__).with_name("losses.json").read_text())
"""Losses of real trainings of the starter, with different sets, batches, rates and kinds of noise."""


def first_spike(losses: list[float]) -> int | None:
    """Its place in the list; None without one."""
    watch = LossWatch()
    return next((place for place, loss in enumerate(losses) if watch.is_spike(loss)), None)


@pytest.mark.parametrize("run", RECORDED, ids=lambda run: run["run"])
def test_real_runs_have_no_spike(run: dict) -> None:
    assert len(run["losses"]) == 200
    assert first_spike(run["losses"]) is None


@pytest.mark.parametrize("batch", [1, 2, 4])
def test_a_hundred_thousand_noisier_steps_have_no_spike(batch: int) -> None:
    """The loss of one picture as it is in large models: it falls over two decades from high to low noise
    levels, and scatters about that by half its size and more."""
    rng = random.Random(batch)

    def loss() -> float:
        level = rng.random()
        return float(0.6 * 10 ** (-2 * level) * rng.lognormvariate(0.0, 0.5))

    for _ in range(30):
        assert first_spike([sum(loss() for _ in range(batch)) / batch for _ in range(1_100)]) is None


def test_recorded_losses_in_any_order_have_no_spike() -> None:
    rng = random.Random(0)
    for run in RECORDED:
        for _ in range(20):
            assert first_spike(rng.sample(run["losses"], len(run["losses"]))) is None


@pytest.mark.parametrize("run", RECORDED, ids=lambda run: run["run"])
def test_an_explosion_is_seen_at_once(run: dict) -> None:
    losses = run["losses"][:150]
    assert first_spike([*losses, 25 * max(losses)]) == 150


@pytest.mark.parametrize("run", RECORDED, ids=lambda run: run["run"])
def test_a_loss_that_stays_high_is_seen_within_a_few_steps(run: dict) -> None:
    """Forty times as high, measured by a loss that has fallen since the start of the run."""
    seen = first_spike([*run["losses"][:150], *(40 * loss for loss in run["losses"][150:])])
    assert seen is not None
    assert 150 <= seen <= 150 + 2 * RECENT


def test_the_beginning_is_not_judged() -> None:
    assert first_spike([0.1] * (LEAST - 1) + [1000.0] * RECENT) is None
    assert first_spike([0.1] * (LEAST + RECENT) + [1000.0]) == LEAST + RECENT


def test_losses_of_zero_are_no_reason_to_go_back() -> None:
    assert first_spike([0.0] * 100 + [1e-9] * 10) is None


def test_only_the_last_losses_are_kept() -> None:
    watch = LossWatch()
    for _ in range(1_000):
        watch.is_spike(0.1)
    assert len(watch.losses) == KNOWN + RECENT
    assert loss_spikes.EXPLODED > loss_spikes.SUSTAINED > 1
