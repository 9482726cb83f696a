"""A home with one of everything, as files and rows: trainings of each status, LoRAs, pictures, a trash.
Nothing is trained or drawn for it, so that all that the page can show stands there within a second."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from lora_studio.config import TrainConfig
from lora_studio.events import (
    CheckpointSaved,
    Denoised,
    Emit,
    Event,
    Failed,
    Finished,
    ImageSaved,
    Paused,
    PhaseAdvanced,
    PreviewSaved,
    ShouldStop,
    Started,
    StateSaved,
    StepDone,
    Stopped,
    Validated,
    ignore,
    never_stop,
)
from lora_studio.images.image_metadata import Origin, save_image
from lora_studio.jobs.generation_queue import GenerationResult
from lora_studio.lora.checkpoint_report import CheckpointReport, CheckpointRow, write_report
from lora_studio.lora.file.lora_files import file_name
from lora_studio.records import DatasetRecord, JobRecord, JobStatus
from lora_studio.request import GenerateRequest, LoraUse
from lora_studio.settings import Settings
from lora_studio.store.job_store import JobStore
from lora_studio.store.process_owner import this_process
from lora_studio.studio import Studio, open_studio
from lora_studio.ui.serving.login import Access
from lora_studio.ui.serving.server import open_page
from tests.support.library_entries import write_lora
from tests.support.serving import CHECKOUT, free_port
from tests.support.waiting import PATIENCE

ALIEN = sorted((CHECKOUT / "examples" / "alien").glob("*.png"))
INK = sorted((CHECKOUT / "examples" / "ink").glob("*.png"))
PROMPTS = ("a zwmm creature on a white background", "a zwmm creature on the beach at night, wide")
STEPS, EVERY = 200, 50
NAME, PASSWORD = "studio", "correct horse"
DEAD = "elsewhere:gone"
"""The owner of a training whose process has ended."""


@dataclass(frozen=True, kw_only=True)
class FurnishedHome:
    """A studio whose training queue stands still, and the address of its page (with a slash at its end). Its
    trainings belong to this process, so a row that says `running` stays as it is."""

    studio: Studio
    address: str
    go_on: threading.Event = field(default_factory=threading.Event)
    """Set, the generation that `begin_drawing` began ends."""

    @property
    def settings(self) -> Settings:
        return self.studio.settings

    def furnish(self) -> None:
        """Bring all in: sets, LoRAs, pictures, a trash, and trainings that have ended or rest."""
        studio = self.studio
        dataset = studio.datasets.create("Mimi", ALIEN).id
        self._library()
        for status in (
            *(JobStatus.FAILED, JobStatus.INTERRUPTED, JobStatus.STOPPED, JobStatus.PAUSED),
            JobStatus.FINISHED,
        ):
            self.train(status, dataset)

    def _library(self) -> None:
        settings, studio = self.settings, self.studio
        write_trained_lora(settings, "mimi", "Mimi")
        for number, title in enumerate(
            ("Ink drawings", "A LoRA with a long name that goes on and on", "Thrown")
        ):
            slug = title.split()[0].lower()
            facts = {"modelspec.title": title, "ss_steps": str(40 * (number + 1))}
            write_lora(settings.loras / slug / file_name(slug), number + 2.0, **facts)
        for seed, picture in enumerate((*ALIEN[:5], *INK[:4])):
            add_image(settings, picture, seed, (LoraUse(slug="mimi"),) if seed < 5 else ())
        studio.gallery.scan()
        studio.gallery.mark_lora("mimi", True)
        studio.gallery.describe_lora("mimi", tags="mascot, green", note="Works best with short prompts.")
        studio.gallery.delete_lora("thrown")
        studio.gallery.delete_image(studio.gallery.images()[0].id)

    def train(self, status: JobStatus, dataset: str = "", *, name: str = "") -> JobRecord:
        """Add a training of a status, with what one leaves on its way there."""
        dataset = dataset or self.studio.datasets.datasets()[0].id
        finished = status is JobStatus.FINISHED
        slug = "mimi" if finished else name.lower().replace(" ", "-") or f"mimi-{status}"
        folder = self.settings.loras / slug
        config = TrainConfig.from_values(
            {
                "pretrained_model_name_or_path": "starter",
                "train_data_dir": str(self.settings.datasets / dataset),
                "kind": "character",
                "trigger_word": "zwmm",
                "output_name": slug,
                "output_dir": str(folder),
                "title": "Mimi" if finished else name or f"Mimi, {status}",
                "max_train_steps": STEPS,
            }
        )
        store = JobStore(self.studio.database)
        job = store.create(config, this_process())
        if status is JobStatus.QUEUED:
            return job
        store.claim(job.id, DEAD if status is JobStatus.INTERRUPTED else this_process())
        begun = time.time() - STEPS
        last = STEPS if finished else 140
        for after, event in enumerate(run_events(folder, last)):
            store.append(job.id, event, begun + after)
        if status is JobStatus.INTERRUPTED:
            store.interrupt_orphans(this_process())
        elif ending := ending_of(status, folder, last):
            store.append(job.id, ending, begun + last + 20)
        return store.get(job.id)

    def begin_drawing(self) -> None:
        """Begin a generation of four pictures, of which one is done, and another one that waits."""
        records = self.studio.gallery.images()
        drawn = threading.Event()

        def draw(emit: Emit, should_stop: ShouldStop) -> GenerationResult:
            one = records[0]
            emit(Started(total_steps=12, phases=("generate",), device="cpu", dtype="float32", images=4))
            emit(Denoised(image=1, images=4, step=12, total_steps=12))
            emit(ImageSaved(path=one.path, seed=one.seed, image=1, images=4))
            emit(Denoised(image=2, images=4, step=5, total_steps=12))
            drawn.set()
            while not should_stop() and not self.go_on.wait(0.05):
                pass
            return GenerationResult(images=(one,))

        queue = self.studio.generation_queue
        queue.submit(draw, title=PROMPTS[0], images=4)
        queue.submit(lambda emit, should_stop: GenerationResult(), title="a lighthouse")
        assert drawn.wait(PATIENCE)

    def begin_reading(self) -> None:
        """Let the next upload stand still, with a part of it read, until it is stopped."""
        datasets = self.studio.datasets
        create = datasets.create

        def held(
            name: str, files: Sequence[Path], emit: Emit = ignore, should_stop: ShouldStop = never_stop
        ) -> DatasetRecord:
            datasets.create = create  # type: ignore[method-assign]
            emit(PhaseAdvanced(phase="ingest", done=7, total=len(files)))
            while not should_stop() and not self.go_on.wait(0.05):
                pass
            return create(name, files, emit, should_stop)

        datasets.create = held  # type: ignore[method-assign]

    @contextmanager
    def open_to_people(self) -> Iterator[str]:
        """The address of the same studio for people who log in, the owner as NAME with PASSWORD."""
        access = Access(username=NAME, password=PASSWORD, people=True)
        opened = open_page(self.studio, host="127.0.0.1", port=free_port(), access=access)
        yield opened.address
        opened.close()

    def end_drawing(self, *, beside: bool = False, error: Exception | None = None) -> None:
        """Let a generation end: with four pictures, the base's own beside each of them, or an error."""
        self.go_on.set()
        records = tuple(self.studio.gallery.images()[:8])

        def draw(emit: Emit, should_stop: ShouldStop) -> GenerationResult:
            if error is not None:
                raise error
            return GenerationResult(images=records[:4], beside=records[4:] if beside else ())

        queue = self.studio.generation_queue
        ended = queue.submit(draw, title=PROMPTS[0], images=4)
        queue.wait(ended.id, PATIENCE)


