"""Aspect-ratio buckets as Kohya's trainer computes them: pictures of similar shape share a size and can
share a batch.

Sizes are (width, height) in pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lora_studio.config_groups import DatasetGroup

Size = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Scaling of a picture of size `original` to `resized`, and a cut of size `bucket`, from the middle or
    with its upper left corner at `offset`. `aspect_error` is the bucket's width / height less the picture's.
    `note` says how a picture is treated that Kohya's rule would break on."""

    bucket: Size
    resized: Size
    aspect_error: float
    original: Size = (0, 0)
    offset: Size | None = None
    note: str = ""

    @property
    def corner(self) -> Size:
        """Upper left corner of the cut in the scaled picture."""
        if self.offset is not None:
            return self.offset
        return (self.resized[0] - self.bucket[0]) // 2, (self.resized[1] - self.bucket[1]) // 2


@dataclass(frozen=True, kw_only=True)
class Bucketing:
    """The rule that places the pictures of one dataset. `buckets` is empty when nothing may be enlarged: then
    each picture gets the largest size that its own shape allows."""

    area: int
    step: int
    buckets: tuple[Size, ...]
    notes: tuple[str, ...] = ()

    def place(self, size: Size) -> Placement:
        """The placement of a picture of this size."""
        if self.buckets:
            return _place_in(self.buckets, size)
        return _place_unenlarged(size, area=self.area, step=self.step)


def bucketing_for(data: DatasetGroup, size_step: int) -> Bucketing:
    """The buckets of a run. The base model needs sides in multiples of `size_step` pixels."""
    width, height = resolution_of(data)
    if not data.enable_bucket:
        size = (
            max(size_step, width // size_step * size_step),
            max(size_step, height // size_step * size_step),
        )
        return Bucketing(area=size[0] * size[1], step=size_step, buckets=(size,))
    step = math.lcm(data.bucket_reso_steps, size_step)
    notes = []
    if step != data.bucket_reso_steps:
        notes.append(
            f"bucket_reso_steps {data.bucket_reso_steps} becomes {step}: the base model needs multiples of "
            f"{size_step}."
        )
    step = min(step, max(size_step, min(width, height) // size_step * size_step))
    if data.bucket_no_upscale:
        return Bucketing(area=width * height, step=step, buckets=(), notes=tuple(notes))
    least, most = min(data.min_bucket_reso, width, height), max(data.max_bucket_reso, width, height)
    if least != data.min_bucket_reso:
        notes.append(
            f"min_bucket_reso {data.min_bucket_reso} becomes {least}: it can't be above the resolution."
        )
    if most != data.max_bucket_reso:
        notes.append(
            f"max_bucket_reso {data.max_bucket_reso} becomes {most}: it can't be below the resolution."
        )
    buckets = make_buckets((width, height), least=least, most=most, step=step)
    if len(buckets) == 1 and least < most:
        notes.append(
            f"All pictures are cut to {buckets[0][0]} x {buckets[0][1]}: min_bucket_reso {least} leaves no "
            "other bucket at this resolution."
        )
    return Bucketing(area=width * height, step=step, buckets=tuple(buckets), notes=tuple(notes))


def resolution_of(data: DatasetGroup) -> Size:
    """Width and height of the training area."""
    return data.resolution, data.resolution_height or data.resolution


def make_buckets(resolution: Size, *, least: int, most: int, step: int) -> list[Size]:
    """Sorted sizes of about the resolution's area with sides in multiples of `step`, `least` to `most`."""
    area = resolution[0] * resolution[1]
    least, most = max(step, least // step * step), -(-most // step) * step
    square = max(step, math.isqrt(area) // step * step)
    found = {(square, square)}
    for width in range(least, most + 1, step):
        height = min(most, area // width // step * step)
        if height >= least:
            found |= {(width, height), (height, width)}
    return sorted(found)


def _place_in(buckets: Sequence[Size], size: Size) -> Placement:
    width, height = size
    shape = width / height
    bucket = size if size in buckets else min(buckets, key=lambda b: abs(b[0] / b[1] - shape))
    # The picture covers the bucket: equal heights if it is the wider of the two, else equal widths.
    scale = bucket[1] / height if shape > bucket[0] / bucket[1] else bucket[0] / width
    resized = (max(bucket[0], int(width * scale + 0.5)), max(bucket[1], int(height * scale + 0.5)))
    return Placement(
        bucket=bucket, resized=resized, aspect_error=bucket[0] / bucket[1] - shape, original=size
    )


def _place_unenlarged(size: Size, *, area: int, step: int) -> Placement:
    """Kohya's placement without enlarging, mended where it gives very small and very long pictures a side of
    0 or divides by it: a side shorter than one step is enlarged to a step, and a longer one than fits is
    cut."""
    width, height = size
    shape = width / height
    note = ""
    resized = _shrunk(shape, area=area, step=step) if width * height > area else size
    if min(resized) < step:
        scale = step / min(resized)
        resized = (max(step, int(resized[0] * scale + 0.5)), max(step, int(resized[1] * scale + 0.5)))
        note = f"it is scaled to {resized[0]} x {resized[1]}, because no side can be below {step}"
    bucket = (resized[0] // step * step, resized[1] // step * step)
    longest = max(step, area // step // step * step)
    if max(bucket) > longest:  # a thread of a picture
        bucket = (min(bucket[0], longest), min(bucket[1], longest))
        note = f"{note}, and only the middle {bucket[0]} x {bucket[1]} of it are used".removeprefix(", and ")
    return Placement(
        bucket=bucket,
        resized=resized,
        aspect_error=bucket[0] / bucket[1] - shape,
        original=size,
        note=note,
    )


def _shrunk(shape: float, *, area: int, step: int) -> Size:
    """The size of about `area` with one side a multiple of `step`, whichever keeps the shape better."""
    ideal_width = math.sqrt(area * shape)
    ideal_height = area / ideal_width
    width = max(step, int(ideal_width + 0.5) // step * step)
    by_width = (width, int(width / shape + 0.5))
    height = max(step, int(ideal_height + 0.5) // step * step)
    by_height = (int(height * shape + 0.5), height)

    def error(resized: Size) -> float:
        cut = (max(1, resized[0] // step) * step, max(1, resized[1] // step) * step)
        return abs(cut[0] / cut[1] - shape)

    return by_width if error(by_width) < error(by_height) else by_height
