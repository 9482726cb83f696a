"""A studio's store with its mirror, quick enough for tests: everything is real, only the waits are short."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy
from PIL import Image
from safetensors.numpy import save_file

from lora_studio.config import TrainConfig
from lora_studio.events import Finished, Started
from lora_studio.gallery import Gallery
from lora_studio.jobs.supabase.push import Pace
from lora_studio.jobs.supabase.rows import mirror_id, worker_of
from lora_studio.jobs.supabase.sync import Mirror
from lora_studio.jobs.training_queue import TrainingQueue
from lora_studio.lora.file.lora_files import file_name
from lora_studio.records import JobRecord
from lora_studio.request import GeneratedImage, GenerateRequest, LoraUse
from lora_studio.settings import Settings
from lora_studio.store.database import Database
from lora_studio.store.job_store import JobStore
from lora_studio.store.library import Library
from lora_studio.store.machine_id import machine_id
from lora_studio.store.outbox import Outbox
from tests.support.configs import named_config
from tests.support.ready_database import put_database
from tests.support.stepping_worker import SteppingWorker, step_done
from tests.support.waiting import PATIENCE

step = partial(step_done, average=0.25)
QUICK = Pace(look=0.02, first=0.02, longest=0.1, wishes=0.05, paused=0.1)


@dataclass(frozen=True)
class Home:
    """A machine: a home folder and all that is opened on it. The queue runs nothing before it is started."""

    settings: Settings
    database: Database
    store: JobStore
    library: Library
    gallery: Gallery
    queue: TrainingQueue
    worker: SteppingWorker
    mirror: Mirror

    @property
    def outbox(self) -> Outbox:
        return Outbox(self.database)

    @property
    def machine(self) -> str:
        """Its name over there."""
        return worker_of(machine_id(self.settings.home), self.settings.supabase_email)

    def there(self, kind: str, key: str) -> str:
        """The id of a thing over there."""
        return mirror_id(self.machine, kind, key)

    def config(self, name: str = "cat", steps: int = 10) -> TrainConfig:
        return named_config(name, steps, self.settings.home / "pictures", self.settings.loras)

    def begin(self, name: str = "cat", steps: int = 10, done: int = 0) -> JobRecord:
        """A training that runs and has done so many steps."""
        job = self.store.create(self.config(name, steps))
        self.store.append(
            job.id, Started(total_steps=steps, phases=("train",), device="cpu", dtype="float32", images=2)
        )
        for number in range(1, done + 1):
            self.store.append(job.id, step(number, steps))
        return self.store.get(job.id)

    def finish(self, job: JobRecord, kilobytes: int = 1) -> Path:
        """Its result in the library, and its last event. Returns the file."""
        folder = self.settings.loras / job.config["output"]["output_name"]
        file = write_lora(folder / file_name(folder.name), kilobytes)
        self.gallery.scan()
        self.store.append(job.id, Finished(path=str(folder), steps=job.total_steps, seconds=1.0))
        return file

    def draw(self, prompt: str, *slugs: str, side: int = 8) -> str:
        """A picture in the gallery; its id."""
        path = self.settings.images / f"{prompt}.png"
        request = GenerateRequest(prompt=prompt, seed=7, loras=tuple(LoraUse(slug=slug) for slug in slugs))
        noise = numpy.random.default_rng(side).integers(0, 256, (side, side, 3), numpy.uint8)
        Image.fromarray(noise).save(path)
        facts = {"seed": 7, "width": side, "height": side, "infotext": ""}
        return self.gallery.add_image(GeneratedImage(path=str(path), request=request, **facts)).id


Open = Callable[..., Home]
Rows = Callable[..., list[tuple[Any, ...]]]


@contextmanager
def open_home(
    folder: Path, *, pace: Pace = QUICK, transport: httpx.BaseTransport | None = None, **supabase: Any
) -> Iterator[Home]:
    settings = Settings(home=folder / "home", models=folder / "models", **supabase)
    settings.create_folders()
    put_database(settings.database)
    database = Database(settings.database)
    store, library, worker = JobStore(database), Library(database), SteppingWorker()
    gallery = Gallery(settings, library)
    queue = TrainingQueue(store, worker, on_finished=lambda job: gallery.scan(), beat_seconds=0.05)
    mirror = Mirror(settings, database, queue, gallery, pace=pace, transport=transport)
    try:
        yield Home(settings, database, store, library, gallery, queue, worker, mirror)
    finally:
        queue.close(timeout=PATIENCE)
        mirror.close()
        database.close()


def write_lora(path: Path, kilobytes: int = 1, seed: int = 0) -> Path:
    """A LoRA file of about that size, with Kohya's names."""
    layer = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_k"
    width = max(8, kilobytes * 1024 // 64)
    drawn = numpy.random.default_rng([seed, *path.stem.encode()])
    tensors = {
        f"{layer}.lora_down.weight": drawn.random((8, width), numpy.float32),
        f"{layer}.lora_up.weight": drawn.random((width, 8), numpy.float32),
        f"{layer}.alpha": numpy.float32([4]),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    facts = {"modelspec.title": path.stem.title(), "modelspec.trigger_phrase": "zwx"}
    facts |= {"ss_network_dim": "8", "ss_network_alpha": "4", "ss_base_model_version": "sd_v1"}
    save_file(tensors, path, metadata={**facts, "ss_steps": "10", "ss_sd_model_name": "starter"})
    return path
