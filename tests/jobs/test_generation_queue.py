"""Generations at the desk: their order, what a ticket says of them, and how they end."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from lora_studio.errors import DeviceBusy, OutOfMemory, StoreError
from lora_studio.events import Denoised, Emit, ImageSaved, LivePreview, Noted, PhaseAdvanced, ShouldStop
from lora_studio.grids.grid_request import GridResult
from lora_studio.jobs.generation_queue import GenerationDesk, Made, Ticket, TicketState
from lora_studio.records import ImageRecord
from lora_studio.request import GenerateRequest
from lora_studio.studio import Studio, open_studio
from tests.waiting import PATIENCE


class Gate:
    """A generation that draws step by step as the test lets it."""

    def __init__(self, steps: int = 100) -> None:
        self.steps, self.may_go, self.begun = steps, threading.Semaphore(0), threading.Event()

    def __call__(self, emit: Emit, should_stop: ShouldStop) -> Made:
        self.begun.set()
        for step in range(1, self.steps + 1):
            while not self.may_go.acquire(timeout=0.01):
                if should_stop():
                    return Made()
            emit(Denoised(image=1, images=1, step=step, total_steps=self.steps))
            if should_stop():
                break
        return Made(images=(picture("a"),))


def picture(name: str) -> ImageRecord:
    return ImageRecord(
        id=name, path=f"/i/{name}.png", thumbnail="", prompt="", seed=1, width=8, height=8, created_at=0
    )


def at_once(emit: Emit, should_stop: ShouldStop) -> Made:
    return Made(images=(picture("b"),))


@pytest.fixture
def desk() -> Iterator[GenerationDesk]:
    opened = GenerationDesk(most_waiting=2, most_kept=3)
    yield opened
    opened.close(PATIENCE)


def states(desk: GenerationDesk) -> list[str]:
    return [str(ticket.state) for ticket in desk.tickets()]


def test_they_come_one_after_another_in_order(desk: GenerationDesk) -> None:
    first = Gate()
    a = desk.submit(first, title="a")
    assert first.begun.wait(PATIENCE)
    b, c = desk.submit(at_once, title="b"), desk.submit(at_once, title="c")
    assert (desk.ticket(a.id).ahead, b.ahead, c.ahead) == (0, 1, 2)
    assert [ticket.title for ticket in desk.tickets()] == ["c", "b", "a"]
    running = desk.running()
    assert running
    assert running.id == a.id
    first.may_go.release(100)
    assert desk.wait(c.id, PATIENCE).state is TicketState.FINISHED
    assert states(desk) == ["finished"] * 3
    assert desk.running() is None


def test_a_full_queue_says_so(desk: GenerationDesk) -> None:
    gate = Gate()
    desk.submit(gate)
    assert gate.begun.wait(PATIENCE)
    desk.submit(at_once)
    last = desk.submit(at_once)
    with pytest.raises(DeviceBusy, match="2 generations are waiting already"):
        desk.submit(at_once)
    desk.cancel(last.id)
    desk.submit(at_once)


def test_what_waits_is_stopped_at_once_and_what_runs_within_a_step(desk: GenerationDesk) -> None:
    gate = Gate()
    running = desk.submit(gate)
    waiting = desk.submit(at_once)
    assert gate.begun.wait(PATIENCE)
    assert desk.cancel(waiting.id).state is TicketState.STOPPED
    gate.may_go.release(3)
    assert desk.cancel(running.id).stop_asked
    ended = desk.wait(running.id, PATIENCE)
    assert ended.state is TicketState.STOPPED
    assert ended.step <= 4
    after = desk.submit(at_once)
    assert desk.wait(after.id, PATIENCE).state is TicketState.FINISHED  # the stop was not for this one
    assert desk.cancel(after.id).state is TicketState.FINISHED


def test_each_stops_only_its_own(desk: GenerationDesk) -> None:
    gate = Gate()
    mine, other = desk.submit(gate, session="me"), desk.submit(at_once, session="you")
    assert gate.begun.wait(PATIENCE)
    assert [ticket.id for ticket in desk.cancel_all_of("me")] == [mine.id]
    assert desk.wait(mine.id, PATIENCE).state is TicketState.STOPPED
    assert desk.wait(other.id, PATIENCE).state is TicketState.FINISHED
    assert desk.cancel_all_of("me") == []


def test_a_ticket_says_where_its_generation_is(desk: GenerationDesk) -> None:
    seen: list[Ticket] = []

    def work(emit: Emit, should_stop: ShouldStop) -> Made:
        events = [
            PhaseAdvanced(phase="download", done=300, total=1000, note="unet"),
            Denoised(image=1, images=2, step=5, total_steps=10),
            LivePreview(image=1, step=5, path="/live/x.webp"),
            ImageSaved(path="/i/one.png", seed=1, image=1, images=2),
            Noted(message="cut", level="warning"),
            Noted(message="cut", level="warning"),
            Noted(message="not so important"),
            Denoised(image=2, images=2, step=5, total_steps=10),
        ]
        for event in events:
            before = desk.revision
            emit(event)
            seen.append(desk.tickets()[0])
            assert (desk.revision > before) == (len(seen) not in {6, 7})
        cells = (picture("a"), picture("b"))
        return Made(images=cells, grid=GridResult(sheet=picture("sheet"), cells=cells, columns=2, rows=1))

    ended = desk.wait(desk.submit(work, images=2).id, PATIENCE)
    assert (seen[0].phase, seen[0].done, seen[0].total, seen[0].note) == ("download", 300, 1000, "unet")
    assert (seen[1].phase, seen[1].image, seen[1].images, seen[1].percent) == ("generate", 1, 2, 25)
    assert (seen[2].preview, seen[3].saved) == ("/live/x.webp", ("/i/one.png",))
    assert seen[7].notes == ("cut",)
    assert seen[7].percent == 75
    assert seen[7].seconds > 0
    assert (ended.percent, ended.preview, len(ended.made.images), ended.made.sheet) == (
        100,
        "",
        2,
        "/i/sheet.png",
    )


def test_a_failure_is_a_sentence_and_a_bug_a_number(
    desk: GenerationDesk, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(emit: Emit, should_stop: ShouldStop) -> Made:
        raise OutOfMemory("The memory was not enough.", "Take a smaller size.")

    def breaks(emit: Emit, should_stop: ShouldStop) -> Made:
        raise ZeroDivisionError("the secret path")

    failed = desk.wait(desk.submit(fails).id, PATIENCE)
    assert (failed.state, failed.message, failed.hint) == (
        "failed",
        "The memory was not enough.",
        "Take a smaller size.",
    )
    broken = desk.wait(desk.submit(breaks).id, PATIENCE)
    assert "secret" not in broken.message + broken.hint
    number = broken.hint.rstrip(".").split()[-1]
    assert any(number in record.message and record.exc_info for record in caplog.records)
    assert desk.wait(desk.submit(at_once).id, PATIENCE).state is TicketState.FINISHED


def test_old_tickets_are_forgotten_and_active_ones_are_not(desk: GenerationDesk) -> None:
    first = desk.submit(at_once)
    desk.wait(first.id, PATIENCE)
    for _ in range(5):
        desk.wait(desk.submit(at_once).id, PATIENCE)
    with pytest.raises(StoreError, match="no generation"):
        desk.ticket(first.id)
    assert len(desk.tickets()) == 4
    for wrong in ("", "../../etc"):
        with pytest.raises(StoreError):
            desk.cancel(wrong)


def test_closing_stops_what_runs_and_takes_no_more() -> None:
    desk = GenerationDesk()
    gate = Gate()
    running, waiting = desk.submit(gate), desk.submit(at_once)
    assert gate.begun.wait(PATIENCE)
    desk.close(PATIENCE)
    assert (desk.ticket(running.id).state, desk.ticket(waiting.id).state) == ("stopped", "stopped")
    with pytest.raises(DeviceBusy, match="closing"):
        desk.submit(at_once)


@pytest.fixture
def studio() -> Iterator[Studio]:
    opened = open_studio(start_worker=False)
    yield opened
    opened.close()


def test_the_studio_draws_at_its_desk_and_keeps_the_pictures(studio: Studio) -> None:
    request = GenerateRequest(prompt="a dog", seed=3, count=2, num_inference_steps=2)
    ended = studio.desk.wait(studio.submit(request).id, 120)
    assert ended.message == ""
    assert [image.seed for image in ended.made.images] == [3, 4]
    assert all(Path(image.path).is_file() for image in ended.made.images)
    assert [image.id for image in studio.gallery.images()] != []
    assert (ended.image, ended.images, ended.step, ended.total_steps) == (2, 2, 2, 2)
    assert ended.saved == tuple(image.path for image in ended.made.images)


def test_what_can_not_be_drawn_fails_with_its_sentence(studio: Studio) -> None:
    request = GenerateRequest(prompt="a dog", sampler="Magic")
    ended = studio.desk.wait(studio.submit(request).id, 120)
    assert ended.state is TicketState.FAILED
    assert "no sampler called 'Magic'" in ended.message
