"""Generations in their queue: their order, what a ticket says of them, and how they end."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from lora_studio.errors import DeviceBusy, OutOfMemory, StoreError
from lora_studio.events import Denoised, Emit, ImageSaved, LivePreview, Noted, PhaseAdvanced, ShouldStop
from lora_studio.grids.grid_request import GridResult
from lora_studio.jobs.generation_queue import (
    GenerationJob,
    GenerationQueue,
    GenerationResult,
    GenerationState,
)
from lora_studio.records import ImageRecord
from lora_studio.request import GenerateRequest
from lora_studio.studio import Studio
from tests.support.waiting import PATIENCE


class Gate:
    """A generation that draws step by step as the test lets it."""

    def __init__(self, steps: int = 100) -> None:
        self.steps, self.may_go, self.begun = steps, threading.Semaphore(0), threading.Event()

    def __call__(self, emit: Emit, should_stop: ShouldStop) -> GenerationResult:
        self.begun.set()
        for step in range(1, self.steps + 1):
            while not self.may_go.acquire(timeout=0.01):
                if should_stop():
                    return GenerationResult()
            emit(Denoised(image=1, images=1, step=step, total_steps=self.steps))
            if should_stop():
                break
        return GenerationResult(images=(picture("a"),))


def picture(name: str) -> ImageRecord:
    return ImageRecord(
        id=name, path=f"/i/{name}.png", thumbnail="", prompt="", seed=1, width=8, height=8, created_at=0
    )


def at_once(emit: Emit, should_stop: ShouldStop) -> GenerationResult:
    return GenerationResult(images=(picture("b"),))


@pytest.fixture
def generation_queue() -> Iterator[GenerationQueue]:
    opened = GenerationQueue(most_waiting=2, most_kept=3)
    yield opened
    opened.close(PATIENCE)


def states(generation_queue: GenerationQueue) -> list[str]:
    return [str(ticket.state) for ticket in generation_queue.tickets()]


def test_they_come_one_after_another_in_order(generation_queue: GenerationQueue) -> None:
    first = Gate()
    a = generation_queue.submit(first, title="a")
    assert first.begun.wait(PATIENCE)
    b, c = generation_queue.submit(at_once, title="b"), generation_queue.submit(at_once, title="c")
    assert (generation_queue.ticket(a.id).ahead, b.ahead, c.ahead) == (0, 1, 2)
    assert [ticket.title for ticket in generation_queue.tickets()] == ["c", "b", "a"]
    running = generation_queue.running()
    assert running
    assert running.id == a.id
    first.may_go.release(100)
    assert generation_queue.wait(c.id, PATIENCE).state is GenerationState.FINISHED
    assert states(generation_queue) == ["finished"] * 3
    assert generation_queue.running() is None


def test_a_full_queue_says_so(generation_queue: GenerationQueue) -> None:
    gate = Gate()
    generation_queue.submit(gate)
    assert gate.begun.wait(PATIENCE)
    generation_queue.submit(at_once)
    last = generation_queue.submit(at_once)
    with pytest.raises(DeviceBusy, match="2 generations are waiting already"):
        generation_queue.submit(at_once)
    generation_queue.cancel(last.id)
    generation_queue.submit(at_once)


def test_what_waits_is_stopped_at_once_and_what_runs_within_a_step(generation_queue: GenerationQueue) -> None:
    gate = Gate()
    running = generation_queue.submit(gate)
    waiting = generation_queue.submit(at_once)
    assert gate.begun.wait(PATIENCE)
    assert generation_queue.cancel(waiting.id).state is GenerationState.STOPPED
    gate.may_go.release(3)
    assert generation_queue.cancel(running.id).stop_asked
    ended = generation_queue.wait(running.id, PATIENCE)
    assert ended.state is GenerationState.STOPPED
    assert ended.step <= 4
    after = generation_queue.submit(at_once)
    assert (
        generation_queue.wait(after.id, PATIENCE).state is GenerationState.FINISHED
    )  # the stop was not for this one
    assert generation_queue.cancel(after.id).state is GenerationState.FINISHED


def test_each_stops_only_its_own(generation_queue: GenerationQueue) -> None:
    gate = Gate()
    mine, other = generation_queue.submit(gate, session="me"), generation_queue.submit(at_once, session="you")
    assert gate.begun.wait(PATIENCE)
    assert [ticket.id for ticket in generation_queue.cancel_all_of("me")] == [mine.id]
    assert generation_queue.wait(mine.id, PATIENCE).state is GenerationState.STOPPED
    assert generation_queue.wait(other.id, PATIENCE).state is GenerationState.FINISHED
    assert generation_queue.cancel_all_of("me") == []


def test_a_ticket_says_where_its_generation_is(generation_queue: GenerationQueue) -> None:
    seen: list[GenerationJob] = []

    def work(emit: Emit, should_stop: ShouldStop) -> GenerationResult:
        events = [
            PhaseAdvanced(phase="download", done=300, total=1000, note="unet"),
            Denoised(image=1, images=2, step=5, total_steps=10),
            LivePreview(image=1, step=5, path="/live/x.webp"),
            ImageSaved(path="/i/one.png", seed=1, image=1, images=2),
            Noted(message="cut", level="warning"),
            Noted(message="cut", level="warning"),
            Noted(message="not so important"),
            Denoised(image=2, images=2, step=5, total_steps=10),
            Denoised(image=1, images=2, step=9, total_steps=10, together=2),
            Denoised(image=1, images=2, step=9, total_steps=10),
        ]
        for event in events:
            before = generation_queue.revision
            emit(event)
            seen.append(generation_queue.tickets()[0])
            assert (generation_queue.revision > before) == (len(seen) not in {6, 7})
        cells = (picture("a"), picture("b"))
        return GenerationResult(
            images=cells, grid=GridResult(sheet=picture("sheet"), cells=cells, columns=2, rows=1)
        )

    ended = generation_queue.wait(generation_queue.submit(work, images=2).id, PATIENCE)
    assert (seen[0].phase, seen[0].done, seen[0].total, seen[0].note) == ("download", 300, 1000, "unet")
    assert (seen[1].phase, seen[1].image, seen[1].images, seen[1].percent) == ("generate", 1, 2, 25)
    assert (seen[2].preview, seen[3].saved) == ("/live/x.webp", ("/i/one.png",))
    assert seen[7].notes == ("cut",)
    assert seen[7].percent == 75
    assert [(one.image, one.together, one.percent) for one in seen[8:10]] == [(1, 2, 90), (1, 1, 45)]
    assert seen[7].seconds > 0
    assert (ended.percent, ended.preview, len(ended.made.images), ended.made.sheet) == (
        100,
        "",
        2,
        "/i/sheet.png",
    )


def test_a_failure_is_a_sentence_and_a_bug_a_number(
    generation_queue: GenerationQueue, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(emit: Emit, should_stop: ShouldStop) -> GenerationResult:
        raise OutOfMemory("The memory was not enough.", "Take a smaller size.")

    def breaks(emit: Emit, should_stop: ShouldStop) -> GenerationResult:
        raise ZeroDivisionError("the secret path")

    failed = generation_queue.wait(generation_queue.submit(fails).id, PATIENCE)
    assert (failed.state, failed.message, failed.hint) == (
        "failed",
        "The memory was not enough.",
        "Take a smaller size.",
    )
    broken = generation_queue.wait(generation_queue.submit(breaks).id, PATIENCE)
    assert "secret" not in broken.message + broken.hint
    number = broken.hint.rstrip(".").split()[-1]
    assert any(number in record.message and record.exc_info for record in caplog.records)
    assert (
        generation_queue.wait(generation_queue.submit(at_once).id, PATIENCE).state is GenerationState.FINISHED
    )


def test_old_tickets_are_forgotten_and_active_ones_are_not(generation_queue: GenerationQueue) -> None:
    first = generation_queue.submit(at_once)
    generation_queue.wait(first.id, PATIENCE)
    for _ in range(5):
        generation_queue.wait(generation_queue.submit(at_once).id, PATIENCE)
    with pytest.raises(StoreError, match="no generation"):
        generation_queue.ticket(first.id)
    assert len(generation_queue.tickets()) == 4
    for wrong in ("", "../../etc"):
        with pytest.raises(StoreError):
            generation_queue.cancel(wrong)


def test_closing_stops_what_runs_and_takes_no_more() -> None:
    generation_queue = GenerationQueue()
    gate = Gate()
    running, waiting = generation_queue.submit(gate), generation_queue.submit(at_once)
    assert gate.begun.wait(PATIENCE)
    generation_queue.close(PATIENCE)
    assert (generation_queue.ticket(running.id).state, generation_queue.ticket(waiting.id).state) == (
        "stopped",
        "stopped",
    )
    with pytest.raises(DeviceBusy, match="closing"):
        generation_queue.submit(at_once)


def test_the_studio_draws_at_its_desk_and_keeps_the_pictures(studio: Studio) -> None:
    request = GenerateRequest(prompt="a dog", seed=3, count=2, num_inference_steps=2)
    ended = studio.generation_queue.wait(studio.submit(request).id, 120)
    assert ended.message == ""
    assert [image.seed for image in ended.made.images] == [3, 4]
    assert all(Path(image.path).is_file() for image in ended.made.images)
    assert [image.id for image in studio.gallery.images()] != []
    assert (ended.image, ended.images, ended.step, ended.total_steps) == (2, 2, 2, 2)
    assert ended.saved == tuple(image.path for image in ended.made.images)


def test_what_can_not_be_drawn_fails_with_its_sentence(studio: Studio) -> None:
    request = GenerateRequest(prompt="a dog", sampler="Magic")
    ended = studio.generation_queue.wait(studio.submit(request).id, 120)
    assert ended.state is GenerationState.FAILED
    assert "no sampler called 'Magic'" in ended.message
