"""The bar on a terminal, and the plain lines where there is none."""

from __future__ import annotations

import io
from functools import partial

import pytest

from lora_studio.cli.console.progress_bar import Progress, draw_bar
from lora_studio.events import Denoised, Event, Finished, Noted, PhaseAdvanced, PreviewSaved, Started
from tests.support.stepping_worker import step_done


class Terminal(io.StringIO):
    """A stream that says it is a terminal, in the given encoding."""

    def __init__(self, encoding: str = "utf-8") -> None:
        super().__init__()
        self._encoding = encoding

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._encoding

    def isatty(self) -> bool:
        return True


step = partial(step_done, total=40, average=0.25, seconds=2.0)


def shown(events: list[Event], stream: io.StringIO) -> str:
    progress = Progress(stream)
    for event in events:
        progress.show(event)
    return stream.getvalue()


def test_plain_lines_come_once_a_tenth() -> None:
    text = shown([step(number) for number in range(1, 41)], io.StringIO())
    lines = text.splitlines()
    assert len(lines) == 11
    assert lines[-1] == "Training 100%  step 40/40  loss 0.2500  0 s left"
    assert "\r" not in text
    assert "\x1b" not in text


@pytest.mark.parametrize(
    ("phase", "lines"),
    [("preview", ["Previews 100%"]), ("cache", [f"Preparing pictures {share}%" for share in (0, 50, 100)])],
)
def test_a_phase_that_begins_anew_is_shown_anew(phase: str, lines: list[str]) -> None:
    once: list[Event] = [PhaseAdvanced(phase=phase, done=done, total=2) for done in (0, 1, 2)]
    assert shown([*once, *once], io.StringIO()).splitlines() == lines * 2


def test_the_bar_is_redrawn_in_one_line_and_ends_with_a_fresh_one() -> None:
    text = shown([step(1), step(40), Finished(path="x", steps=40, seconds=80.0)], Terminal())
    assert text.count("\n") == 1
    assert text.endswith("\n")
    last = text.rstrip("\n").rsplit("\x1b[2K", 1)[-1]
    assert last.startswith("Training " + "█" * 24)
    assert "100%" in last


def test_what_is_said_stays_above_the_bar() -> None:
    text = shown([step(1), Noted(message="careful", level="warning")], Terminal())
    assert "\r\x1b[2KWarning: careful\n\r\x1b[2KTraining" in text


def test_the_bar_is_cut_to_the_width_of_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    text = shown([step(1)], Terminal())
    assert max(len(part) for part in text.replace("\r", "").split("\x1b[2K")) == 29


def test_a_terminal_without_blocks_gets_signs() -> None:
    text = shown([step(20)], Terminal("ascii"))
    text.encode("ascii")
    assert "############............" in text


def test_the_time_left_follows_the_last_steps() -> None:
    assert "1 min 18 s left" in shown([step(1)], Terminal()).replace("\r", "")


def test_what_the_events_say() -> None:
    text = shown(
        [
            Started(total_steps=40, phases=("load", "train"), device="cpu", dtype="float32", images=8),
            PreviewSaved(step=10, path="p.png", base_path="b.png", prompt="a cat", seed=1),
            Denoised(image=2, images=2, step=10, total_steps=20),
        ],
        io.StringIO(),
    )
    assert text.splitlines() == [
        "Started on cpu in float32: 8 pictures, 40 steps.",
        "Preview at step 10: p.png",
        "Drawing 75%  image 2 of 2",
    ]
    together = Denoised(image=2, images=5, step=10, total_steps=20, together=4)
    assert shown([together], io.StringIO()) == "Drawing 60%  images 2 to 5 of 5\n"


@pytest.mark.parametrize(
    ("share", "bar"), [(0, "...."), (0.5, "##.."), (1, "####"), (7, "####"), (-1, "....")]
)
def test_draw_bar(share: float, bar: str) -> None:
    assert draw_bar(share, width=4, ascii_only=True) == bar
