"""What people read of a run, the same wherever they read it."""

from __future__ import annotations

import typing

from lora_studio.event_text import event_text
from lora_studio.events import (
    EVENT_CLASSES,
    CheckpointSaved,
    Event,
    Failed,
    Finished,
    PhaseAdvanced,
    PreviewSaved,
    Queued,
    Started,
    StepDone,
    Stopped,
)


def test_the_log_is_short_however_many_steps_there_are() -> None:
    def lines(total: int) -> int:
        steps = (
            StepDone(step=number, total_steps=total, loss=1, average_loss=1, learning_rate=1, seconds=1)
            for number in range(1, total + 1)
        )
        return sum(bool(event_text(step)) for step in steps)

    assert lines(10) == 10
    assert 50 <= lines(1999) <= 53
    assert 50 <= lines(100_000) <= 51


def test_what_people_read() -> None:
    said = [
        event_text(event)
        for event in (
            Queued(ahead=2),
            Started(total_steps=9, phases=(), device="CPU", dtype="float32", images=3, start_step=4),
            PhaseAdvanced(phase="cache", done=1, total=3),
            PhaseAdvanced(phase="cache", done=3, total=3, note="3 pictures"),
            PreviewSaved(step=5, path="/long/way/a.png", base_path="b.png", prompt="", seed=1),
            Stopped(step=5),
            Failed(message="No memory.", hint="Use less."),
        )
    ]
    assert said == [
        "Waiting, 2 ahead.",
        "Started on CPU in float32: 3 pictures, 9 steps, from step 4.",
        "",
        "Preparing pictures: done (3 pictures)",
        "Preview at step 5: a.png",
        "Stopped at step 5.",
        "Failed: No memory. Use less.",
    ]


def test_every_event_of_a_training_has_a_line() -> None:
    assert set(typing.get_args(Event)) == set(EVENT_CLASSES.values())
    saved = CheckpointSaved(step=1, path="x/a.safetensors")
    assert event_text(saved) == "Saved at step 1: a.safetensors"
    assert event_text(saved, paths=True) == "Saved at step 1: x/a.safetensors"
    assert (
        event_text(Finished(path="models/lora/a", steps=3, seconds=2.4))
        == "Finished after 3 steps in 2 s: models/lora/a"
    )
