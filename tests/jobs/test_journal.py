from __future__ import annotations

import json
import typing
from pathlib import Path

from lora_studio.events import (
    Event,
    Failed,
    Noted,
    PhaseAdvanced,
    PreviewSaved,
    Queued,
    Started,
    StepDone,
    Stopped,
)
from lora_studio.jobs.journal import Journal, describe


def test_events_are_appended_to_both_files(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "jobs" / "abc")
    assert journal.tail(5) == ""
    journal.add(Noted(message="größer\nals gedacht", level="warning"), 1.5e9)
    journal.add(PhaseAdvanced(phase="load", done=0, total=1), 1.5e9)
    journal.tell("Traceback:\n  line", 1.5e9)
    lines = (tmp_path / "jobs" / "abc" / "events.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line)["kind"] for line in lines] == ["Noted", "PhaseAdvanced"]
    assert json.loads(lines[0])["at"] == 1.5e9
    assert journal.tail(4).splitlines()[0].endswith("Warning: größer")
    assert journal.tail(1) == "  line"


def test_the_tail_of_a_long_log_is_its_end(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    (tmp_path / "log.txt").write_text("".join(f"line {number} {'x' * 50}\n" for number in range(50_000)))
    tail = journal.tail(3).splitlines()
    assert [line.split()[1] for line in tail] == ["49997", "49998", "49999"]


def test_the_log_is_short_however_many_steps_there_are() -> None:
    def lines(total: int) -> int:
        steps = (
            StepDone(step=number, total_steps=total, loss=1, average_loss=1, learning_rate=1, seconds=1)
            for number in range(1, total + 1)
        )
        return sum(bool(describe(step)) for step in steps)

    assert lines(10) == 10
    assert 50 <= lines(1999) <= 53
    assert 50 <= lines(100_000) <= 51


def test_what_people_read() -> None:
    said = [
        describe(event)
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
        "cache: done (3 pictures)",
        "Preview at step 5: a.png",
        "Stopped at step 5.",
        "Failed: No memory. Use less.",
    ]


def test_every_event_of_a_training_has_a_line() -> None:
    from lora_studio.events import EVENT_CLASSES, CheckpointSaved, Finished

    assert set(typing.get_args(Event)) == set(EVENT_CLASSES.values())
    assert describe(CheckpointSaved(step=1, path="x/a.safetensors")) == "Saved at step 1: a.safetensors"
    assert (
        describe(Finished(path="models/lora/a", steps=3, seconds=2.4))
        == "Finished after 3 steps in 2 s: models/lora/a"
    )
