"""A set as the checks see it: its pictures with facts and captions, and what it is to be trained for."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from lora_studio.config_groups.dataset_group import Kind
from lora_studio.data.buckets import Bucketing, Placement
from lora_studio.data.caption_tables import folder_captions
from lora_studio.data.captions import LONGEST, caption_file
from lora_studio.data.checks.picture_facts import PictureFacts
from lora_studio.data.edits.picture_edits import is_picture_path
from lora_studio.data.training_set.folders import subset_overlay
from lora_studio.data.training_set.subsets import Subset, picture_files
from lora_studio.errors import DatasetError
from lora_studio.files import is_of_disk, read_errors
from lora_studio.parsing.plain_text import LONGEST_NAME, plain_lines, plain_name, plain_text
from lora_studio.parsing.text_encodings import readings

WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+){0,4}")
LONGEST_FAULT = 500
LONGEST_LOOKED_AT = 4000
"""Characters of a caption whose words are looked at; no base reads more."""
EMPTY_WORDS = {
    *("a", "an", "the", "of", "on", "in", "at", "to", "with", "and", "or", "by", "for", "from", "as", "into"),
    *("is", "are", "it", "its", "his", "her", "their", "this", "that", "over", "showing", "shows", "style"),
    *("photo", "photograph", "picture", "image", "drawing", "painting", "illustration", "background"),
}
"""Words that say nothing of what a picture shows."""


@dataclass(frozen=True, kw_only=True)
class SetCaptionText:
    """A caption as read for the checks: the lines of its file. `encoding` is empty for UTF-8 and UTF-16;
    `is_certain` is False where the text could be read in other ways, too; `fault` says why a file can't be
    read at all, `is_unread` that it is for the disk, not for what is in it."""

    lines: tuple[str, ...] = ()
    encoding: str = ""
    is_certain: bool = True
    fault: str = ""
    is_unread: bool = False

    @property
    def text(self) -> str:
        """The line that is trained on."""
        return self.lines[0] if self.lines else ""


@dataclass(frozen=True, kw_only=True)
class CheckedPicture:
    """A picture of the set. `path` is where it is, `name` its path from the set's folder, with slashes, and
    `facts` what was measured; None where it can't be read, which `fault` explains. `is_unread`: for the disk,
    not for what is in the file; `is_gone`: it was there when the set was listed, and then no more."""

    path: Path
    name: str
    caption: SetCaptionText
    facts: PictureFacts | None = None
    fault: str = ""
    is_unread: bool = False
    is_gone: bool = False

    @property
    def shown(self) -> str:
        """The name for people."""
        return plain_text(self.name, LONGEST_NAME) or "a picture"

    @property
    def can_be_edited(self) -> bool:
        return is_picture_path(self.name)

    @cached_property
    def words(self) -> Counter[str]:
        """The words of the caption that say something, in small letters."""
        found = WORD.findall(self.caption.text[:LONGEST_LOOKED_AT].lower())
        return Counter(word for word in found if word not in EMPTY_WORDS)


@dataclass(frozen=True, kw_only=True)
class CaptionLength:
    """The counting of captions: `count` gives the tokens of a text, of which `limit` are read."""

    limit: int
    count: Callable[[str], int]


@dataclass(frozen=True, kw_only=True)
class CheckOptions:
    """The training that the set is meant for. Without `caption_length` captions are not counted."""

    bucketing: Bucketing
    native_size: int
    base_title: str
    trigger: str = ""
    kind: Kind = "object"
    batch_size: int = 1
    caption_length: CaptionLength | None = None


@dataclass(frozen=True, kw_only=True)
class CheckedSet:
    """All pictures of a set in order, and the training that they are meant for."""

    pictures: tuple[CheckedPicture, ...]
    options: CheckOptions

    @cached_property
    def measured(self) -> list[tuple[CheckedPicture, PictureFacts]]:
        """The pictures that can be read."""
        return [(picture, picture.facts) for picture in self.pictures if picture.facts is not None]

    @cached_property
    def placed(self) -> list[tuple[CheckedPicture, Placement]]:
        """The pictures that can be read, each with the bucket that it will be in."""
        place = self.options.bucketing.place
        return [(picture, place(facts.size)) for picture, facts in self.measured]

    @cached_property
    def captioned(self) -> list[CheckedPicture]:
        return [picture for picture in self.pictures if picture.caption.text]

    @cached_property
    def trigger_words(self) -> set[str]:
        return set(WORD.findall(self.options.trigger.lower()))


def enlargement(placement: Placement) -> float:
    """The factor by which a picture is enlarged to its bucket's size; below 1 it is shrunk."""
    pairs = zip(placement.resized, placement.original, strict=True)
    return min(new / old for new, old in pairs)


