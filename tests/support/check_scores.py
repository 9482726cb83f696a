"""How well the checks of a set do on labelled pictures: what each finds, misses, and finds for nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy
from PIL import Image, ImageDraw

from lora_studio.config_groups import DatasetGroup
from lora_studio.data.buckets import bucketing_for
from lora_studio.data.checks.checked_set import (
    CaptionLength,
    CheckedPicture,
    CheckedSet,
    CheckOptions,
    SetCaptionText,
    pictures_of,
)
from lora_studio.data.checks.dataset_check import CHECKS, check_dataset
from lora_studio.data.checks.dataset_report import DatasetReport
from lora_studio.data.checks.picture_facts import FactsCache
from lora_studio.data.checks.picture_measures import measure_picture
from lora_studio.data.training_set.subsets import folder_subsets
from lora_studio.families.base_files.usual_parts import TOKENIZER
from lora_studio.families.encoders.clip_prompt import count_tokens
from tests.support.drawn_scenes import SIZES, clouds, scene, things
from tests.support.spoiled_pictures import TRIGGER, Labels, caption_for, encoded, write_good, write_spoiled

SET_FAULTS = (
    "number",
    "lone_bucket",
    "one_background",
    "one_composition",
    "same_mark",
    "constant_word",
    "one_caption",
)
OF_SET = 12
GOOD, EACH, SETS = 200, 8, 5
"""Good pictures, those with each fault, sets with each fault."""


@dataclass(kw_only=True)
class Score:
    """Names of what a check found rightly, missed, and found for nothing."""

    found: set[str] = field(default_factory=set)
    missed: set[str] = field(default_factory=set)
    false: set[str] = field(default_factory=set)

    @property
    def precision(self) -> float:
        return len(self.found) / max(1, len(self.found) + len(self.false))

    @property
    def recall(self) -> float:
        return len(self.found) / max(1, len(self.found) + len(self.missed))


def options(**values: object) -> CheckOptions:
    """A training of SD 1.5 at 512 px, with captions counted by CLIP's tokenizer."""
    data = DatasetGroup(train_data_dir="x", resolution=512)
    length = CaptionLength(limit=75, count=lambda text: count_tokens(TOKENIZER, text)[0])
    made = CheckOptions(
        bucketing=bucketing_for(data, 8),
        native_size=512,
        base_title="SD 1.5",
        trigger=TRIGGER,
        caption_length=length,
    )
    return replace(made, **values)  # type: ignore[arg-type]


def report_on(folder: Path, cache: FactsCache | None = None, **values: object) -> DatasetReport:
    subsets, _ = folder_subsets(DatasetGroup(train_data_dir=str(folder)))
    pictures = list(pictures_of(folder, subsets))
    return check_dataset(pictures, options(**values), cache or FactsCache(None))


def picture_scores(labels: Labels, report: DatasetReport) -> dict[str, Score]:
    """The score of each check of single pictures and captions."""
    scores = {}
    for check in CHECKS:
        wanted = {name for name, fault in labels.faults.items() if fault == check.id}
        named = {name for one in report.findings if one.check == check.id for name in one.pictures}
        allowed = {name for name, also in labels.also.items() if check.id in also}
        if wanted:
            scores[check.id] = Score(
                found=wanted & named, missed=wanted - named, false=named - wanted - allowed
            )
    return scores


def set_scores(count: int) -> dict[str, Score]:
    """The score of each check of whole sets, on `count` sets with each fault and as many without one."""
    scores = {fault: Score() for fault in SET_FAULTS}
    for number in range(count):
        for fault in ("", *SET_FAULTS):
            pictures, made = _set(fault, 900 + 100 * number)
            checked = CheckedSet(pictures=tuple(pictures), options=made)
            found = {one.check for check in CHECKS for one in check.find(checked)}
            for check, score in scores.items():
                name = f"{fault or 'good'}-{number}"
                if check == fault:
                    (score.found if check in found else score.missed).add(name)
                elif check in found and {fault, check} != {"one_composition", "one_background"}:
                    score.false.add(name)
    return scores