@contextmanager
def furnished_home(folder: Path) -> Iterator[FurnishedHome]:
    """A page over an empty home in `folder`, served from this process; `furnish` fills it. Serving sets
    GRADIO_TEMP_DIR, which a test has to put back."""
    settings = Settings(home=folder / "home", models=folder / "models")
    with closing(open_studio(settings, start_worker=False)) as studio:
        opened = open_page(studio, host="127.0.0.1", port=free_port(), access=Access())
        home = FurnishedHome(studio=studio, address=opened.address)
        yield home
        home.go_on.set()
        opened.close()


def write_trained_lora(settings: Settings, slug: str, title: str) -> Path:
    """The folder of a LoRA as a training leaves it, with previews, checkpoints and their report."""
    folder = settings.loras / slug
    facts = {"modelspec.title": title, "modelspec.trigger_phrase": "zwmm", "ss_steps": str(STEPS)}
    write_lora(folder / file_name(slug), **facts)
    (folder / "training.json").write_text(json.dumps({"config": {"dataset": {"kind": "character"}}}))
    previews = folder / "previews"
    previews.mkdir()
    rows, steps = [], range(EVERY, STEPS + 1, EVERY)
    for number in range(len(PROMPTS)):
        _copy(INK[number], previews / f"base-{number}.png")
        for step in steps:
            _copy(ALIEN[(step // EVERY + number) % len(ALIEN)], previews / f"step-{step:06}-{number}.png")
    for step in steps:
        write_lora(folder / "checkpoints" / f"{slug}-step{step:08}.safetensors", step / 100)
        pictures = tuple(f"previews/step-{step:06}-{number}.png" for number in range(len(PROMPTS)))
        measured = {"likeness": step / 500, "adherence": 0.9, "leak": step / 800, "validation_loss": 0.1}
        rows.append(CheckpointRow(step=step, pictures=pictures, **measured))
    base = tuple(f"previews/base-{number}.png" for number in range(len(PROMPTS)))
    reason = "Step 150 is recommended: its pictures are the closest to yours; it keeps to the prompts."
    report = CheckpointReport(
        prompts=PROMPTS, base=base, rows=tuple(rows), recommended=150, reason=reason, base_loss=0.12
    )
    write_report(folder, report)
    return folder


def add_image(settings: Settings, picture: Path, seed: int, loras: Sequence[LoraUse] = ()) -> None:
    """Save a picture as the generator does."""
    prompt = PROMPTS[seed % 2] if loras else f"a drawing of a {picture.stem}, black ink on white"
    request = GenerateRequest(
        prompt=prompt, seed=seed, loras=tuple(loras), width=64, height=64, num_inference_steps=12
    )
    with Image.open(picture) as opened:
        save_image(
            opened.convert("RGB"), settings.images, Origin(request=request, prompt=prompt, model="starter")
        )


def run_events(folder: Path, last: int) -> Iterator[Event]:
    """What a run says up to the step `last`; previews are written into `folder` as it does."""
    phases = ("load", "cache", "train", "preview", "save")
    yield Started(total_steps=STEPS, phases=phases, device="cpu", dtype="float32", images=len(ALIEN))
    yield PhaseAdvanced(phase="load", done=1, total=1)
    yield PhaseAdvanced(phase="cache", done=len(ALIEN), total=len(ALIEN))
    for step in range(1, last + 1):
        loss = 0.05 + 0.1 * math.exp(-step / 60) + 0.02 * math.sin(step * step)
        yield StepDone(
            step=step, total_steps=STEPS, loss=loss, average_loss=loss, learning_rate=1e-4, seconds=0.9
        )
        if step % EVERY == 0:
            yield from _saved(folder, step)


def _saved(folder: Path, step: int) -> Iterator[Event]:
    previews = folder / "previews"
    previews.mkdir(parents=True, exist_ok=True)
    for number, prompt in enumerate(PROMPTS):
        base, own = previews / f"base-{number}.png", previews / f"step-{step:06}-{number}.png"
        _copy(INK[number], base)
        _copy(ALIEN[(step // EVERY + number) % len(ALIEN)], own)
        yield PreviewSaved(step=step, path=str(own), base_path=str(base), prompt=prompt, seed=number)
    yield Validated(step=step, loss=0.2 - step / 2000, base_loss=0.2)
    yield CheckpointSaved(step=step, path=str(folder / "checkpoints" / f"step{step}.safetensors"))
    yield StateSaved(step=step, path=str(folder / "states" / f"step{step}.pt"))


def ending_of(status: JobStatus, folder: Path, step: int) -> Event | None:
    """The last word of a run that ends with a status; None for one that goes on."""
    match status:
        case JobStatus.FINISHED:
            return Finished(path=str(folder), steps=step, seconds=190.0)
        case JobStatus.FAILED:
            message = "The loss is not a number any more: the training has diverged."
            return Failed(message=message, hint="Lower the learning rate, and start over.")
        case JobStatus.STOPPED:
            return Stopped(step=step, path=str(folder))
        case JobStatus.PAUSED:
            return Paused(step=step, path=str(folder))
    return None


def _copy(source: Path, target: Path) -> None:
    target.write_bytes(source.read_bytes())
