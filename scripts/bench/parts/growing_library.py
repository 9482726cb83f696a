"""A home with so many LoRAs, drawn pictures or trainings, or with a training of so many steps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from lora_studio.settings import Settings
from lora_studio.store.job_lists import ended_jobs
from lora_studio.store.job_store import JobStore
from lora_studio.studio import Studio, open_studio
from scripts.bench.parts.big_library import make_library
from scripts.bench.parts.page_tick import TOTAL, measure_tick, step_done, training_config
from scripts.bench.parts.processor_seconds import least, timed

Measured = Iterator[tuple[str, float]]


def measure_loras(folder: Path, size: int) -> Measured:
    with closing(filled(folder, loras=size)) as studio:
        gallery = studio.gallery
        yield "first scan", timed(gallery.scan)[1]
        yield "scan with nothing new", least(gallery.scan)
        yield "list of all", least(gallery.loras)
        yield "names of all", least(gallery.listed_loras)
        yield "kinds, bases and tags", least(gallery.lora_choices)
        yield "count of a search", least(lambda: gallery.count_loras("fox"))
        yield "page of the list", least(lambda: gallery.loras(limit=60))
        yield from measure_tick(studio)


def measure_drawn(folder: Path, size: int) -> Measured:
    with closing(filled(folder, images=size)) as studio:
        gallery = studio.gallery
        yield "first scan", timed(gallery.scan)[1]
        yield "scan with nothing new", least(gallery.scan)
        gallery.images()  # makes the thumbnails
        yield "count", least(gallery.count_images)
        yield "page of the list", least(gallery.images)
        yield "page of a search", least(lambda: gallery.images("fox"))
        yield from measure_tick(studio)


def measure_history(folder: Path, size: int) -> Measured:
    with closing(filled(folder, trainings=size)) as studio:
        yield "newest 50", least(studio.jobs.jobs)
        yield "all", least(lambda: studio.jobs.jobs(limit=size))
        yield "list on Train", least(lambda: ended_jobs(studio.database, limit=30))
        yield "search", least(lambda: ended_jobs(studio.database, "training-0000", limit=30))
        yield from measure_tick(studio)


def measure_log(folder: Path, size: int) -> Measured:
    """The events of a training in the store, and the page while it goes on."""
    with closing(filled(folder)) as studio:
        jobs, total = JobStore(studio.database), max(TOTAL, 2 * size)
        job = jobs.create(training_config(studio, total))
        steps = [step_done(step, total) for step in range(1, size + 1)]
        yield "append", timed(lambda: [jobs.append(job.id, step) for step in steps])[1]
        yield "read all", least(lambda: jobs.events(job.id))
        yield "curve of the losses", least(lambda: jobs.losses(job.id))
        yield from measure_tick(studio, job)


def filled(folder: Path, *, loras: int = 0, images: int = 0, trainings: int = 0) -> Studio:
    """A studio over a new home that holds so much."""
    settings = replace(Settings.from_environment(), home=folder, models=folder / "models")
    make_library(settings, loras=loras, images=images, trainings=trainings)
    return open_studio(settings, start_worker=False)
