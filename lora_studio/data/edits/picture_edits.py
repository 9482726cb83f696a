"""Edits of single pictures, as values: left out, cropped, rotated, flipped, laid over a colour, captioned.

Each names its picture by the path from the set's folder, with slashes. Sizes and places are pixels of the
picture as the edits before it left it; the first one finds it decoded and turned as its EXIF says.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any, ClassVar

from lora_studio.errors import DatasetError
from lora_studio.parsing.numbers import parse_whole, shown
from lora_studio.parsing.plain_text import is_plain_line, plain_lines

LONGEST_PATH = 1000
LONGEST_CAPTION = 10_000
LARGEST_SIDE = 1_000_000
"""Characters of a path and a caption, and pixels of a side; no picture that can be read has a longer one."""
QUARTER_TURNS = (90, 180, 270)
COLOUR = re.compile(r"#[0-9a-f]{6}")


@dataclass(frozen=True)
class RemovePicture:
    """The picture is left out, with its caption and its mask."""

    edit: ClassVar = "remove"
    picture: str


@dataclass(frozen=True)
class RestorePicture:
    """A picture that was left out is there again, with all other edits of it."""

    edit: ClassVar = "restore"
    picture: str


@dataclass(frozen=True)
class CropPicture:
    """The part of the picture from `left`, `top` up to but without `right`, `bottom`."""

    edit: ClassVar = "crop"
    picture: str
    left: int
    top: int
    right: int
    bottom: int


@dataclass(frozen=True)
class RotatePicture:
    """A turn by 90, 180 or 270 degrees clockwise."""

    edit: ClassVar = "rotate"
    picture: str
    degrees: int


@dataclass(frozen=True)
class FlipPicture:
    """Left and right exchanged, as `flip_aug` does."""

    edit: ClassVar = "flip"
    picture: str


@dataclass(frozen=True)
class FlattenPicture:
    """Transparent parts laid over a colour, as `#rrggbb`; without this edit they lie over white."""

    edit: ClassVar = "flatten"
    picture: str
    background: str


@dataclass(frozen=True)
class SetCaption:
    """Another caption; an empty one takes it away."""

    edit: ClassVar = "caption"
    picture: str
    caption: str


PixelEdit = CropPicture | RotatePicture | FlipPicture | FlattenPicture
Edit = RemovePicture | RestorePicture | PixelEdit | SetCaption

KINDS: Mapping[str, type[Edit]] = {
    **{kind.edit: kind for kind in (RemovePicture, RestorePicture, SetCaption)},
    **{kind.edit: kind for kind in (CropPicture, RotatePicture, FlipPicture, FlattenPicture)},
}


def edit_dict(edit: Edit) -> dict[str, Any]:
    """An edit as plain JSON, `{"edit": "rotate", "picture": "a.png", "degrees": 90}`; `edit_of` reads it."""
    return {"edit": edit.edit, **asdict(edit)}


def edit_of(given: object) -> Edit:
    """The edit of JSON as `edit_dict` makes it, whoever wrote it. Raises DatasetError."""
    data = given if isinstance(given, Mapping) else {}
    name = data.get("edit")
    kind = KINDS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise DatasetError(
            f"{shown(given)} is no edit of a picture.", f"`edit` is one of {', '.join(KINDS)}."
        )
    names = [field.name for field in fields(kind)]
    unknown = [key for key in data if key not in ("edit", *names)]
    if unknown:
        raise DatasetError(f"The edit {name} has no {shown(unknown[0])}.", f"It has {', '.join(names)}.")
    return kind(**{key: _READ[key](data.get(key), f"{key} of the edit {name}") for key in names})


def _picture(given: object, what: str) -> str:
    if not isinstance(given, str) or not is_picture_path(given):
        raise DatasetError(
            f"{what}: {shown(given)} names no picture of a set.",
            "Give its path from the set's folder, with slashes.",
        )
    return given


def is_picture_path(text: str) -> bool:
    """Whether a text is a path that stays inside of its folder, in the form that edits name pictures."""
    path = PurePosixPath(text)
    return (
        0 < len(text) <= LONGEST_PATH
        and not ({"", ".", ".."} & {*text.split("/")})
        and not path.is_absolute()
        and not PureWindowsPath(text).drive
        and "\\" not in text
        and is_plain_line(text)
    )


def _side(given: object, what: str) -> int:
    number = parse_whole(given)
    if number is None or not 0 <= number <= LARGEST_SIDE:
        raise DatasetError(f"{what}: a whole number of pixels is needed (got {shown(given)}).")
    return number


def _turn(given: object, what: str) -> int:
    number = parse_whole(given)
    if number not in QUARTER_TURNS:
        raise DatasetError(f"{what}: 90, 180 or 270 is needed (got {shown(given)}).")
    return number


def _colour(given: object, what: str) -> str:
    text = given.lower() if isinstance(given, str) and len(given) <= 7 else ""
    if not COLOUR.fullmatch(text):
        raise DatasetError(f"{what}: a colour like #ffffff is needed (got {shown(given)}).")
    return text


def _caption(given: object, what: str) -> str:
    if not isinstance(given, str):
        raise DatasetError(f"{what}: a text is needed (got {shown(given)}).")
    if len(given) > LONGEST_CAPTION:
        raise DatasetError(f"{what}: {len(given):,} characters are too many.", f"Use {LONGEST_CAPTION:,}.")
    return plain_lines(given).strip()


_READ: Mapping[str, Any] = {
    "picture": _picture,
    **dict.fromkeys(("left", "top", "right", "bottom"), _side),
    "degrees": _turn,
    "background": _colour,
    "caption": _caption,
}
