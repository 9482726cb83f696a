"""Cost against size: python -m scripts.bench.growth [--most 10000] [--json]

Seconds of the processor for 10, 100, 1,000 ... pictures of a training set, LoRAs, drawn pictures, trainings
of the history and lines of a log, and the exponent between the two largest numbers: 1 is linear. What is
above 1.1 is marked. Pictures and LoRAs are tiny: it is about our own work on each, not about decoding.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image

from lora_studio.config import TrainConfig
from lora_studio.config_groups import DatasetGroup
from lora_studio.data.buckets import bucketing_for
from lora_studio.data.captions import tag_frequency
from lora_studio.data.latent_cache import PlacedPicture
from lora_studio.data.latent_files import LatentFiles
from lora_studio.data.loader import Loader
from lora_studio.data.pixels.picture_pixels import look_at
from lora_studio.data.training_set.folders import read_folder
from lora_studio.events import StepDone
from lora_studio.files import sha256
from lora_studio.gallery import Gallery
from lora_studio.settings import Settings
from lora_studio.store.database import Database
from lora_studio.store.job_store import JobStore
from lora_studio.store.library import Library
from scripts.bench.parts.big_library import make_library

STEEP, LEAST = 1.1, 0.02
"""An exponent above this is worse than linear; shorter times say nothing about one."""
Measured = tuple[str, float]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--most", type=int, default=1000, help="the largest number (default: 1000)")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    sizes = [10**power for power in range(1, round(math.log10(max(options.most, 100))) + 1)]
    seconds: dict[str, dict[int, float]] = {}
    for size in sizes:
        with tempfile.TemporaryDirectory(prefix="growth-") as folder:
            for part in (measure_set, measure_library, measure_log):
                for what, spent in part(Path(folder), size):
                    seconds.setdefault(what, {})[size] = round(spent, 4)
    found = {what: {"seconds": spent, "exponent": exponent(spent)} for what, spent in seconds.items()}
    if options.json:
        print(json.dumps(found, indent=2))
        return 0
    print(
        f"| what | {' | '.join(f'{size:,}' for size in sizes)} | exponent |\n|{' --- |' * (len(sizes) + 2)}"
    )
    for what, spent in seconds.items():
        fitted = exponent(spent)
        shown = "" if fitted is None else f"{fitted:.2f}{' STEEP' if fitted > STEEP else ''}"
        print(f"| {what} | {' | '.join(f'{spent[size]:.3f}' for size in sizes)} | {shown} |")
    return 0


def exponent(seconds: dict[int, float]) -> float | None:
    """The slope of the logarithms between the two largest sizes; None where the times are too short."""
    (small, short), (large, long) = sorted(seconds.items())[-2:]
    if long < LEAST:
        return None
    return math.log(long / max(short, LEAST / 10)) / math.log(large / small)


def measure_set(folder: Path, size: int) -> Iterator[Measured]:
    """A set of so many pictures, from its folder to the order of an epoch."""
    pictures = folder / "pictures"
    pictures.mkdir()
    for number in range(size):
        if number < 10:
            Image.new("RGB", (64 + 8 * number, 64), (20 * number, 90, 200)).save(
                pictures / f"{number:05}.png"
            )
        else:
            shutil.copyfile(pictures / f"{number % 10:05}.png", pictures / f"{number:05}.png")
        (pictures / f"{number:05}.txt").write_text(f"a disc, number {number}, red", encoding="utf-8")
    settings = DatasetGroup.model_validate({"train_data_dir": str(pictures), "resolution": 64})
    found, spent = timed(lambda: read_folder(settings))
    yield "pictures: read the folder", spent
    looks, spent = timed(lambda: [look_at(one.path) for one in found.pictures])
    yield "pictures: read their heads", spent
    hashes, spent = timed(lambda: [sha256(one.path) for one in found.pictures])
    yield "pictures: hash", spent
    bucketing = bucketing_for(settings, 8)
    placed, spent = timed(
        lambda: tuple(
            PlacedPicture(index=index, picture=one, placement=bucketing.place(look.size), content=content)
            for index, (one, look, content) in enumerate(zip(found.pictures, looks, hashes, strict=True))
        )
    )
    yield "pictures: place in buckets", spent
    loader = Loader(pictures=placed, batch_size=4, accumulate=1, seed=1)
    yield "pictures: steps and order of an epoch", timed(lambda: (loader.steps(100), [*loader.epoch(1)]))[1]
    tags = [(one.folder, one.caption) for one in found.pictures]
    yield "pictures: count tags", timed(lambda: tag_frequency(tags))[1]
    yield from measure_cache(folder, placed)


def measure_cache(folder: Path, placed: Sequence[PlacedPicture]) -> Iterator[Measured]:
    import torch

    files = LatentFiles(folder=folder / "latents", encoder="bench")
    moments = torch.zeros(4, 8, 8), torch.ones(4, 8, 8)
    paths = [files.path_of(one.content, one.index) for one in placed]
    yield "pictures: write latents", timed(lambda: [files.write(path, moments) for path in paths])[1]
    yield "pictures: read latents", timed(lambda: [files.read(path) for path in paths])[1]
    yield "pictures: make room among latents", timed(files.make_room)[1]


def measure_library(folder: Path, size: int) -> Iterator[Measured]:
    """A library of so many LoRAs, drawn pictures and trainings."""
    home = folder / "home"
    settings = replace(Settings.from_environment(), home=home, models=home / "models")
    _, spent = timed(lambda: make_library(settings, loras=size, images=size, trainings=size))
    yield "library: written by this bench", spent
    with closing(Database(settings.database)) as database:
        gallery, jobs = Gallery(settings, Library(database)), JobStore(database)
        yield "library: first scan", timed(gallery.scan)[1]
        yield "library: scan with nothing new", timed(gallery.scan)[1]
        yield "LoRAs: a page of the list", timed(gallery.loras)[1]
        yield "LoRAs: all names", timed(gallery.lora_choices)[1]
        yield "LoRAs: search", timed(lambda: gallery.count_loras("fox"))[1]
        yield "drawn pictures: a page", timed(gallery.images)[1]
        yield "drawn pictures: search", timed(lambda: gallery.images("fox"))[1]
        yield "history: newest 50", timed(jobs.jobs)[1]
        yield "history: all", timed(lambda: jobs.jobs(limit=size))[1]


def measure_log(folder: Path, size: int) -> Iterator[Measured]:
    """A training of so many steps: its events in the store."""
    with closing(Database(folder / "log.db")) as database:
        jobs = JobStore(database)
        values = {
            "pretrained_model_name_or_path": "starter",
            "train_data_dir": "x",
            "output_name": "x",
            "output_dir": str(folder / "x"),
        }
        job = jobs.create(TrainConfig.from_values(values))
        facts = {"total_steps": size, "loss": 0.5, "average_loss": 0.5, "learning_rate": 1e-4, "seconds": 0.1}
        steps = [StepDone(step=step, **facts) for step in range(1, size + 1)]
        yield "log: append lines", timed(lambda: [jobs.append(job.id, step) for step in steps])[1]
        yield "log: read all", timed(lambda: jobs.events(job.id))[1]
        yield "log: the curve of losses", timed(lambda: jobs.losses(job.id))[1]


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """The answer, and the seconds of the processor for it. Garbage is collected before: a collection looks at
    all that was made earlier, and would be counted to whatever it falls into."""
    gc.collect()
    gc.disable()
    try:
        begun = time.process_time()
        return call(), time.process_time() - begun
    finally:
        gc.enable()


if __name__ == "__main__":
    sys.exit(main())
