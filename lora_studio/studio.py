"""The composition root: builds the parts and offers the actions that page, API and command line share."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import partial

from lora_studio.access.roles import Role
from lora_studio.access.visitor import CHANGED_BY, Kind, visitor
from lora_studio.dataset import Datasets
from lora_studio.errors import StoreError
from lora_studio.events import Emit, ShouldStop, ignore, never_stop
from lora_studio.gallery import Gallery
from lora_studio.generator import Generator
from lora_studio.grids.grid_cells import plan_grid
from lora_studio.grids.grid_request import GridRequest, GridResult
from lora_studio.grids.lora_axis import with_slugs
from lora_studio.grids.strength_request import StrengthRequest, plan_strength
from lora_studio.jobs.action_locks import ActionLocks
from lora_studio.jobs.captioning.captioning_jobs import CaptioningJobs
from lora_studio.jobs.checking.dataset_checks import DatasetChecks
from lora_studio.jobs.ended.removed_trainings import RemovedTrainings
from lora_studio.jobs.ended.result_pictures import ResultPictures
from lora_studio.jobs.ended.training_endings import TrainingEndings
from lora_studio.jobs.engine_worker import EngineWorker
from lora_studio.jobs.generation_queue import GenerationJob, GenerationQueue
from lora_studio.jobs.generation_worker import GenerationWorker
from lora_studio.jobs.lora_files.lora_inspector import LoraInspector
from lora_studio.jobs.lora_files.lora_links import LoraLinks
from lora_studio.jobs.publishing.hub_publisher import HubPublisher
from lora_studio.jobs.supabase.sync import Mirror
from lora_studio.jobs.thread_worker import ThreadWorker
from lora_studio.jobs.training_queue import TrainingQueue
from lora_studio.lora.names import as_slug
from lora_studio.operations.check_up import CheckUp
from lora_studio.operations.training_webhook import TrainingWebhook
from lora_studio.prompts.expand import untagged
from lora_studio.records import ImageRecord
from lora_studio.request import GenerateRequest
from lora_studio.runtime import DeviceLease
from lora_studio.settings import Settings
from lora_studio.store.database import Database
from lora_studio.store.first_scan import FirstScan
from lora_studio.store.job_store import JobStore
from lora_studio.store.library import Library
from lora_studio.store.people.ownership import Owners
from lora_studio.training_setup import TrainingSetup


@dataclass(frozen=True)
class Studio:
    """The parts of the program, and the actions that page, API and command line share."""

    settings: Settings
    datasets: Datasets
    checks: DatasetChecks
    captionings: CaptioningJobs
    gallery: Gallery
    jobs: TrainingQueue
    trainings: TrainingSetup
    drawing: GenerationWorker
    lease: DeviceLease
    database: Database
    mirror: Mirror
    first_scan: FirstScan
    links: LoraLinks
    inspector: LoraInspector
    endings: TrainingEndings
    check_up: CheckUp
    webhook: TrainingWebhook
    publisher: HubPublisher
    generation_queue: GenerationQueue = field(default_factory=GenerationQueue)
    turns: ActionLocks = field(default_factory=ActionLocks, repr=False)

    @property
    def generator(self) -> Generator:
        """The generator in use."""
        return self.drawing.generator

    @property
    def result_pictures(self) -> ResultPictures:
        """The first pictures with the LoRAs of trainings."""
        return ResultPictures(
            database=self.database, generation_queue=self.generation_queue, drawing=self.drawing
        )

    @property
    def removed_trainings(self) -> RemovedTrainings:
        """The trainings that were taken out of the history."""
        return RemovedTrainings(database=self.database, settings=self.settings)

    def generate(
        self, request: GenerateRequest, emit: Emit = ignore, should_stop: ShouldStop = never_stop
    ) -> list[ImageRecord]:
        """Draw images and put them into the gallery. Waits for the device; training gives way between steps.
        Stopping returns the images finished so far; a failure leaves them in the gallery. Raises
        StudioError."""
        return self.drawing.draw(request, emit, should_stop)

    def grid(
        self, grid: GridRequest, emit: Emit = ignore, should_stop: ShouldStop = never_stop
    ) -> GridResult:
        """Draw the cells of an X/Y/Z grid that the gallery doesn't have yet, and the labelled sheet of all.
        Cells and sheet go into the gallery; the device is given up between cells. Stopping keeps the cells
        finished so far, and so does a failure once something was drawn. Raises StudioError, where possible
        before anything is drawn."""
        return self.drawing.draw_grid(grid, emit, should_stop)

    def submit(self, request: GenerateRequest, *, compare: bool = False, session: str = "") -> GenerationJob:
        """Queue a generation and return at once. With `compare` the base alone draws each picture too.
        `session` is the client's name for itself. Raises ConfigError for a wrong LoRA tag, DeviceBusy when
        too many wait."""
        visitor().needs(Role.CREATOR)
        tags = untagged(request.prompt, request.negative_prompt, request.loras, self.lora_called)
        # Here already, since the base alone must not get LoRAs from tags.
        request = request.model_copy(update={"prompt": tags.prompt, "loras": tags.loras})
        compare = compare and bool(request.loras)
        work = partial(self.drawing.result_of, request, compare=compare, remarks=tags.remarks)
        images = request.count * (2 if compare else 1)
        return self.generation_queue.submit(work, title=request.prompt, images=images, session=session)

    def submit_grid(self, grid: GridRequest, *, session: str = "") -> GenerationJob:
        """Queue a grid, as `submit` queues a generation. Raises ConfigError for axes that make no grid,
        DeviceBusy."""
        visitor().needs(Role.CREATOR)
        grid = with_slugs(grid, self.settings.loras)
        work = partial(self.drawing.result_of_grid, grid)
        cells = len(plan_grid(grid).cells)
        return self.generation_queue.submit(work, title=grid.request.prompt, images=cells, session=session)

    def submit_strength(self, request: StrengthRequest, *, session: str = "") -> GenerationJob:
        """Queue the drawing of a report on a LoRA's strength; one that waits or runs already is returned
        instead. Raises StoreError, NotAllowed, ConfigError for a LoRA whose base nobody knows, DeviceBusy."""
        visitor().needs(Role.CREATOR)
        record = self.gallery.lora(request.slug)
        visitor().must_own(Kind.LORA, record.slug)
        plan = plan_strength(request, record)
        there = self.strength_ticket(record.slug)
        if there is not None and there.state.active:
            return there
        work = partial(self.drawing.result_of_strength, request)
        cells = len(plan.grid().cells)
        title = f"Strength report of {record.title}"
        return self.generation_queue.submit(
            work, title=title, images=cells, session=session, report_of=record.slug
        )

    def strength_ticket(self, slug: str) -> GenerationJob | None:
        """The newest drawing of a LoRA's strength report that is remembered."""
        return next((one for one in self.generation_queue.tickets() if one.report_of == slug), None)

    def share(self, kind: Kind, key: str, shared: bool = True) -> None:
        """Let everybody here see an own training (with its LoRA), LoRA, set of pictures or picture, or not
        any more. Raises StoreError, NotAllowed."""
        keys = self._shared_with(kind, key)
        for each in keys:
            visitor().must_own(*each)
        for each in keys:
            Owners(self.database).share(*each, shared)

    def is_shared(self, kind: Kind, key: str) -> bool | None:
        """Whether a thing is shared; None where the visitor has no say in it, or there is nobody else here.
        Raises StoreError."""
        present, (thing, *_) = visitor(), self._shared_with(kind, key)
        if present.kept is None or not present.may(CHANGED_BY[kind]) or not present.owns(*thing):
            return None
        return present.kept.is_shared(*thing)

    def _shared_with(self, kind: Kind, key: str) -> list[tuple[Kind, str]]:
        """A thing and what is shared along with it, as owners know them. Raises StoreError."""
        if kind is Kind.JOB:
            return [(kind, key), (Kind.LORA, self.jobs.get(key).slug)]
        if kind is Kind.LORA:
            self.gallery.lora(key)
        elif kind is Kind.DATASET:
            self.datasets.get(key)
        else:
            key = self.gallery.image(key).path
        return [(kind, key)]

    def lora_called(self, name: str) -> str:
        """The slug of the LoRA that a tag or a grid calls by its slug or title; see `as_slug`."""
        return as_slug(name, self.settings.loras)

    def close(self) -> None:
        """Stop the generations and the running training, which keeps what it has learned, and let go of the
        database."""
        self.generation_queue.close()
        self.check_up.close()
        self.checks.close()
        self.captionings.close()
        self.inspector.jobs.close()
        self.jobs.close()
        self.webhook.close()
        self.mirror.close()
        self.first_scan.close()
        self.database.close()


