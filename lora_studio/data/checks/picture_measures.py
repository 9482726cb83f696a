"""The measuring of pictures: each file is read once, decoded no larger than needed, its facts are kept."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy
from PIL import Image, ImageChops

from lora_studio.data.checks.edge_measures import edge_grid, edge_sharpness, slopes, strip_shares
from lora_studio.data.checks.frame_borders import Box, find_borders
from lora_studio.data.checks.perceptual_hash import perceptual_hash
from lora_studio.data.checks.picture_facts import FactsCache, PictureFacts
from lora_studio.data.pixels.decoding import (
    MOST_FILE_BYTES,
    decode,
    opacity,
    opened,
    orientation,
    sum_of,
    turned_size,
)
from lora_studio.errors import DatasetError
from lora_studio.events import Emit, PhaseAdvanced, ShouldStop, ignore, never_stop
from lora_studio.files import read_errors

PHASE = "measuring"
STOPPED = "Looking at the pictures was stopped."
MEASURED_SIDE = 1024
"""Longest side in pixels at which pictures are measured; smaller ones are not enlarged."""
SMALL = 12
WORKERS = 4
ALMOST_BLACK, ALMOST_WHITE, MASK_SHARE, MASK_EDGES, LEAST_PART = 16, 239, 0.97, 0.03, 0.03
GREY_WITHIN, STEEP = 3, 64.0

Measured = PictureFacts | DatasetError


def measure_pictures(
    paths: Sequence[Path],
    cache: FactsCache,
    emit: Emit = ignore,
    should_stop: ShouldStop = never_stop,
) -> list[Measured]:
    """The facts of each picture, or why it can't be read, in order. Emits PhaseAdvanced in pictures. Works in
    as many threads as there are processors, WORKERS at most: decoding holds no interpreter. Raises
    DatasetError when stopped."""
    workers = max(1, min(WORKERS, os.cpu_count() or 1))
    found: list[Measured] = []
    with ThreadPoolExecutor(workers, thread_name_prefix="measure") as pool:
        try:
            for facts in pool.map(lambda path: _measured(path, cache), paths):
                if should_stop():
                    raise DatasetError(STOPPED)
                found.append(facts)
                emit(PhaseAdvanced(phase=PHASE, done=len(found), total=len(paths)))
        finally:
            pool.shutdown(cancel_futures=True)
    cache.tidy()
    return found


def measure_picture(path: Path, content: bytes) -> PictureFacts:
    """The facts of a picture file of this content. Raises DatasetError."""
    with opened(path.name, content) as image:
        size, turned = turned_size(image), orientation(image)
        if image.format in {"JPEG", "MPO"}:
            image.draft(None, (MEASURED_SIDE, MEASURED_SIDE))
        clear = _transparent(opacity(path.name, image))
        plain = decode(path.name, image)
    picture = plain.image
    if max(picture.size) > MEASURED_SIDE:
        picture.thumbnail((MEASURED_SIDE, MEASURED_SIDE), Image.Resampling.BOX, reducing_gap=None)
    pixels = numpy.asarray(picture)
    grey = numpy.asarray(picture.convert("L"), dtype=numpy.float32)
    fine = slopes(grey)
    columns, rows = strip_shares(fine)
    inner, border = find_borders(pixels)
    return PictureFacts(
        content=hashlib.sha256(content).hexdigest(),
        pixels=sum_of(picture),
        size=size,
        orientation=turned,
        colours=plain.colours,
        transparent=clear,
        sharpness=edge_sharpness(grey, fine),
        inner=_enlarged(inner, picture.size, size),
        border=border,
        hash=perceptual_hash(picture),
        small=picture.resize((SMALL, SMALL), Image.Resampling.BOX).tobytes().hex(),
        columns=columns,
        rows=rows,
        edges=edge_grid(fine),
        is_mask_like=_is_mask_like(picture, grey, fine),
    )


def _measured(path: Path, cache: FactsCache) -> Measured:
    try:
        with read_errors(path, DatasetError):
            file = path.stat()
            if file.st_size > MOST_FILE_BYTES:
                raise DatasetError(f"{path.name} is too large a file for a picture.", path=path)
            if (kept := cache.known(path, file)) is not None:
                return kept
            content = path.read_bytes()
        facts = cache.get(hashlib.sha256(content).hexdigest())
        if facts is None:
            facts = measure_picture(path, content)
            cache.put(facts)
        cache.learn(path, file, facts.content)
        return facts
    except DatasetError as error:
        return error


def _transparent(alpha: Image.Image | None) -> float:
    if alpha is None:
        return 0.0
    counts = alpha.histogram()
    return round(sum(counts[:128]) / sum(counts), 4)


def _enlarged(box: Box, measured: tuple[int, int], size: tuple[int, int]) -> Box:
    """A measured box in pixels of the whole picture, rounded inwards where it doesn't end at a side."""
    shares = [edge / measured[axis % 2] * size[axis % 2] for axis, edge in enumerate(box)]
    left, top = (-(-share // 1) for share in shares[:2])
    right, bottom = (share // 1 for share in shares[2:])
    return int(left), int(top), int(right), int(bottom)


def _is_mask_like(picture: Image.Image, grey: numpy.ndarray, fine: numpy.ndarray) -> bool:
    """Whether a picture is black and white in a few areas: a drawing in ink has far more edges."""
    red, green, blue = picture.split()
    apart = [ImageChops.difference(red, other) for other in (green, blue)]
    if any(sum(image.histogram()[GREY_WITHIN + 1 :]) for image in apart):
        return False
    black, white = float((grey <= ALMOST_BLACK).mean()), float((grey >= ALMOST_WHITE).mean())
    is_split = min(black, white) >= LEAST_PART and black + white >= MASK_SHARE
    return is_split and float((fine > STEEP).mean()) <= MASK_EDGES
