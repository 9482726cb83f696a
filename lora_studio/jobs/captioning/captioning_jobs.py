"""Captionings of sets of pictures that go on by themselves, for page and API.

A captioning takes the device for one batch of pictures at a time, so a training goes on between them, and a
generation waits no longer than that. What is written is an edit of the set: stopped, it stays. The store
keeps how far each one is; one whose process ended is interrupted, and goes on with the rest when it is asked
to.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from lora_studio.access.visitor import Kind, on_behalf, visitor
from lora_studio.data.captioning.engine_captions import BY_ENGINE, by_engine, by_person, write_captions
from lora_studio.data.edits.picture_edits import SetCaption
from lora_studio.dataset import Datasets
from lora_studio.errors import DatasetError, DeviceBusy, StoreError, StudioError
from lora_studio.events import Event, PhaseAdvanced, ShouldStop
from lora_studio.jobs.captioning.captioning_cost import CaptioningCost, cost_of
from lora_studio.jobs.captioning.captioning_request import CaptioningRequest
from lora_studio.jobs.captioning.captioning_rows import CaptioningRow, CaptioningRows
from lora_studio.jobs.captioning.captioning_state import Captioning, CaptioningState
from lora_studio.jobs.captioning.heartbeat import heartbeat
from lora_studio.jobs.failure import bug_of
from lora_studio.runtime import DeviceLease
from lora_studio.store.database import Database
from lora_studio.store.process_owner import is_alive, this_process

if TYPE_CHECKING:
    from PIL import Image

    from lora_studio.captioning.caption_run import CaptionedPictures
    from lora_studio.captioning.captioner import Captioner

logger = logging.getLogger(__name__)

HOLDER = "captions"
MOST_ACTIVE = 4
"""Captionings that run or wait."""
SECONDS_BETWEEN = 2.0
"""Between two writings of progress, and before a wait is told."""
HEARTBEAT_SECONDS = 5.0
"""Between two writings while nothing changes: other hosts see that it goes on, and a stop is heard."""
BUSY = "Pictures are being captioned.", "Wait until that is done, or stop it."
CLOSING_SECONDS = 10.0
"""Seconds that the end of the studio waits for the pictures at hand."""


class CaptioningJobs:
    """The captionings of this home, the last one of each set. `revision` changes with anything about those of
    this process. For those who may change the set. Raises StoreError for a set that isn't there,
    NotAllowed."""

    def __init__(
        self, datasets: Datasets, lease: DeviceLease, database: Database, *, owner: str = ""
    ) -> None:
        self._datasets, self._lease, self._rows = datasets, lease, CaptioningRows(database)
        self._owner = owner or this_process()
        self._engine_turn = DeviceLease()  # one engine in memory: the others wait before they load theirs
        self._changed, self._closing = threading.Condition(), threading.Event()
        self._jobs: dict[str, Captioning] = {}  # those that run or wait here
        self._stops: dict[str, threading.Event] = {}
        self._threads: list[threading.Thread] = []
        self._written = 0.0
        self.revision = 0

    def begin(self, request: CaptioningRequest) -> Captioning:
        """Begin to caption, and return. Raises DeviceBusy where the set, or too many, are being captioned."""
        dataset_id = request.dataset_id
        visitor().must_own(Kind.DATASET, dataset_id)
        request = request if request.run else replace(request, run=secrets.token_hex(4))
        _, pictures = self._pictures(request)
        self._check_asked(request, pictures)
        before = self._kept(dataset_id)
        others = before.failed if before is not None and request.pictures else {}
        failed = {name: why for name, why in others.items() if name not in request.pictures}
        rest = before.left_by(request) if before is not None else None
        run = on_behalf(self._run)
        with self._changed:
            if dataset_id in self._jobs or len(self._jobs) >= MOST_ACTIVE:
                raise DeviceBusy(*BUSY)
            self._stops[dataset_id] = threading.Event()
            job = Captioning(request=request, total=len(pictures), failed=failed, rest=rest)
            self._jobs[dataset_id] = job
            thread = threading.Thread(target=run, args=(request, pictures), name="captioning", daemon=True)
            self._threads = [*(one for one in self._threads if one.is_alive()), thread]
        try:
            self._write(job)
        except (StoreError, DeviceBusy):
            self._forget(dataset_id)
            raise
        thread.start()
        return job

    def cost(self, request: CaptioningRequest) -> CaptioningCost:
        """The cost of a captioning, as far as it is known before. Raises StoreError."""
        _, pictures = self._pictures(request)
        measured = (self._read(row) for row in self._rows.all())
        alike = (
            job for job in measured if job is not None and job.done and job.request.engine == request.engine
        )
        return cost_of(request.engine, len(pictures), next(alike, None))

    def is_by_hand(self, dataset_id: str, picture: str) -> bool:
        """Whether a picture, by file name, has a caption that no engine wrote. Raises StoreError."""
        line = self._datasets.edits(dataset_id).line()
        text = self._datasets.captions(dataset_id).get(picture, "")
        return bool(text) and picture not in _names(by_engine(line))

    def go_on(self, dataset_id: str) -> Captioning:
        """Go on with the pictures that an interrupted, stopped or failed captioning left without a caption,
        or with `again` without a new one. Its captions are undone together with the earlier ones. Captions by
        hand stay: `over_hand` was said of those at that time. Raises as `begin` does, and StoreError where
        there is nothing to go on with."""
        job = self.get(dataset_id)
        if not job.state.may_go_on and (job := job.rest or job).state is CaptioningState.FINISHED:
            raise StoreError("This captioning has come to its end.", "Begin another one.")
        return self.begin(replace(job.request, over_hand=False))

    def get(self, dataset_id: str) -> Captioning:
        """The last captioning of a set. Raises StoreError where there was none."""
        self._datasets.get(dataset_id)
        job = self._kept(dataset_id)
        if job is None:
            raise StoreError("These pictures were not captioned.", "Start it first.")
        return job

    def unfinished(self) -> list[tuple[str, Captioning]]:
        """The captionings that go on, wait or were interrupted, with their sets' names, for the visitor."""
        names = {record.id: record.name for record in self._datasets.datasets()}
        found = [(row.dataset_id, self._read(row)) for row in self._rows.all() if row.dataset_id in names]
        kept = [(names[key], job) for key, job in found if job is not None]
        either = [(name, job if job.state.is_open or job.rest is None else job.rest) for name, job in kept]
        return [(name, job) for name, job in either if job.state.is_open]

    def wait(self, dataset_id: str, timeout: float | None = None) -> Captioning:
        """The captioning of a set once it has ended, or as it is after `timeout` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: dataset_id not in self._jobs, timeout)
        return self.get(dataset_id)

    def stop(self, dataset_id: str) -> bool:
        """Stop a captioning after the pictures at hand; False where none runs. Its captions stay. One of
        another process ends within seconds, or after the pictures at hand. One that was interrupted counts as
        stopped from then on. Raises StoreError for a set that isn't there, NotAllowed."""
        self._datasets.get(dataset_id)
        visitor().must_own(Kind.DATASET, dataset_id)
        with self._changed:
            stop = self._stops.get(dataset_id)
        if stop is not None:
            stop.set()
            return True
        row = self._rows.get(dataset_id)
        if row is not None and self._runs_elsewhere(row):
            return self._rows.ask_to_stop(dataset_id, row.owner)
        job = self._kept(dataset_id)
        if job is not None and (stopped := job.given_up()) != job:
            self._write(stopped)
        return False

    def close(self) -> None:
        """Ask all to stop, and wait at most ten seconds for the pictures at hand: interrupted ones."""
        self._closing.set()
        give_up = time.monotonic() + CLOSING_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, give_up - time.monotonic()))

    def _kept(self, dataset_id: str) -> Captioning | None:
        with self._changed:
            if (job := self._jobs.get(dataset_id)) is not None:
                return job
        row = self._rows.get(dataset_id)
        return self._read(row) if row is not None else None

    def _read(self, row: CaptioningRow) -> Captioning | None:
        """A captioning as it is now, going by its row; None where a newer version wrote it."""
        with self._changed:
            if (job := self._jobs.get(row.dataset_id)) is not None:
                return job
        try:
            job = Captioning.from_json(row.facts)
        except (StudioError, KeyError, ValueError, TypeError) as error:
            logger.warning("the captioning of %s can't be read: %s", row.dataset_id, error)
            return None
        if job.state is CaptioningState.RUNNING and not self._runs_elsewhere(row):
            return replace(job, state=CaptioningState.INTERRUPTED)
        return job

    def _runs_elsewhere(self, row: CaptioningRow) -> bool:
        is_elsewhere = row.is_open and row.owner != self._owner
        return is_elsewhere and is_alive(row.owner, silence=time.time() - row.at)

    def _write(self, job: Captioning) -> None:
        """Store a captioning, and hear there of a stop. Raises DeviceBusy where another process has one."""

        def check(row: CaptioningRow) -> None:
            if self._runs_elsewhere(row):
                raise DeviceBusy(*BUSY)

        dataset_id, self._written = job.request.dataset_id, time.monotonic()
        before = self._rows.put(dataset_id, self._owner, job.to_json(), check=check)
        if before is not None and before.owner == self._owner and before.is_to_stop:
            self._stop_here(dataset_id)
        self._tell()

    def _stop_here(self, dataset_id: str) -> None:
        with self._changed:
            if (stop := self._stops.get(dataset_id)) is not None:
                stop.set()

    def _tell(self) -> None:
        with self._changed:
            self.revision += 1
            self._changed.notify_all()

    def _note(self, dataset_id: str, **facts: Any) -> None:
        """Change a captioning of this process, from its own thread; from time to time the store hears it."""
        with self._changed:
            before = self._jobs[dataset_id]
            self._jobs[dataset_id] = job = replace(before, **facts)
        is_due = time.monotonic() - self._written > SECONDS_BETWEEN or before.waits_for != job.waits_for
        if job != before and is_due:
            self._tell_store(job)

    def _tell_store(self, job: Captioning) -> None:
        try:
            self._write(job)
        except DeviceBusy as error:  # taken for dead, say on a machine that slept: another goes on with it
            logger.warning("a captioning ends here: %s", error)
            self._stop_here(job.request.dataset_id)
        except StoreError as error:  # it is written later, and goes on meanwhile
            logger.warning("the progress of a captioning: %s", error)

    def _forget(self, dataset_id: str) -> None:
        with self._changed:
            self._jobs.pop(dataset_id, None)
            self._stops.pop(dataset_id, None)
        self._tell()

    def _pictures(self, request: CaptioningRequest) -> tuple[str, dict[str, str]]:
        """The head of a set's edits, and the captions of the pictures that an engine may caption, by name."""
        history = self._datasets.edits(request.dataset_id)  # before the captions, which are no older then
        line = history.line()
        by_run = _names(edit.picture for entry in line if entry.run == request.run for edit in entry.edits)
        theirs, by_hand = _names(by_engine(line)), _names(by_person(line))
        captions = self._datasets.captions(request.dataset_id)

        def may(name: str, text: str) -> bool:
            if name in by_run:
                return False
            if request.pictures:
                return name in request.pictures and (request.over_hand or not text or name in theirs)
            return (request.again and name in theirs) or (not text and name not in by_hand)

        return history.head, {name: text for name, text in captions.items() if may(name, text)}

    def _check_asked(self, request: CaptioningRequest, free: Mapping[str, str]) -> None:
        """Refuse pictures that are asked for and may not be captioned. Raises DatasetError."""
        if not request.pictures:
            return
        captions = self._datasets.captions(request.dataset_id)
        theirs = _names(by_engine(self._datasets.edits(request.dataset_id).line()))
        for name in request.pictures:
            if name not in captions:
                raise DatasetError("That picture is not in this set.", "Reload the page.")
            if name not in free and name not in theirs:
                raise DatasetError(f"The caption of {name} was written by hand.", "Take it away first.")

    def _run(self, request: CaptioningRequest, pictures: Mapping[str, str]) -> None:
        dataset_id, asked = request.dataset_id, self._stops[request.dataset_id]

        def should_stop() -> bool:
            return asked.is_set() or self._closing.is_set()

        stopped = {"state": CaptioningState.STOPPED}
        ended: dict[str, Any] = stopped
        try:
            with heartbeat(lambda: self._tell_store(self._jobs[dataset_id]), HEARTBEAT_SECONDS):
                found = self._captioned(request, pictures, should_stop)
            earlier = self._jobs[dataset_id].failed
            ended = {"failed": {**earlier, **found.failed}, "state": CaptioningState.FINISHED}
            ended |= stopped if found.was_stopped else {}
        except StudioError as error:
            # Given up while it waited: nothing was lost. Any other failure counts, also after a stop.
            if not (isinstance(error, DeviceBusy) and should_stop()):
                ended = {"state": CaptioningState.FAILED, "error": error}
        except Exception as error:  # a thread of its own: nobody else would hear of it
            ended = {"state": CaptioningState.FAILED, "error": bug_of(error, "a captioning")}
        if ended["state"] is CaptioningState.STOPPED and not asked.is_set():
            ended["state"] = CaptioningState.INTERRUPTED
        with self._changed:
            job = replace(self._jobs[dataset_id], note="", waits_for="", **ended)
        try:
            self._write(job)
        except (StoreError, DeviceBusy) as error:  # it counts as interrupted from now on
            logger.warning("the end of a captioning: %s", error)
        self._forget(dataset_id)

    def _captioned(
        self, request: CaptioningRequest, pictures: Mapping[str, str], should_stop: ShouldStop
    ) -> CaptionedPictures:
        from lora_studio.captioning.caption_engines import load_captioner
        from lora_studio.captioning.caption_run import CaptionedPictures, caption_pictures

        dataset_id, engine = request.dataset_id, request.engine
        found = self._datasets.pictures(
            dataset_id, len(pictures), first=list(pictures), should_stop=should_stop
        )
        files = {path.name: path for path, _ in found if path.name in pictures}
        if should_stop() or not files:
            return CaptionedPictures(was_stopped=should_stop())

        def look() -> tuple[str, set[str]]:
            head, now = self._pictures(request)
            # What somebody wrote or left out meanwhile is theirs.
            return head, {name for name, text in now.items() if pictures.get(name) == text}

        def write(edits: Sequence[SetCaption], head: str) -> None:
            self._datasets.edit(dataset_id, edits, f"{BY_ENGINE}{engine.title}", after=head, run=request.run)

        def keep(captions: dict[str, str]) -> None:
            kept = write_captions(captions, look, write)
            self._note(dataset_id, captioned=self._jobs[dataset_id].captioned + len(kept))

        def hear(event: Event) -> None:
            if isinstance(event, PhaseAdvanced):
                self._note(dataset_id, done=event.done, note=event.note, seconds=turns.worked)

        def turn(lease: DeviceLease) -> AbstractContextManager[None]:
            return self._turn(lease, dataset_id, should_stop)

        with turn(self._engine_turn):
            with turn(self._lease):
                begun = time.monotonic()
                captioner = load_captioner(engine, tagger=request.tagger)
                self._note(dataset_id, loading=time.monotonic() - begun)
            turns = _InTurns(captioner, lambda: turn(self._lease))
            return caption_pictures(
                turns, files, request.template, keep=keep, emit=hear, should_stop=should_stop
            )

    @contextmanager
    def _turn(self, lease: DeviceLease, dataset_id: str, should_stop: ShouldStop) -> Iterator[None]:
        """Hold the engine's place or the device; a long wait for it is told."""
        asked = time.monotonic()

        def gives_up() -> bool:
            if time.monotonic() - asked > SECONDS_BETWEEN and lease.holder:
                self._note(dataset_id, waits_for=lease.holder)
            return should_stop()

        with lease.hold(HOLDER, give_up=gives_up):
            self._note(dataset_id, waits_for="")
            yield


def _names(pictures: Iterable[str]) -> set[str]:
    """The file names, which are unique in a set, of pictures as edits name them."""
    return {PurePosixPath(picture).name for picture in pictures}


class _InTurns:
    """A captioner that holds the device for one batch at a time."""

    def __init__(self, captioner: Captioner, turn: Callable[[], AbstractContextManager[None]]) -> None:
        self.batch, self._captioner, self._turn = captioner.batch, captioner, turn
        self._begun, self._waited = time.monotonic(), 0.0

    @property
    def worked(self) -> float:
        """Seconds since it was made, without those in which it waited for the device."""
        return time.monotonic() - self._begun - self._waited

    def prepared(self, image: Image.Image) -> Image.Image:
        return self._captioner.prepared(image)

    def captions(self, images: Sequence[Image.Image]) -> list[str]:
        asked = time.monotonic()
        with self._turn():
            self._waited += time.monotonic() - asked
            return self._captioner.captions(images)