def open_studio(settings: Settings | None = None, *, start_worker: bool = True) -> Studio:
    """Build everything; loads no torch. With `start_worker`, the library is read, queued jobs begin and
    orphaned ones become interrupted. Raises StoreError."""
    settings = settings or Settings.from_environment()
    try:
        settings.create_folders()
    except OSError as error:
        raise StoreError(
            f"The folder {error.filename or settings.home} can't be made: {error.strerror or error}.",
            "Let LORA_STUDIO_HOME and LORA_STUDIO_MODELS name folders that you may write to.",
        ) from error
    os.environ.setdefault("GRADIO_TEMP_DIR", str(settings.uploads))
    database = Database(settings.database)
    lease = DeviceLease()
    library = Library(database)
    gallery = Gallery(settings, library)
    worker = EngineWorker(ThreadWorker(lease), settings, lease)
    endings, webhook = TrainingEndings(), TrainingWebhook(settings)
    endings.add(lambda job: gallery.scan())
    jobs = TrainingQueue(JobStore(database), worker, on_finished=endings, on_ended=webhook.tell)
    datasets, turns = Datasets(settings, database), ActionLocks()
    studio = Studio(
        settings=settings,
        datasets=datasets,
        checks=DatasetChecks(settings, datasets, turns),
        captionings=CaptioningJobs(datasets, lease, database),
        gallery=gallery,
        jobs=jobs,
        trainings=TrainingSetup(settings, datasets, jobs, lease, turns),
        drawing=GenerationWorker(
            settings=settings, gallery=gallery, generator=Generator(settings), lease=lease
        ),
        lease=lease,
        database=database,
        mirror=Mirror(settings, database, jobs, gallery),
        first_scan=FirstScan(library=gallery),
        links=LoraLinks(settings, gallery, turns),
        inspector=LoraInspector(settings, gallery, turns),
        check_up=CheckUp(settings, database),
        webhook=webhook,
        publisher=HubPublisher(settings, gallery, turns),
        turns=turns,
        endings=endings,
    )
    if start_worker:
        studio.datasets.scan()
        studio.first_scan.start()
        jobs.start()
        studio.mirror.start()
    return studio
