"""Which pictures a training folder holds, and how often each is shown.

Either pictures lie directly in the folder, or, as in Kohya's layout, in sub-folders named
`<repeats>_<class>`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from lora_studio.config_groups import DatasetGroup
from lora_studio.data.captions import read_caption, with_trigger
from lora_studio.errors import DatasetError

ENDINGS = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".avif", ".gif", ".tif", ".tiff"})
KOHYA_FOLDER = re.compile(r"(\d+)_(.+)")


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture file with its finished caption. `folder` is the name of the folder it came from."""

    path: Path
    caption: str
    repeats: int
    folder: str


@dataclass(frozen=True, kw_only=True)
class PictureFolder:
    pictures: tuple[Picture, ...]
    notes: tuple[str, ...] = ()


def read_folder(data: DatasetGroup) -> PictureFolder:
    """Pictures in a fixed order with their captions; the files are not opened yet. Raises DatasetError."""
    root = Path(data.train_data_dir).expanduser()
    if not root.is_dir():
        raise DatasetError(
            f"There is no folder {data.train_data_dir}.",
            "Give the folder that holds your pictures.",
            path=root,
        )
    try:
        return _read(root, data)
    except OSError as error:
        raise DatasetError(f"The folder {root.name} can't be read: {error.strerror}.", path=root) from error


def picture_files(folder: Path) -> list[Path]:
    """The picture files directly in a folder, sorted by name, hidden ones left out."""
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in ENDINGS and not path.name.startswith(".") and path.is_file()
    )


def _read(root: Path, data: DatasetGroup) -> PictureFolder:
    notes: list[str] = []
    pictures: list[Picture] = []
    direct = picture_files(root)
    named = [(match, path) for path in sorted(root.iterdir()) if (match := _kohya_match(path))]
    for match, folder in named:
        repeats, words = int(match[1]), match[2].strip()
        if repeats == 0:
            notes.append(f"The folder {folder.name} is left out: its name says 0 repeats.")
            continue
        pictures += _pictures(picture_files(folder), data, repeats=repeats, words=words, notes=notes)
    if pictures and direct:
        notes.append(
            f"{_count(direct)} beside the sub-folders left out, as in Kohya's layout: only pictures inside "
            "<repeats>_<class> folders are used."
        )
    if not pictures:
        pictures = _pictures(direct, data, repeats=data.num_repeats, words="", notes=notes)
    if not pictures:
        raise DatasetError(
            f"There are no pictures in {root.name}.",
            "Put pictures directly into it, or into sub-folders named <repeats>_<class>, like 10_dog.",
            path=root,
        )
    return PictureFolder(pictures=tuple(pictures), notes=tuple(notes))


def _kohya_match(path: Path) -> re.Match[str] | None:
    match = KOHYA_FOLDER.fullmatch(path.name)
    return match if match and path.is_dir() and picture_files(path) else None


def _pictures(
    files: list[Path], data: DatasetGroup, *, repeats: int, words: str, notes: list[str]
) -> list[Picture]:
    found, longer = [], []
    for path in files:
        caption = read_caption(path, data.caption_extension)
        if caption.more_lines:
            longer.append(path)
        text = with_trigger(caption.text or words, data.trigger_word)
        found.append(Picture(path=path, caption=text, repeats=repeats, folder=path.parent.name))
    if longer:
        notes.append(
            f"{_count(longer)} with a caption of several lines, like {longer[0].name}: only the first line "
            "is used."
        )
    return found


def _count(files: list[Path]) -> str:
    return f"{len(files)} picture{'' if len(files) == 1 else 's'}"
