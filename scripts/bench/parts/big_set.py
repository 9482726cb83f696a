"""A set of many pictures put into a home, as files and a row: an upload takes 500 at most."""

from __future__ import annotations

import json
import time
from contextlib import closing
from dataclasses import asdict

from lora_studio.records import DatasetRecord
from lora_studio.settings import Settings
from lora_studio.store.database import Database
from lora_studio.store.library import Library
from tests.support.drawn_scenes import scene
from tests.support.spoiled_pictures import encoded

DRAWN = 24
"""Pictures that are drawn; the others are these with other pixels in a corner."""


def make_set(
    settings: Settings, count: int, size: tuple[int, int], *, name: str = "0123456789ab"
) -> DatasetRecord:
    """Write a set of PNGs, every second one with a caption, and its row. Returns it."""
    settings.create_folders()
    folder = settings.datasets / name
    folder.mkdir()
    drawn = [scene(number, size) for number in range(min(count, DRAWN))]
    for number in range(count):
        image = drawn[number % len(drawn)]
        image.putpixel((number % size[0], 5), (number % 256, number // 256, 7))
        (folder / f"{number:05}.png").write_bytes(encoded(image, "PNG", compress_type=3))
        if number % 2:
            (folder / f"{number:05}.txt").write_text(f"zwx picture number {number}", "utf-8")
    record = DatasetRecord(
        id=name, name=name, path=str(folder), images=count, captions=count // 2, created_at=time.time()
    )
    (folder / "dataset.json").write_text(json.dumps(asdict(record)), "utf-8")
    with closing(Database(settings.database)) as database:
        Library(database).put_dataset(record)
    return record
