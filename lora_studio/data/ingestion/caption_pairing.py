"""Captions and masks matched to their pictures, by folder and by name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lora_studio.data.caption_tables import read_table
from lora_studio.data.captions import LONGEST
from lora_studio.data.ingestion.uploaded_files import Upload
from lora_studio.data.pixels.picture_remarks import named
from lora_studio.errors import DatasetError
from lora_studio.parsing.text_encodings import DecodedText, readings

OF_CONFIG, OF_TEXT, OF_CAPTION, OF_TABLE = 0, 1, 2, 3
"""Ranks: of several captions for one picture the lowest is used."""


@dataclass(frozen=True, kw_only=True)
class Written:
    """A picture as written into the set. `size` is its width and height."""

    upload: Upload
    path: Path
    size: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Caption:
    """A text for the picture called `name`, with or without its ending, that came from `group`. `table` is
    the file of many captions that it stood in."""

    shown: str
    text: str
    rank: int
    group: str
    name: str
    table: str = ""


@dataclass(kw_only=True)
class PictureFiles:
    """The pictures of a set by name and by the folder they came from."""

    _nearby: dict[tuple[str, str], list[Written]] = field(default_factory=dict)
    _anywhere: dict[str, list[Written]] = field(default_factory=dict)

    @classmethod
    def of(cls, pictures: Iterable[Written]) -> PictureFiles:
        shelf = cls()
        for written in pictures:
            shelf.add(written)
        return shelf

    def add(self, written: Written) -> None:
        upload = written.upload
        for name in {upload.name.casefold(), upload.stem.casefold()}:
            self._nearby.setdefault((upload.group, name), []).append(written)
            self._anywhere.setdefault(name, []).append(written)

    def find(self, name: str, *groups: str) -> list[Written]:
        """Pictures of this name, with or without its ending: in one of these groups, or else anywhere."""
        return self.find_near(name, *groups) or self._anywhere.get(name.casefold(), [])

    def find_near(self, name: str, *groups: str) -> list[Written]:
        """Pictures of this name, with or without its ending, in the first of these groups that has any."""
        near = (found for group in groups if (found := self._nearby.get((group, name.casefold()))))
        return next(near, [])


def read_captions(upload: Upload, content: bytes, remarks: list[DecodedText]) -> list[Caption]:
    """The caption in a file, as a list; empty for an empty file. Readings of a file in neither UTF-8 nor
    UTF-16 go into `remarks`. Raises DatasetError."""
    if len(content) > LONGEST:
        raise DatasetError(f"{upload.shown} is too long for a caption.", path=upload.shown)
    found = readings(content)
    if not found:
        raise DatasetError(f"{upload.shown} is no text.", "Save it again as UTF-8.", path=upload.shown)
    if not found[0].encoding.startswith("UTF"):
        remarks += found
    text = found[0].text.strip()
    rank = OF_TEXT if upload.name.lower().endswith(".txt") else OF_CAPTION
    caption = Caption(shown=upload.shown, text=text, rank=rank, group=upload.group, name=upload.stem)
    return [caption] if text else []


def read_caption_table(upload: Upload, content: bytes) -> list[Caption]:
    """The captions in a file of many. Raises DatasetError."""
    return [
        Caption(
            shown=upload.shown,
            text=text,
            rank=OF_TABLE,
            group="/".join((upload.group, *parts[:-1])),
            name=parts[-1],
            table=upload.shown,
        )
        for parts, text in read_table(upload.shown, content).items()
    ]


@dataclass(kw_only=True)
class Paired:
    """Captions by picture, and sentences on captions that were not used."""

    captions: dict[Path, str] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def paired(captions: Sequence[Caption], shelf: PictureFiles) -> Paired:
    """Each picture with the caption of the lowest rank."""
    result, sources = Paired(), dict[Path, str]()
    nowhere: dict[str, list[str]] = {}
    beaten: dict[str, list[str]] = {}
    for caption in sorted(captions, key=lambda one: one.rank):
        pictures = [written.path for written in shelf.find(caption.name, caption.group)]
        free = [path for path in pictures if path not in sources]
        if not pictures and caption.table:
            nowhere.setdefault(caption.table, []).append(caption.name)
        elif not pictures:
            result.refused.append(f"{caption.shown} belongs to no picture: none has its name.")
        elif not free and caption.table:
            beaten.setdefault(caption.table, []).append(caption.name)
        elif not free:
            first = sources[pictures[0]]
            result.warnings.append(f"{caption.shown} was left out: its picture has a caption from {first}.")
        for path in free:
            sources[path] = caption.shown
            result.captions[path] = caption.text
    for table, names in nowhere.items():
        result.refused.append(f"{table} names {named(names)} that are not there.")
    for table, names in beaten.items():
        result.warnings.append(f"{table}: not used for {named(names)}, which have a caption already.")
    return result


def encoding_remarks(read: Sequence[tuple[str, Sequence[DecodedText]]]) -> Iterator[str]:
    """Sentences on captions in old encodings; `read` are files with ways to read them, the taken first."""
    certain = [f"{shown}: {ways[0].preview}" for shown, ways in read if ways[0].certain]
    if certain:
        yield f"{named(certain, one='caption', many='captions')} not in UTF-8, and read all the same."
    for shown, ways in read:
        if not ways[0].certain:
            others = " or ".join(way.preview for way in ways[1:3])
            also = f"; it could be {others}" if others else ""
            yield f"{shown} doesn't say its encoding. Read as {ways[0].preview}{also}. Look at its caption."
