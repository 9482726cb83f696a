"""The queue of generations, in a thread of its own. A client gets a job at once, and may look away."""

from __future__ import annotations

import secrets
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any

from lora_studio.access.quotas import Use
from lora_studio.access.visitor import Visitor, on_behalf, visitor
from lora_studio.errors import DeviceBusy, StoreError, StudioError
from lora_studio.events import (
    Denoised,
    Emit,
    Event,
    ImageSaved,
    LivePreview,
    Noted,
    PhaseAdvanced,
    ShouldStop,
    Started,
)
from lora_studio.grids.grid_request import GridResult
from lora_studio.jobs.failure import bug_of
from lora_studio.records import ImageRecord

MOST_WAITING = 20
MOST_KEPT = 40
"""Ended generations that are remembered; the pictures of forgotten ones stay."""
MOST_NOTES = 20


class GenerationState(StrEnum):
    """waiting -> running -> finished | stopped | failed, or waiting -> stopped."""

    WAITING = "waiting"
    RUNNING = "running"
    FINISHED = "finished"
    STOPPED = "stopped"
    FAILED = "failed"

    @property
    def active(self) -> bool:
        return self in {GenerationState.WAITING, GenerationState.RUNNING}


@dataclass(frozen=True, kw_only=True)
class GenerationResult:
    """The pictures of a generation, the base's own beside them if asked for, and places in a grid."""

    images: tuple[ImageRecord, ...] = ()
    beside: tuple[ImageRecord, ...] = ()
    grid: GridResult | None = None

    @property
    def sheet(self) -> str:
        """The file of a grid's labelled sheet; empty without one."""
        return self.grid.sheet.path if self.grid and self.grid.sheet else ""


Work = Callable[[Emit, ShouldStop], GenerationResult]


