"""Checks of a set as a whole: how many pictures, of which shapes, and what all of them share."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy

from lora_studio.data.buckets import Placement, Size
from lora_studio.data.checks.checked_set import CheckedPicture, CheckedSet
from lora_studio.data.checks.dataset_findings import DatasetCheck, DatasetFinding, Severity, fix_of
from lora_studio.data.checks.edge_measures import GRID, read_grid
from lora_studio.data.checks.perceptual_hash import BITS, as_numbers, distances
from lora_studio.data.checks.picture_facts import PictureFacts
from lora_studio.data.checks.picture_measures import SMALL
from lora_studio.data.edits.picture_edits import CropPicture
from lora_studio.data.ingestion.ingest import FEW_PICTURES
from lora_studio.formatting import counted

GOOD_NUMBER, MANY_PICTURES = 10, 200
ENOUGH, MOST_OF = 8, 0.8
SAME_FRAME = 14.0
SAME_COMPOSITION = 18
LEAST_KEPT = 0.85
ALWAYS_EDGE, LEAST_PLACES, MOST_PLACES, BUSY = 0.9, 6, 0.08, 0.6


def _number_of_pictures(checked: CheckedSet) -> Iterator[DatasetFinding]:
    count = len(checked.measured)
    if count < FEW_PICTURES:
        reason = f"{counted(count, 'picture')} only: the LoRA learns them by heart, background and all."
        yield DatasetFinding(check="number", pictures=(), reason=reason, severity="serious")
    elif count < GOOD_NUMBER:
        reason = f"{count} pictures are few: {GOOD_NUMBER} to 30 different ones teach more."
        yield DatasetFinding(check="number", pictures=(), reason=reason, severity="warning")
    elif count > MANY_PICTURES and checked.options.kind != "style":
        reason = f"{count} pictures of one subject: the best 30 teach as much, and are sooner looked through."
        yield DatasetFinding(check="number", pictures=(), reason=reason, severity="note")


def _lone_buckets(checked: CheckedSet) -> Iterator[DatasetFinding]:
    batch = checked.options.batch_size
    buckets: dict[Size, list[tuple[CheckedPicture, Placement]]] = {}
    for picture, placement in checked.placed:
        buckets.setdefault(placement.bucket, []).append((picture, placement))
    if batch < 2 or len(buckets) < 2:
        return
    full = [size for size, members in buckets.items() if len(members) >= batch]
    for size, members in sorted(buckets.items()):
        if len(members) >= batch:
            continue
        for picture, placement in members:
            edit = _crop_to_nearest(picture, placement, full)
            few = "alone" if len(members) == 1 else f"with {len(members) - 1} more"
            reason = (
                f"{picture.shown} is {few} in the bucket {size[0]} × {size[1]}: a step with it has "
                f"{counted(len(members), 'picture')} instead of {batch}, and each weighs more."
            )
            yield DatasetFinding(
                check="lone_bucket",
                pictures=(picture.name,),
                reason=reason,
                severity="note",
                fix=fix_of(picture, "Crop it to the next bucket", edit) if edit else None,
            )


def _one_background(checked: CheckedSet) -> Iterator[DatasetFinding]:
    """Pictures whose outer frame, a twelfth at each side, looks like that of most others."""
    members = checked.measured
    if len(members) < ENOUGH:
        return
    frames = numpy.stack([_frame(facts) for _, facts in members])
    near = numpy.abs(frames - numpy.median(frames, axis=0)).mean(axis=1) <= SAME_FRAME
    if near.mean() >= MOST_OF:
        names = tuple(picture.name for (picture, _), is_near in zip(members, near, strict=True) if is_near)
        reason = f"{len(names)} of {len(members)} pictures have the same background: the LoRA learns it, too."
        severity: Severity = "note" if checked.options.kind == "style" else "warning"
        yield DatasetFinding(check="one_background", pictures=names, reason=reason, severity=severity)


def _one_composition(checked: CheckedSet) -> Iterator[DatasetFinding]:
    """Pictures whose perceptual hash is nearer to one of them than chance explains."""
    members = checked.measured
    if len(members) < ENOUGH:
        return
    hashes = as_numbers([facts.hash for _, facts in members[:1000]])
    near = [distances(hashes, one) <= SAME_COMPOSITION for one in hashes]
    most = max(near, key=lambda places: int(places.sum()))
    if most.mean() >= MOST_OF:
        names = tuple(picture.name for (picture, _), is_near in zip(members, most, strict=False) if is_near)
        reason = (
            f"{len(names)} of {len(members)} pictures are laid out alike, as with one pose or one angle: the "
            "LoRA will draw no other."
        )
        yield DatasetFinding(check="one_composition", pictures=names, reason=reason, severity="warning")


def _same_mark(checked: CheckedSet) -> Iterator[DatasetFinding]:
    """Edges that stand at the same few places of nearly all pictures, as a watermark or a date does."""
    members = [(picture, facts) for picture, facts in checked.measured if facts.edges]
    if len(members) < ENOUGH:
        return
    grids = numpy.stack([read_grid(facts.edges) for _, facts in members])
    often = grids.mean(axis=0)
    always = often >= ALWAYS_EDGE
    if not LEAST_PLACES <= always.sum() <= MOST_PLACES * GRID * GRID or often[~always].mean() > BUSY:
        return
    rows, columns = numpy.nonzero(always)
    if max(numpy.ptp(rows), numpy.ptp(columns)) > GRID / 2 or not _is_dense(rows, columns):
        return  # scattered: chance, or the outline of what all show
    high = _third(float(rows.mean()), ("top", "middle", "bottom"))
    wide = _third(float(columns.mean()), ("left", "centre", "right"))
    names = tuple(
        picture.name
        for (picture, _), grid in zip(members, grids, strict=True)
        if grid[always].mean() >= ALWAYS_EDGE
    )
    reason = f"{len(names)} of {len(members)} pictures have a mark at the same place, {high} {wide}."
    yield DatasetFinding(check="same_mark", pictures=names, reason=reason, severity="serious")


COMPOSITION_CHECKS = (
    DatasetCheck(
        id="number",
        title="Number of pictures",
        threshold=f"Below {FEW_PICTURES} it is serious, below {GOOD_NUMBER} a warning, above {MANY_PICTURES} "
        "a note, unless they teach a style.",
        advice="10 to 30 different pictures are enough for any kind.",
        find=_number_of_pictures,
    ),
    DatasetCheck(
        id="lone_bucket",
        title="Alone in its bucket",
        threshold="Fewer pictures in a bucket than the batch size, where there are several buckets. A batch "
        "has pictures of one bucket only.",
        advice="Crop them to a shape that others have, or train with a batch size of 1.",
        find=_lone_buckets,
    ),
    DatasetCheck(
        id="one_background",
        title="One background everywhere",
        threshold=f"The outer twelfth of {MOST_OF:.0%} of {ENOUGH} pictures or more differs from the set's "
        f"median by at most {SAME_FRAME:.0f} of 255 levels on average. A note for styles, whose paper it is.",
        advice="Add pictures in other places, or name the background in the captions.",
        find=_one_background,
    ),
    DatasetCheck(
        id="one_composition",
        title="One layout everywhere",
        threshold=f"Perceptual hashes of {MOST_OF:.0%} of {ENOUGH} pictures or more are within "
        f"{SAME_COMPOSITION} of {BITS} bits of one of them; pictures that have nothing in common differ in "
        "32 on average.",
        advice="Add pictures from other sides, of other poses, nearer and farther.",
        find=_one_composition,
    ),
    DatasetCheck(
        id="same_mark",
        title="The same mark in all",
        threshold=f"Of {GRID} x {GRID} places, {LEAST_PLACES} or more that lie together have edges in "
        f"{ALWAYS_EDGE:.0%} of {ENOUGH} pictures or more. Text in a single picture is not looked for.",
        advice="Crop watermarks, dates and logos off: nothing is learned sooner.",
        find=_same_mark,
    ),
)


def _frame(facts: PictureFacts) -> numpy.ndarray:
    """The outer places of the small picture, [n, 3] as one row."""
    small = numpy.frombuffer(bytes.fromhex(facts.small), numpy.uint8).astype(numpy.float32)
    small = small.reshape(SMALL, SMALL, 3)
    sides = [small[0], small[-1], small[1:-1, 0], small[1:-1, -1]]
    return numpy.concatenate(sides).ravel()


def _crop_to_nearest(picture: CheckedPicture, placement: Placement, full: list[Size]) -> CropPicture | None:
    """The crop from the middle to the shape of a bucket that has enough pictures, if it keeps LEAST_KEPT."""
    wide, high = placement.original
    if not full:
        return None
    shape = min(full, key=lambda size: abs(math.log(size[0] / size[1] * high / wide)))
    width = min(wide, round(high * shape[0] / shape[1]))
    height = min(high, round(wide * shape[1] / shape[0]))
    if width * height < LEAST_KEPT * wide * high:
        return None
    left, top = (wide - width) // 2, (high - height) // 2
    return CropPicture(picture.name, left, top, left + width, top + height)


def _is_dense(rows: numpy.ndarray, columns: numpy.ndarray) -> bool:
    """Whether places fill the box around them to a fifth at least."""
    box = (numpy.ptp(rows) + 1) * (numpy.ptp(columns) + 1)
    return len(rows) >= box / 5


def _third(place: float, names: tuple[str, str, str]) -> str:
    return names[min(2, int(3 * place / GRID))]
