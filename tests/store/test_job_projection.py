from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from lora_studio.events import (
    CheckpointSaved,
    Event,
    Failed,
    Finished,
    Noted,
    PhaseAdvanced,
    PreviewSaved,
    Queued,
    Started,
    Stopped,
)
from lora_studio.store.job_projection import changes
from tests.support.stepping_worker import step_done

NEW: dict[str, Any] = {
    "status": "running", "progress": 0.0, "step": 0, "total_steps": 100, "phase": "", "started_at": None,
    "train_started_at": None, "train_seconds": 0.0, "train_steps": 0, "step_seconds": None,
}  # fmt: skip


step = partial(step_done, total=100, loss=0.1, seconds=1.0)


def after(events: list[tuple[Event, float]], **first: Any) -> dict[str, Any]:
    row = {**NEW, **first}
    for event, at in events:
        row |= changes(row, event, at)
    return row


def test_each_phase_has_its_share_and_the_bar_never_falls() -> None:
    events: list[Event] = [
        Started(total_steps=100, phases=("load", "cache", "train", "save"), device="cpu", dtype="float32"),
        PhaseAdvanced(phase="download", done=50, total=100),
        PhaseAdvanced(phase="load", done=1, total=1),
        PhaseAdvanced(phase="cache", done=5, total=10),
        PhaseAdvanced(phase="cache", done=10, total=10),
        PhaseAdvanced(phase="load", done=1, total=1),  # the previews load their parts late
        step(50),
        PhaseAdvanced(phase="preview", done=1, total=3),
        PhaseAdvanced(phase="save", done=1, total=1),  # a checkpoint in the middle
        step(100),
        PhaseAdvanced(phase="save", done=0, total=1),
        PhaseAdvanced(phase="save", done=1, total=1),
        Finished(path="x", steps=100, seconds=9),
    ]
    row, seen = dict(NEW), []
    for event in events:
        row |= changes(row, event, 0.0)
        seen.append(round(row["progress"], 2))
    assert seen == [0, 0.5, 2, 3.5, 5, 5, 51, 51, 51, 97, 97, 100, 100]


def test_a_resumed_run_counts_from_its_own_start() -> None:
    started = Started(total_steps=100, phases=(), device="cpu", dtype="float32", start_step=60)
    row = after([(started, 0.0), (step(61), 1.0)])
    assert row["step"] == 61
    assert row["progress"] == pytest.approx(5 + 92 * 0.61)


def test_the_time_left_follows_the_last_steps_and_forgets_the_slow_first_one() -> None:
    slow_first = [(step(1, seconds=60.0), 60.0), *((step(n), 59.0 + n) for n in range(2, 11))]
    row = after(slow_first)
    assert row["seconds_left"] == pytest.approx(90, rel=0.02)
    slower = [*slow_first, *((step(n, seconds=3.0), 69.0 + 3 * (n - 10)) for n in range(11, 71))]
    assert after(slower)["seconds_left"] == pytest.approx(30 * 3, rel=0.1)


def test_the_time_left_counts_what_comes_between_steps() -> None:
    """Previews of 10 s after each 25 steps: two of four are still to come at step 50."""
    events = [(step(n), n + 10.0 * ((n - 1) // 25)) for n in range(1, 52)]
    assert after(events)["seconds_left"] == pytest.approx(49 + 20, rel=0.1)


def test_a_loss_that_is_no_number_is_not_shown() -> None:
    assert after([(step(1, loss=float("nan")), 1.0)])["loss"] is None


@pytest.mark.parametrize(
    ("event", "status", "message"),
    [
        (Finished(path="models/lora/cat", steps=9, seconds=1), "finished", ""),
        (Stopped(step=4, path="models/lora/cat"), "stopped", ""),
        (Failed(message="No memory.", hint="Make the batch smaller."), "failed", "No memory."),
    ],
)
def test_how_a_run_ends(event: Event, status: str, message: str) -> None:
    row = after([(Noted(message="Something."), 1.0), (step(3), 2.0), (event, 5.0)])
    assert (row["status"], row["message"], row["finished_at"], row["seconds_left"]) == (
        status, message, 5.0, None,
    )  # fmt: skip
    assert row["progress"] == (100.0 if status == "finished" else pytest.approx(5 + 92 * 0.03))


def test_a_stop_that_was_asked_for_before_the_start_stays_asked_for() -> None:
    started = Started(total_steps=100, phases=(), device="cpu", dtype="float32")
    assert after([(started, 0.0)], status="stopping")["status"] == "stopping"
    assert after([(started, 0.0)], status="queued")["status"] == "running"


def test_phases_without_steps_of_their_own_are_named() -> None:
    preview = PreviewSaved(step=5, path="a", base_path="b", prompt="", seed=1)
    assert after([(step(5), 1.0), (preview, 2.0)])["phase"] == "preview"
    assert after([(step(5), 1.0), (CheckpointSaved(step=5, path="a"), 2.0)])["phase"] == "save"
    assert changes(NEW, Queued(ahead=2), 0.0) == {}