@dataclass(frozen=True, kw_only=True)
class GenerationJob:
    """One generation at one moment. `ahead` counts those that come before it; `image` of `images`, the first
    of `together` in work at once, and `step` of `total_steps` are its progress; `phase`, `done`, `total` and
    `note` are those of the last PhaseAdvanced; `preview` is a small file of the picture in work, the
    `previews`th; `saved` are the files written so far, `made` is the result in the end. `seconds` is the time
    it has run; `session` is the client's name for itself, `owner` the visitor who asked, `report_of` the slug
    of the LoRA whose strength report it draws."""

    id: str
    title: str = ""
    session: str = ""
    owner: str = ""
    report_of: str = ""
    state: GenerationState = GenerationState.WAITING
    stop_asked: bool = False
    ahead: int = 0
    created_at: float = 0.0
    seconds: float = 0.0
    phase: str = ""
    done: int = 0
    total: int = 0
    note: str = ""
    image: int = 0
    images: int = 1
    step: int = 0
    total_steps: int = 0
    together: int = 1
    preview: str = ""
    previews: int = 0
    saved: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    made: GenerationResult = field(default_factory=GenerationResult)
    message: str = ""
    hint: str = ""

    @property
    def last(self) -> int:
        """The number of the last picture in work."""
        return self.image + self.together - 1

    @property
    def percent(self) -> int:
        """Whole percent of all denoising steps; 100 only once it has finished."""
        if self.state is GenerationState.FINISHED:
            return 100
        whole = self.images * self.total_steps
        steps = max(0, self.image - 1) * self.total_steps + self.step * self.together
        return min(99, 100 * steps // whole) if whole else 0


class GenerationQueue:
    """The queue of this process. `revision` changes with anything about a generation, `drawn` counts
    pictures. The thread starts with the first generation."""

    def __init__(self, *, most_waiting: int = MOST_WAITING, most_kept: int = MOST_KEPT) -> None:
        self._most_waiting, self._most_kept = most_waiting, most_kept
        self._changed = threading.Condition()
        self._tickets: dict[str, GenerationJob] = {}
        self._work: dict[str, Work] = {}
        self._askers: dict[str, Visitor] = {}
        self._waiting: deque[str] = deque()
        self._current, self._started, self._stop = "", 0.0, threading.Event()
        self._thread: threading.Thread | None = None
        self._closing = False
        self.revision = self.drawn = 0

    def submit(
        self, work: Work, *, title: str = "", images: int = 1, session: str = "", report_of: str = ""
    ) -> GenerationJob:
        """Queue a generation. Raises DeviceBusy when too many wait, QuotaReached."""
        asker = visitor()
        asker.within(Use.DISK)
        with self._changed:
            if self._closing:
                raise DeviceBusy("The studio is closing.", "Start it again.")
            if len(self._waiting) >= self._most_waiting:
                raise DeviceBusy(
                    f"{len(self._waiting)} generations are waiting already.",
                    "Wait until some are done, or stop them.",
                )
            pending = [one for one in self._tickets.values() if one.state.active and one.owner == asker.name]
            asker.within(Use.GENERATIONS, pending=len(pending))
            asker.within(Use.IMAGES, images, pending=sum(one.images for one in pending))
            ticket = GenerationJob(
                id=secrets.token_hex(6),
                title=title,
                images=images,
                session=session,
                owner=asker.name,
                report_of=report_of,
                created_at=time.time(),
            )
            self._tickets[ticket.id], self._work[ticket.id] = ticket, on_behalf(work)
            self._askers[ticket.id] = asker
            self._waiting.append(ticket.id)
            self._forget_old()
            self._start()
            self._tell()
            return self._seen(ticket)

    def count_of(self, name: str) -> int:
        """The generations of a person that wait or run."""
        with self._changed:
            return sum(one.state.active and one.owner == name for one in self._tickets.values())

    def ticket(self, ticket_id: str) -> GenerationJob:
        """The generation of an id. Raises StoreError."""
        with self._changed:
            return self._seen(self._own(ticket_id))

    def tickets(self) -> list[GenerationJob]:
        """The remembered generations, newest first."""
        with self._changed:
            return [self._seen(one) for one in reversed(self._tickets.values()) if _owns(visitor(), one)]

    def running(self) -> GenerationJob | None:
        with self._changed:
            current = self._tickets.get(self._current)
            return self._seen(current) if current and _owns(visitor(), current) else None

    def cancel(self, ticket_id: str) -> GenerationJob:
        """Stop a generation: at once while it waits, else within a denoising step, keeping the pictures done
        so far. An ended one stays as it is. Raises StoreError."""
        with self._changed:
            ticket = self._own(ticket_id)
            if ticket.state is GenerationState.WAITING:
                self._waiting.remove(ticket_id)
                self._end(ticket_id, state=GenerationState.STOPPED, stop_asked=True)
            elif ticket.state is GenerationState.RUNNING:
                self._stop.set()
                self._change(ticket_id, stop_asked=True)
            return self._seen(self._tickets[ticket_id])

    def cancel_all_of(self, session: str) -> list[GenerationJob]:
        """Stop the generations of one session that have not ended."""
        with self._changed:
            asked = [one for one in self._tickets.values() if one.session == session and one.state.active]
            ids = [one.id for one in asked if _owns(visitor(), one)]
        return [self.cancel(ticket_id) for ticket_id in ids]

    def wait(self, ticket_id: str, timeout: float | None = None) -> GenerationJob:
        """The generation once it has ended, or as it is after `timeout` seconds. Raises StoreError."""
        with self._changed:
            self._own(ticket_id)
            self._changed.wait_for(lambda: not self._known(ticket_id).state.active, timeout)
            return self._seen(self._known(ticket_id))

    @property
    def is_closing(self) -> bool:
        """Whether the studio is about to end, so that a generation stops that nobody has stopped."""
        return self._closing

    def close(self, timeout: float | None = 30.0) -> None:
        """Stop all generations and end the thread."""
        with self._changed:
            self._closing = True
            active = [one.id for one in self._tickets.values() if one.state.active]
            self._changed.notify_all()
        for ticket_id in active:
            self.cancel(ticket_id)
        if self._thread is not None:
            self._thread.join(timeout)

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._serve, name="generation-queue", daemon=True)
            self._thread.start()

    def _serve(self) -> None:
        while (ticket_id := self._next()) is not None:
            self._run(ticket_id, self._work[ticket_id])

    def _next(self) -> str | None:
        """Wait for the next generation and take it; None when the queue closes."""
        with self._changed:
            self._changed.wait_for(lambda: self._closing or self._waiting)
            if not self._waiting:
                return None
            self._current = self._waiting.popleft()
            self._started = time.monotonic()
            self._stop.clear()
            self._change(self._current, state=GenerationState.RUNNING)
            return self._current

    def _run(self, ticket_id: str, work: Work) -> None:
        try:
            made = work(lambda event: self._hear(ticket_id, event), self._stop.is_set)
            ended: dict[str, Any] = {"made": made, "state": GenerationState.FINISHED}
            if self._stop.is_set():
                ended["state"] = GenerationState.STOPPED
        except StudioError as error:
            ended = {"state": GenerationState.FAILED, "message": error.message, "hint": error.hint}
        except Exception as error:  # the worker: the next one in the queue must not suffer
            bug = bug_of(error, "a generation")
            ended = {"state": GenerationState.FAILED, "message": bug.message, "hint": bug.hint}
        with self._changed:
            seconds = time.monotonic() - self._started
            self._current = ""
            self._end(ticket_id, seconds=seconds, **ended)

    def _hear(self, ticket_id: str, event: Event) -> None:
        self.drawn += isinstance(event, ImageSaved)
        news = _news(self._tickets[ticket_id], event)
        if news:
            with self._changed:
                self._change(ticket_id, **news)

    def _end(self, ticket_id: str, **facts: Any) -> None:
        del self._work[ticket_id]
        self._askers.pop(ticket_id).spends(Use.IMAGES, len(self._tickets[ticket_id].saved))
        self._change(ticket_id, preview="", **facts)

    def _change(self, ticket_id: str, **facts: Any) -> None:
        self._tickets[ticket_id] = replace(self._tickets[ticket_id], **facts)
        self._tell()

    def _tell(self) -> None:
        self.revision += 1
        self._changed.notify_all()

    def _own(self, ticket_id: str) -> GenerationJob:
        """The generation of an id, if it is the visitor's."""
        ticket = self._known(ticket_id)
        if not _owns(visitor(), ticket):
            raise _no_such_generation(ticket_id)
        return ticket

    def _known(self, ticket_id: str) -> GenerationJob:
        if ticket_id not in self._tickets:
            raise _no_such_generation(ticket_id)
        return self._tickets[ticket_id]

    def _seen(self, ticket: GenerationJob) -> GenerationJob:
        """A generation with its present place in the queue and its present seconds."""
        if ticket.state is GenerationState.WAITING:
            return replace(ticket, ahead=self._waiting.index(ticket.id) + bool(self._current))
        if ticket.state is GenerationState.RUNNING:
            return replace(ticket, seconds=time.monotonic() - self._started)
        return ticket

    def _forget_old(self) -> None:
        ended = [ticket.id for ticket in self._tickets.values() if not ticket.state.active]
        for ticket_id in ended[: max(0, len(ended) - self._most_kept)]:
            del self._tickets[ticket_id]


def _owns(present: Visitor, ticket: GenerationJob) -> bool:
    return present.sees_all or (present.role is not None and present.name == ticket.owner != "")


def _no_such_generation(ticket_id: str) -> StoreError:
    return StoreError(
        f"There is no generation {ticket_id[:64]!r}.", "Its pictures, if it made any, are in the gallery."
    )


def _news(ticket: GenerationJob, event: Event) -> dict[str, Any]:
    """The fields of a generation that an event changes."""
    match event:
        case Started():
            return {"images": max(ticket.images, event.images)}
        case PhaseAdvanced():
            return {"phase": event.phase, "done": event.done, "total": event.total, "note": event.note}
        case Denoised():
            return {**asdict(event), "phase": "generate"}
        case LivePreview():
            return {"preview": event.path, "previews": ticket.previews + 1}
        case ImageSaved():
            return {"saved": (*ticket.saved, event.path), "preview": ""}
        case Noted() if event.level == "warning" and event.message not in ticket.notes:
            return {"notes": (*ticket.notes, event.message)[:MOST_NOTES]}
    return {}
