"""The first pictures with a new LoRA: drawn by themselves once its training has ended well.

They are one generation in the one queue of generations, on behalf of the training's owner, and they take the
gap between two trainings: the next one begins when they are done, at the latest after `LONGEST_GAP` seconds.
So they never share the device's memory with a training, which would have to go on more slowly, and the base
that they loaded is let go before the next one begins. What they take is about one round of previews, of which
each training draws eight. While no training waits they have all the time that they need.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from pathlib import Path

from lora_studio.access.roles import Role
from lora_studio.access.visitor import STUDIO, Kind, Visitor, acting
from lora_studio.catalog import result_prompts
from lora_studio.config import TrainConfig
from lora_studio.errors import StudioError
from lora_studio.events import Emit, Event, ImageSaved, ResultDrawn, ShouldStop
from lora_studio.families.base_files.locate import known_base
from lora_studio.jobs.generation_queue import GenerationJob, GenerationQueue, GenerationResult
from lora_studio.jobs.generation_worker import GenerationWorker
from lora_studio.records import JobRecord, JobStatus
from lora_studio.request import GenerateRequest, LoraUse
from lora_studio.settings import Settings
from lora_studio.store.database import Database
from lora_studio.store.job_store import JobStore
from lora_studio.store.people.ownership import Owners
from lora_studio.store.people.visitors import Visitors
from lora_studio.store.process_owner import is_alive, this_process

LONGEST_GAP = 120.0
"""Seconds for which a training that waits is kept from its turn, at most."""
LOOK_SECONDS, STOP_SECONDS = 0.5, 30.0
USUAL = 3
"""Pictures of a training whose settings want none by themselves, once they are asked for."""
TRIES = 2
"""Starts of the studio that draw the pictures of one training: they may be what ends it."""
JOBS_LOOKED_AT = 50
LATER = "later"
"""Stands for the generation of pictures that a studio about to end could not queue any more."""
OUT_OF_TIME = "No pictures were drawn by themselves, so that the next training did not have to wait longer."
STOPPED = "The pictures were stopped before the first was done."
CUT_SHORT = "The studio ended twice while these pictures were drawn, so they are not tried again."


@dataclass(frozen=True, kw_only=True)
class ResultPictures:
    """Draws, keeps and finds the first pictures of trainings. They are events of their training."""

    database: Database
    generation_queue: GenerationQueue
    drawing: GenerationWorker

    @property
    def _store(self) -> JobStore:
        return JobStore(self.database)

    def of(self, job_id: str) -> ResultDrawn | None:
        """The newest news of a training's pictures; None when none were asked for. Raises StoreError."""
        found = self._store.events(job_id, kinds=(ResultDrawn.__name__,), limit=1)
        return found[-1].event if found else None

    def ask(self, job: JobRecord, count: int = 0) -> GenerationJob:
        """Queue the pictures of a finished training, on behalf of its owner or an admin: `count`, or as many
        as its settings say, at least the usual three. Those that wait or are drawn already are returned
        instead. Raises StudioError, NotAllowed."""
        self._store.own(job.id)
        if (there := self._in_work(job.id)) is not None:
            return there
        requests = requests_of(job, count or wanted_pictures(job) or USUAL, self.drawing.settings)
        is_told = threading.Event()

        def draw(emit: Emit, should_stop: ShouldStop) -> GenerationResult:
            is_told.wait()
            paths: list[str] = []

            def hear(event: Event) -> None:
                if isinstance(event, ImageSaved):
                    paths.append(event.path)
                emit(event)

            failure = STOPPED
            try:
                return self.drawing.result_of_all(requests, hear, should_stop)
            except StudioError as error:
                failure = f"{error.message} {error.hint}".strip()
                raise
            finally:
                if paths or not self.generation_queue.is_closing:
                    prompts = tuple(request.prompt for request in requests[: len(paths)])
                    message = "" if len(paths) == len(requests) else failure
                    self._tell(job.id, ResultDrawn(paths=tuple(paths), prompts=prompts, message=message))

        try:
            title = f"First pictures with {job.name}"
            ticket = self.generation_queue.submit(draw, title=title, images=len(requests))
            self._tell(job.id, ResultDrawn(ticket=ticket.id))
        finally:
            is_told.set()
        return ticket

    def _in_work(self, job_id: str) -> GenerationJob | None:
        """The generation that a training's pictures are to come from."""
        news = self.of(job_id)
        wanted = news.ticket if news else ""
        tickets = self.generation_queue.tickets()
        return next((one for one in tickets if one.id == wanted and one.state.active), None)

    def after(self, job: JobRecord) -> None:
        """Draw the pictures of a training just ended well, once; return when done or after a while."""
        if job.status is not JobStatus.FINISHED or not wanted_pictures(job) or self.of(job.id):
            return
        if (ticket := self._asked_for(job)) is not None:
            self._see_through(job.id, ticket.id)

    def catch_up(self) -> None:
        """Ask again for pictures that the end of a program kept from being drawn. A training that goes on
        meanwhile gives way to them between two steps, as to all generations."""
        for job in self._store.jobs(limit=JOBS_LOOKED_AT):
            news = self._store.events(job.id, kinds=(ResultDrawn.__name__,))
            if not news or not news[-1].event.ticket or job.status is not JobStatus.FINISHED:
                continue
            if job.owner != this_process() and is_alive(job.owner, silence=time.time() - news[-1].at):
                continue
            if len(news) >= TRIES:
                self._tell(job.id, ResultDrawn(message=CUT_SHORT))
            else:
                self._asked_for(job)

    def _asked_for(self, job: JobRecord) -> GenerationJob | None:
        """The generation of a training's pictures for its owner; None where it is refused, which is kept."""
        try:
            with acting(self._owner(job)):
                return self.ask(job)
        except StudioError as error:
            failure = ResultDrawn(message=f"{error.message} {error.hint}".strip())
            self._tell(job.id, ResultDrawn(ticket=LATER) if self.generation_queue.is_closing else failure)
            return None

    def _see_through(self, job_id: str, ticket_id: str) -> None:
        queue, waits_since, is_late = self.generation_queue, 0.0, False
        while queue.wait(ticket_id, timeout=LOOK_SECONDS).state.active:
            if not waits_since and self._store.next_queued() is not None:
                waits_since = time.monotonic()
            if waits_since and time.monotonic() - waits_since > LONGEST_GAP:
                queue.cancel(ticket_id)
                queue.wait(ticket_id, timeout=STOP_SECONDS)
                is_late = True
                break
        if queue.is_closing:
            return
        news = self.of(job_id)
        if news and not news.paths and (is_late or news.ticket):
            # Stopped while it waited, nothing of it ran that could say so.
            self._tell(job_id, ResultDrawn(message=OUT_OF_TIME if is_late else STOPPED))
        if self._store.next_queued() is not None:
            self.drawing.generator.unload()

    def _tell(self, job_id: str, event: ResultDrawn) -> None:
        with acting(STUDIO):
            self._store.append(job_id, event)

    def _owner(self, job: JobRecord) -> Visitor:
        """The visitor whose training it is."""
        names = [name for name in Owners(self.database).owners(Kind.JOB, job.id) if name]
        if not names:
            return STUDIO
        everybody = Visitors.over(self.database, self.drawing.settings, is_open=False)
        if everybody.people.find(names[0]) is None:  # the page's own name, which stands in no row
            return Visitor(name=names[0], role=Role.TRAINER, kept=everybody.owners)
        return everybody.of(names[0])


def wanted_pictures(job: JobRecord) -> int:
    """The number of pictures that a training's settings want."""
    return TrainConfig.from_json(job.config).preview.result_pictures


def requests_of(job: JobRecord, count: int, settings: Settings) -> list[GenerateRequest]:
    """Requests of one picture each, by trigger word and kind. Raises ConfigError, ModelFileError."""
    config = TrainConfig.from_json(job.config)
    base, subject = config.model.pretrained_model_name_or_path, config.dataset
    name = known_base(base, settings).traits.name
    prompts = result_prompts(subject.kind, subject.trigger_word, name)
    uses = (LoraUse(slug=Path(job.result_path).name, weight=1.0),)
    return [
        GenerateRequest(prompt=prompts[number % len(prompts)], base=base, loras=uses)
        for number in range(count)
    ]