def _set(fault: str, seed: int) -> tuple[list[CheckedPicture], CheckOptions]:
    """Twelve pictures and a few more, with this fault or none, and the training that it is one for."""
    drawn = numpy.random.default_rng(seed)
    size = SIZES[int(drawn.integers(len(SIZES)))]
    images = {
        "one_background": _on_one_background,
        "one_composition": _in_one_composition,
        "same_mark": _marked,
    }.get(fault, _scenes)(drawn, seed, size)
    captions = [caption_for(number) for number in range(OF_SET)]
    if fault == "constant_word":
        captions = [f"{text}, curtain" for text in captions]
    if fault == "one_caption":
        captions = [f"{TRIGGER}, blue kettle on grass"] * OF_SET
    pictures = [
        _picture(number, image, caption)
        for number, (image, caption) in enumerate(zip(images, captions, strict=True))
    ]
    if fault == "number":
        return pictures[: 1 + seed // 100 % 4], options()
    if fault == "lone_bucket":
        pictures.append(_picture(OF_SET, scene(seed, (1200, 500)), caption_for(OF_SET)))
    return pictures, options(batch_size=4)


def _picture(number: int, image: Image.Image, caption: str) -> CheckedPicture:
    path = Path(f"{number:02}.png")
    facts = measure_picture(path, encoded(image, "PNG", compress_level=0))
    return CheckedPicture(path=path, name=path.name, caption=SetCaptionText(lines=(caption,)), facts=facts)


def _scenes(drawn: numpy.random.Generator, seed: int, size: tuple[int, int]) -> Iterator[Image.Image]:
    for number in range(OF_SET):
        yield scene(seed + number, size)


def _on_one_background(
    drawn: numpy.random.Generator, seed: int, size: tuple[int, int]
) -> Iterator[Image.Image]:
    backdrop = clouds(drawn, size)
    for _ in range(OF_SET):
        image = backdrop.copy()
        things(drawn, image, 5)
        yield image


def _in_one_composition(
    drawn: numpy.random.Generator, seed: int, size: tuple[int, int]
) -> Iterator[Image.Image]:
    """One picture from nearly the same side, in other light."""
    first = scene(10 * seed, size)
    wide, high = size
    for _ in range(OF_SET):
        left, top = (int(side * share) for side, share in zip(size, drawn.uniform(0, 0.05, 2), strict=True))
        image = first.crop((left, top, left + int(wide * 0.95), top + int(high * 0.95))).resize(size)
        tone = Image.new("RGB", size, tuple(int(level) for level in drawn.integers(0, 255, 3)))
        yield Image.blend(image, tone, 0.3)


def _marked(drawn: numpy.random.Generator, seed: int, size: tuple[int, int]) -> Iterator[Image.Image]:
    """A line of letters in the lower right corner."""
    for image in _scenes(drawn, seed, size):
        pen = ImageDraw.Draw(image)
        pen.text(
            (size[0] - 240, size[1] - 60),
            "STOCK 2026",
            fill="white",
            font_size=36,
            stroke_width=2,
            stroke_fill="black",
        )
        yield image


def unread_score(folder: Path, count: int) -> Score:
    """The score of the check of what the disk doesn't give, on pictures of which every other one goes between
    the listing of the set and the look at them."""
    for number in range(2 * count):
        (folder / f"{number}.png").write_bytes(encoded(scene(number, (96, 96)), "PNG"))
    subsets, _ = folder_subsets(DatasetGroup(train_data_dir=str(folder)))
    pictures = list(pictures_of(folder, subsets))
    wanted = {picture.name for picture in pictures[::2]}
    for name in wanted:
        (folder / name).unlink()
    report = check_dataset(pictures, options(), FactsCache(None))
    named = {name for one in report.findings if one.check == "unread" for name in one.pictures}
    return Score(found=wanted & named, missed=wanted - named, false=named - wanted)


def all_scores(folder: Path) -> tuple[dict[str, Score], float]:
    """The score of every check, and the share of the good pictures with a false finding."""
    labels = Labels(folder=folder)
    write_good(labels, GOOD)
    write_spoiled(labels, EACH)
    report = report_on(folder)
    (vanishing := folder.with_name(f"{folder.name}-vanishing")).mkdir()
    scores = {**picture_scores(labels, report), **set_scores(SETS), "unread": unread_score(vanishing, EACH)}
    named = {(name, one.check) for one in report.findings for name in one.pictures}
    falsely = {name for name, check in named if check not in labels.also.get(name, ())}
    return scores, len(falsely & {*labels.good[:GOOD]}) / GOOD
