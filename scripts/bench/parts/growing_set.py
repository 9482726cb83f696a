"""A training set of so many pictures, from its folder to the order of an epoch and its kept latents."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import Image

from lora_studio.config_groups import DatasetGroup
from lora_studio.data.buckets import bucketing_for
from lora_studio.data.captions import tag_frequency
from lora_studio.data.latent_cache import PlacedPicture
from lora_studio.data.latent_files import LatentFiles
from lora_studio.data.loader import Loader
from lora_studio.data.pixels.picture_pixels import look_at
from lora_studio.data.training_set.folders import read_folder
from lora_studio.files import sha256
from scripts.bench.parts.processor_seconds import least, timed

DRAWN = 10
"""Pictures that are drawn; the others are copies of these."""


def measure_set(folder: Path, size: int) -> Iterator[tuple[str, float]]:
    pictures = folder / "pictures"
    write_pictures(pictures, size)
    settings = DatasetGroup.model_validate({"train_data_dir": str(pictures), "resolution": 64})
    found, spent = timed(lambda: read_folder(settings))
    yield "read the folder", spent
    looks, spent = timed(lambda: [look_at(one.path) for one in found.pictures])
    yield "read their heads", spent
    hashes, spent = timed(lambda: [sha256(one.path) for one in found.pictures])
    yield "hash", spent
    bucketing = bucketing_for(settings, 8)

    def place() -> tuple[PlacedPicture, ...]:
        return tuple(
            PlacedPicture(index=index, picture=one, placement=bucketing.place(look.size), content=content)
            for index, (one, look, content) in enumerate(zip(found.pictures, looks, hashes, strict=True))
        )

    placed = place()
    yield "place in buckets", least(place)
    loader = Loader(pictures=placed, batch_size=4, accumulate=1, seed=1)
    yield "steps and order of an epoch", least(lambda: (loader.steps(100), [*loader.epoch(1)]))
    tags = [(one.folder, one.caption) for one in found.pictures]
    yield "count tags", least(lambda: tag_frequency(tags))
    yield from measure_cache(folder, placed)


def write_pictures(folder: Path, size: int) -> None:
    """Write so many tiny pictures with captions."""
    folder.mkdir()
    for number in range(size):
        path = folder / f"{number:05}.png"
        if number < DRAWN:
            Image.new("RGB", (64 + 8 * number, 64), (20 * number, 90, 200)).save(path)
        else:
            shutil.copyfile(folder / f"{number % DRAWN:05}.png", path)
        path.with_suffix(".txt").write_text(f"a disc, number {number}, red", encoding="utf-8")


def measure_cache(folder: Path, placed: Sequence[PlacedPicture]) -> Iterator[tuple[str, float]]:
    import torch

    files = LatentFiles(folder=folder / "latents", encoder="bench")
    moments = torch.zeros(4, 8, 8), torch.ones(4, 8, 8)
    paths = [files.path_of(one.content, one.index) for one in placed]
    yield "write latents", timed(lambda: [files.write(path, moments) for path in paths])[1]
    yield "read latents", least(lambda: [files.read(path) for path in paths])
    yield "make room among latents", least(files.make_room)