def kept_share(placement: Placement) -> float:
    """The share of a picture's area that its bucket shows."""
    return math.prod(placement.bucket) / math.prod(placement.resized)


def pictures_of(
    root: Path, subsets: Sequence[Subset], *, all_lines: bool = False
) -> Iterator[CheckedPicture]:
    """The pictures of a folder's subsets below `root` with their captions, as edited, none of them measured
    yet; of captions in a table the first line, or `all_lines`. What is wrong with a caption becomes part of
    it, edits that can't be made the picture's fault; what ends a training raises DatasetError."""
    for subset in subsets:
        overlay = subset_overlay(subset)
        paths = picture_files(subset.folder)
        captions = {path: read_caption_lines(path, subset.settings.caption_extension) for path in paths}
        if not all(caption.lines for caption in captions.values()) and not subset.settings.caption_extension:
            _fill_from_table(subset.folder, captions, None if all_lines else 1)
        for path, caption in captions.items():
            state = overlay.state(path)
            if state.is_removed:
                continue
            if state.caption is not None:
                caption = SetCaptionText(lines=caption_lines(state.caption))
            if not caption.lines and not caption.fault and subset.words:
                caption = SetCaptionText(lines=(subset.words,))
            name, fault, is_unread = _name_in(root, path), "", False
            try:
                path = overlay.files(path).picture
            except DatasetError as error:
                fault, is_unread = plain_text(str(error), LONGEST_FAULT), is_of_disk(error)
            yield CheckedPicture(path=path, name=name, caption=caption, fault=fault, is_unread=is_unread)


def read_caption_lines(picture: Path, extension: str = "") -> SetCaptionText:
    """The caption beside a picture. Raises nothing: what is wrong with it is part of it."""
    path = caption_file(picture, extension)
    if path is None:
        return SetCaptionText()
    try:
        with read_errors(path, DatasetError, f"The caption {path.name}"), path.open("rb") as file:
            content = file.read(LONGEST + 1)
    except DatasetError as error:
        return SetCaptionText(fault=plain_text(str(error), 2 * LONGEST_NAME), is_unread=is_of_disk(error))
    if len(content) > LONGEST:
        return SetCaptionText(fault=f"{plain_name(path)} is longer than {LONGEST:,} bytes.")
    found = readings(content)
    if not found:
        return SetCaptionText(fault=f"{plain_name(path)} is no text.")
    encoding = "" if found[0].encoding.startswith("UTF") else found[0].encoding
    return SetCaptionText(lines=caption_lines(found[0].text), encoding=encoding, is_certain=found[0].certain)


def caption_lines(text: str) -> tuple[str, ...]:
    """The lines with text, plain."""
    lines = (line.strip() for line in plain_lines(text).split("\n"))
    return tuple(line for line in lines if line)


def words_in(pictures: Iterable[CheckedPicture]) -> Counter[str]:
    """The number of captions in which each word stands."""
    found = Counter[str]()
    for picture in pictures:
        found.update(picture.words.keys())
    return found


def _fill_from_table(folder: Path, captions: dict[Path, SetCaptionText], most_lines: int | None) -> None:
    _, table = folder_captions(folder)
    for path, caption in captions.items():
        text = table.get(path.name.casefold()) or table.get(path.stem.casefold())
        if text and not caption.lines and not caption.fault:
            captions[path] = SetCaptionText(lines=caption_lines(text)[:most_lines])


def _name_in(root: Path, path: Path) -> str:
    try:
        return path.relative_to(root).as_posix()
    except ValueError:  # a dataset config names folders anywhere
        return f"{path.parent.name}/{path.name}"
