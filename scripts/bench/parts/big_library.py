"""A home with many LoRAs, pictures and trainings, as files and rows of small size."""

from __future__ import annotations

import time
from contextlib import closing

from lora_studio.config import TrainConfig
from lora_studio.events import Finished, Started, StepDone
from lora_studio.request import LoraUse
from lora_studio.settings import Settings
from lora_studio.store.database import Database
from lora_studio.store.job_store import JobStore
from tests.support.library_entries import draw, write_lora

SUBJECTS = (
    "ink fox",
    "paper boat",
    "red house",
    "old tram",
    "glass bird",
    "wool cat",
    "tin robot",
    "blue door",
)
PLACES = ("in the snow", "by the sea", "at night", "in a garden", "on a roof")
STEPS = 10


def make_library(settings: Settings, *, loras: int, images: int, trainings: int) -> None:
    """Write a library that no scan has read yet. Names and prompts are made of a few words, so that a search
    finds a part of it."""
    settings.create_folders()
    slugs = [f"{subject(number).replace(' ', '-')}-{number:04}" for number in range(loras)]
    for number, slug in enumerate(slugs):
        title = {"modelspec.title": f"{subject(number).title()} {number}"}
        write_lora(settings.loras / slug / f"{slug}.safetensors", 1 + number / 1000, **title)
    for number in range(images):
        uses = (LoraUse(slug=slugs[number % loras]),) if loras and number % 2 else ()
        prompt = f"{subject(number)} {PLACES[number % len(PLACES)]}, number {number}"
        draw(settings, prompt, number, uses)
    with closing(Database(settings.database)) as database:
        store = JobStore(database)
        for number in range(trainings):
            _train(store, settings, number)


def subject(number: int) -> str:
    return SUBJECTS[number % len(SUBJECTS)]


def _train(store: JobStore, settings: Settings, number: int) -> None:
    """Rows of a training that has ended."""
    name = f"training-{number:04}"
    folder = settings.loras / name
    values = {"pretrained_model_name_or_path": "starter", "train_data_dir": str(settings.datasets / name)}
    output = {"output_name": name, "output_dir": str(folder), "max_train_steps": STEPS}
    job = store.create(TrainConfig.from_values({**values, **output}))
    store.claim(job.id, "bench")
    store.append(job.id, Started(total_steps=STEPS, phases=("train",), device="cpu", dtype="fp32"))
    for step in range(1, STEPS + 1):
        done = StepDone(
            step=step, total_steps=STEPS, loss=1 / step, average_loss=0.5, learning_rate=1e-4, seconds=0.1
        )
        store.append(job.id, done, time.time())
    store.append(job.id, Finished(path=str(folder), steps=STEPS, seconds=1.0))
