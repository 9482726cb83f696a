"""What the page says of a generation, from its ticket alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import gradio as gr
import pytest

from lora_studio.errors import OutOfMemory
from lora_studio.events import Denoised, Emit, ShouldStop
from lora_studio.jobs.generation_queue import GenerationJob, GenerationResult, GenerationState
from lora_studio.records import ImageRecord
from lora_studio.studio import Studio
from lora_studio.ui.generate import generation_progress
from lora_studio.ui.page_revision import QUICK_SECONDS, SECONDS, Revisions
from lora_studio.ui.refresh import PageRefresh
from tests.support.html import parse
from tests.support.waiting import PATIENCE

WAITING = GenerationJob(id="a", title="a <dog>", ahead=2)
RUNNING = GenerationJob(
    id="b",
    title="a cat",
    state=GenerationState.RUNNING,
    image=2,
    images=4,
    step=5,
    total_steps=10,
    phase="generate",
)
IMAGE = ImageRecord(
    id="i", path="/i/a.png", thumbnail="", prompt="p", seed=7, width=8, height=8, created_at=0
)
DONE = GenerationJob(
    id="c", state=GenerationState.FINISHED, seconds=3.2, made=GenerationResult(images=(IMAGE,))
)


@pytest.mark.parametrize(
    ("ticket", "said"),
    [
        (WAITING, "Waiting: 2 generations come first."),
        (replace(WAITING, ahead=1), "Waiting: one generation comes first."),
        (replace(WAITING, ahead=0), "Its turn comes now."),
        (RUNNING, "Picture 2 of 4, step 5 of 10"),
        (replace(RUNNING, together=3), "Pictures 2 to 4 of 4, step 5 of 10"),
        (replace(RUNNING, image=1, images=1), "Drawing, step 5 of 10"),
        (replace(RUNNING, stop_asked=True), "Stopping after this step."),
        (replace(RUNNING, image=0, phase=""), "Waiting for a step of the training to end."),
        (
            replace(RUNNING, image=0, phase="download", done=1_500_000_000, total=2_740_000_000, note="unet"),
            "Downloading the base: 1.5 GB of 2.7 GB · unet",
        ),
        (replace(RUNNING, image=0, phase="load", done=0, total=1), "Loading the base."),
    ],
)
def test_each_moment_has_its_sentence(ticket: GenerationJob, said: str) -> None:
    assert generation_progress.sentence(ticket, "training") == said


def test_the_bar_has_its_numbers_and_the_picture_so_far() -> None:
    card = parse(
        generation_progress.progress(replace(RUNNING, preview="/live/x.webp", previews=3), [WAITING])
    )
    (bar,) = [part for part in card.iter("div") if part.get("role") == "progressbar"]
    assert (bar.get("aria-valuenow"), bar.get("aria-valuemax")) == ("37", "100")
    (picture,) = card.iter("img")
    assert picture.get("src") == "gradio_api/file=/live/x.webp?3"
    assert [button.get("data-action") for button in card.iter("button")] == ["show", "stop"]
    loading = replace(RUNNING, image=0, phase="download", done=50, total=200)
    assert 'aria-valuenow="25"' in generation_progress.progress(loading, [])


def test_little_is_spoken() -> None:
    def spoken(total: int, images: int) -> set[str]:
        moments = [
            replace(RUNNING, image=1, images=images, step=step, total_steps=total) for step in range(total)
        ]
        return {generation_progress.speech(moment) for moment in moments}

    assert len(spoken(100, 1)) == 4
    assert len(spoken(100, 3)) == 1
    together = generation_progress.speech(replace(RUNNING, together=3))
    assert "Drawing pictures 2 to 4 of 4." in together
    assert "1 picture." in generation_progress.speech(DONE)
    assert generation_progress.speech(None) == ""


def test_the_end_is_pictures_or_the_reason_why_there_are_none() -> None:
    assert "Done in 3.2 s." in generation_progress.results(DONE)
    assert "Stopped before the first picture" in generation_progress.results(
        replace(DONE, state=GenerationState.STOPPED, made=GenerationResult())
    )
    failed = replace(
        DONE, state=GenerationState.FAILED, message="Too <big>.", hint="Smaller.", notes=("cut",)
    )
    shown = parse(generation_progress.results(failed))
    assert shown[0].get("role") == "alert"
    assert [part.text for part in shown[0]] == ["Too <big>.", "Smaller.", "cut"]
    assert generation_progress.results(RUNNING) == ""
    assert generation_progress.results(replace(RUNNING, saved=("/i/1.png",))).count("<img") == 1
    both = generation_progress.results(
        replace(DONE, made=GenerationResult(images=(IMAGE, IMAGE), beside=(IMAGE,)))
    )
    assert both.count("slider") == 1


class Gate:
    def __init__(self) -> None:
        self.step, self.go = threading.Event(), threading.Event()

    def __call__(self, emit: Emit, should_stop: ShouldStop) -> GenerationResult:
        emit(Denoised(image=1, images=1, step=1, total_steps=2))
        self.step.set()
        while not (self.go.wait(0.01) or should_stop()):
            pass
        return GenerationResult()


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.go.set()


def look(live: PageRefresh, seen: Any, ticket: str = "") -> tuple[Any, dict[Any, Any]]:
    shelves = ("", "", "", "1", "newest", "", "", "1", "")
    painted = {part: gr.skip() for part in live.outputs} | live.look(seen, "", "", "", "", ticket, *shelves)
    return painted.pop(live.seen), painted


def test_any_page_sees_the_generation_that_runs(live: PageRefresh, studio: Studio, gate: Gate) -> None:
    """One that was just opened has no ticket; one that asked for another sees its own."""
    running = studio.generation_queue.submit(gate, title="a dog")
    assert gate.step.wait(PATIENCE)
    waiting = studio.generation_queue.submit(lambda emit, should_stop: GenerationResult(), title="mine")
    seen, painted = look(live, None)
    assert "a dog" in painted[live.generate.progress]
    assert painted[live.generate.stop]["visible"] is True
    assert Revisions(studio).now()["seconds"] == QUICK_SECONDS
    _, own = look(live, None, waiting.id)
    assert f'data-ticket="{waiting.id}"' in own[live.generate.progress]
    assert "one generation comes first" in own[live.generate.progress]
    _, again = look(live, seen)
    assert set(map(str, again.values())) == {str(gr.skip())}
    gate.go.set()
    studio.generation_queue.wait(waiting.id, PATIENCE)
    seen, painted = look(live, seen, running.id)
    assert painted[live.generate.progress] == ""
    assert painted[live.generate.stop]["visible"] == generation_progress.HIDDEN
    assert Revisions(studio).now()["seconds"] == SECONDS


def test_results_are_sent_once(live: PageRefresh, studio: Studio) -> None:
    def fails(emit: Emit, should_stop: ShouldStop) -> GenerationResult:
        raise OutOfMemory("The memory was not enough.")

    ended = studio.generation_queue.wait(studio.generation_queue.submit(fails).id, PATIENCE)
    seen, painted = look(live, None, ended.id)
    assert "The memory was not enough." in painted[live.generate.results]
    studio.generation_queue.wait(
        studio.generation_queue.submit(lambda emit, should_stop: GenerationResult()).id, PATIENCE
    )
    _, painted = look(live, seen, ended.id)
    assert painted[live.generate.results] == gr.skip()
