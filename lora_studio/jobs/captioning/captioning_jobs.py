"""Captionings of sets of pictures that go on by themselves, for page and API.

A captioning takes the device for one batch of pictures at a time, so a training goes on between them, and a
generation waits no longer than that. What is written is an edit of the set: stopped, it stays, and the next
captioning goes on with the pictures that have no caption.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from lora_studio.access.visitor import Kind, on_behalf, visitor
from lora_studio.data.captioning.engine_captions import BY_ENGINE, by_engine, by_person, write_captions
from lora_studio.data.edits.picture_edits import SetCaption
from lora_studio.dataset import Datasets
from lora_studio.errors import DeviceBusy, StoreError, StudioError
from lora_studio.events import Event, PhaseAdvanced, ShouldStop
from lora_studio.jobs.captioning.captioning_request import CaptioningRequest
from lora_studio.jobs.failure import bug_of
from lora_studio.runtime import DeviceLease

if TYPE_CHECKING:
    from PIL import Image

    from lora_studio.captioning.caption_run import CaptionedPictures
    from lora_studio.captioning.captioner import Captioner

HOLDER = "captions"
MOST_ACTIVE, MOST_KEPT = 4, 50
"""Captionings that run or wait, and ended ones that are remembered."""


class CaptioningState(StrEnum):
    """running -> finished | stopped | failed."""

    RUNNING = "running"
    FINISHED = "finished"
    STOPPED = "stopped"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True)
class Captioning:
    """The captioning of a set at one moment: `done` of `total` pictures are looked at, `captioned` is the
    number of captions that are kept, `failed` in the end the reason for each picture without one; `note` says
    how long it still takes."""

    request: CaptioningRequest
    state: CaptioningState = CaptioningState.RUNNING
    done: int = 0
    total: int = 0
    note: str = ""
    captioned: int = 0
    failed: Mapping[str, str] = field(default_factory=dict)
    error: StudioError | None = None


class CaptioningJobs:
    """The captionings of this process, the last one of each set. For those who may change the set. Raises
    StoreError for a set that isn't there, NotAllowed."""

    def __init__(self, datasets: Datasets, lease: DeviceLease) -> None:
        self._datasets, self._lease = datasets, lease
        self._engine_turn = DeviceLease()  # one engine in memory: the others wait before they load theirs
        self._changed = threading.Condition()
        self._jobs: dict[str, Captioning] = {}
        self._stops: dict[str, threading.Event] = {}

    def begin(self, request: CaptioningRequest) -> Captioning:
        """Begin to caption pictures, and return at once. Raises DeviceBusy where the set is being captioned,
        or too many are."""
        dataset_id = request.dataset_id
        visitor().must_own(Kind.DATASET, dataset_id)
        _, pictures = self._pictures(request)
        with self._changed:
            if dataset_id in self._stops or len(self._stops) >= MOST_ACTIVE:
                raise DeviceBusy("Pictures are being captioned.", "Wait until that is done, or stop it.")
            self._jobs.pop(dataset_id, None)
            for old in [key for key in self._jobs if key not in self._stops][: -MOST_KEPT or None]:
                del self._jobs[old]
            self._jobs[dataset_id] = job = Captioning(request=request, total=len(pictures))
            self._stops[dataset_id] = threading.Event()
        run = on_behalf(self._run)
        threading.Thread(target=run, args=(request, pictures), name="captioning", daemon=True).start()
        return job

    def get(self, dataset_id: str) -> Captioning:
        """The last captioning of a set. Raises StoreError where there was none."""
        self._datasets.get(dataset_id)
        with self._changed:
            job = self._jobs.get(dataset_id)
        if job is None:
            raise StoreError("These pictures were not captioned.", "Start it first.")
        return job

    def wait(self, dataset_id: str, timeout: float | None = None) -> Captioning:
        """The captioning of a set once it has ended, or as it is after `timeout` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: dataset_id not in self._stops, timeout)
        return self.get(dataset_id)

    def stop(self, dataset_id: str) -> bool:
        """Stop a captioning after the pictures at hand; False for one that has ended. Its captions stay.
        Raises StoreError for a set that isn't there, NotAllowed."""
        self._datasets.get(dataset_id)
        visitor().must_own(Kind.DATASET, dataset_id)
        with self._changed:
            stop = self._stops.get(dataset_id)
        if stop is not None:
            stop.set()
        return stop is not None

    def close(self) -> None:
        """Ask all to stop."""
        with self._changed:
            for stop in self._stops.values():
                stop.set()

    def _pictures(self, request: CaptioningRequest) -> tuple[str, dict[str, str]]:
        """The head of a set's edits, and the captions of the pictures that an engine may caption, by name."""
        history = self._datasets.edits(request.dataset_id)  # before the captions, which are no older then
        theirs = _names(by_engine(history.line())) if request.again else set()
        by_hand = _names(by_person(history.line()))
        captions = self._datasets.captions(request.dataset_id)
        free = {
            name: text
            for name, text in captions.items()
            if name in theirs or (not text and name not in by_hand)
        }
        return history.head, free

    def _run(self, request: CaptioningRequest, pictures: Mapping[str, str]) -> None:
        dataset_id, ended = request.dataset_id, dict[str, Any](state=CaptioningState.STOPPED)
        should_stop = self._stops[dataset_id].is_set
        try:
            found = self._captioned(request, pictures, should_stop)
            state = CaptioningState.STOPPED if found.was_stopped else CaptioningState.FINISHED
            ended = {"state": state, "failed": found.failed}
        except StudioError as error:
            if not should_stop():
                ended = {"state": CaptioningState.FAILED, "error": error}
        except Exception as error:  # a thread of its own: nobody else would hear of it
            ended = {"state": CaptioningState.FAILED, "error": bug_of(error, "a captioning")}
        with self._changed:
            del self._stops[dataset_id]
            self._jobs[dataset_id] = replace(self._jobs[dataset_id], note="", **ended)
            self._changed.notify_all()

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
        run = secrets.token_hex(4)

        def look() -> tuple[str, set[str]]:
            head, now = self._pictures(request)
            # What somebody wrote or left out meanwhile is theirs.
            return head, {name for name, text in now.items() if pictures.get(name) == text}

        def write(edits: Sequence[SetCaption], head: str) -> None:
            self._datasets.edit(dataset_id, edits, f"{BY_ENGINE}{engine.title}", after=head, run=run)

        def keep(captions: dict[str, str]) -> None:
            kept = write_captions(captions, look, write)
            with self._changed:
                job = self._jobs[dataset_id]
                self._jobs[dataset_id] = replace(job, captioned=job.captioned + len(kept))

        def hear(event: Event) -> None:
            if isinstance(event, PhaseAdvanced):
                with self._changed:
                    job = self._jobs[dataset_id]
                    self._jobs[dataset_id] = replace(job, done=event.done, note=event.note)

        with self._engine_turn.hold(HOLDER, give_up=should_stop):
            with self._lease.hold(HOLDER, give_up=should_stop):
                captioner = load_captioner(engine, tagger=request.tagger)
            turns = _InTurns(captioner, self._lease, should_stop)
            return caption_pictures(
                turns, files, request.template, keep=keep, emit=hear, should_stop=should_stop
            )


def _names(pictures: Iterable[str]) -> set[str]:
    """The file names, which are unique in a set, of pictures as edits name them."""
    return {PurePosixPath(picture).name for picture in pictures}


class _InTurns:
    """A captioner that holds the device for one batch at a time."""

    def __init__(self, captioner: Captioner, lease: DeviceLease, should_stop: ShouldStop) -> None:
        self.batch, self._captioner = captioner.batch, captioner
        self._lease, self._should_stop = lease, should_stop

    def prepared(self, image: Image.Image) -> Image.Image:
        return self._captioner.prepared(image)

    def captions(self, images: Sequence[Image.Image]) -> list[str]:
        with self._lease.hold(HOLDER, give_up=self._should_stop):
            return self._captioner.captions(images)
