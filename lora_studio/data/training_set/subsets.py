"""Subsets: pictures that share a folder and options, from Kohya's folder layout or a dataset config."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from lora_studio.config_groups import DatasetGroup
from lora_studio.data.pixels.decoding import NO_HEIC
from lora_studio.data.pixels.heic import with_heic
from lora_studio.data.pixels.masks import FOLDERS as MASK_FOLDERS
from lora_studio.data.pixels.masks import is_grey, is_mask, masks_among
from lora_studio.data.pixels.picture_pixels import ENDINGS, HEIC_ENDINGS
from lora_studio.data.pixels.picture_remarks import named
from lora_studio.data.pixels.stray_files import is_trash, leftover, leftover_remarks
from lora_studio.errors import DatasetError
from lora_studio.files import expanded, read_errors

KOHYA_FOLDER = re.compile(r"(\d+)_(.+)")


@dataclass(frozen=True, kw_only=True)
class Subset:
    """A folder of pictures with their settings. `dataset` is the number of the dataset they belong to;
    `words` are the caption of pictures that have none; `captions_file` is a JSON file with pictures and
    captions. Pictures of `skipped_area` pixels or fewer are left out."""

    folder: Path
    settings: DatasetGroup
    repeats: int
    dataset: int = 0
    words: str = ""
    is_reg: bool = False
    captions_file: Path | None = None
    skipped_area: int = 0

    @property
    def name(self) -> str:
        """The subset's name in metadata."""
        return self.captions_file.name if self.captions_file else self.folder.name


def folder_subsets(data: DatasetGroup) -> tuple[list[Subset], list[str]]:
    """The subsets of train_data_dir and reg_data_dir, and notes on what is left out. Raises DatasetError."""
    root = existing_folder(data.train_data_dir)
    subsets, notes = _layout(root, data, is_reg=False) if not data.in_json else ([], [])
    if data.in_json:
        captions = expanded(data.in_json)
        subsets.append(Subset(folder=root, settings=data, repeats=data.num_repeats, captions_file=captions))
    if data.reg_data_dir:
        reg_subsets, more_notes = regularisation_subsets(data)
        subsets, notes = subsets + reg_subsets, notes + more_notes
    return subsets, notes


def regularisation_subsets(data: DatasetGroup) -> tuple[list[Subset], list[str]]:
    """The subsets of reg_data_dir, and notes on what is left out. Raises DatasetError."""
    # The trigger word stands for the subject, and regularisation pictures show others of its kind.
    settings = data.model_copy(update={"trigger_word": "", "num_repeats": 1, "dataset_version": ""})
    return _layout(existing_folder(data.reg_data_dir), settings, is_reg=True)


def existing_folder(named: str | Path) -> Path:
    """The folder of this name. Raises DatasetError if there is none."""
    folder = expanded(named)
    if not os.path.isdir(folder):
        raise DatasetError(
            f"There is no folder {named}.", "Give the folder that holds your pictures.", path=folder
        )
    return folder


def picture_files(folder: Path) -> list[Path]:
    """The picture files of a folder by name, without hidden ones, masks, strays. Raises DatasetError."""
    found = _image_files(folder)
    masks = masks_among(found)
    return [path for path in found if path not in masks and not is_mask(path.stem)]


def masks_beside(folder: Path) -> dict[str, Path]:
    """Masks of the pictures in a folder, by the name of the picture without its ending: beside the picture,
    or in a folder `masks` or `mask` here or next to a `<repeats>_<class>` folder. Raises DatasetError."""
    pictures = picture_files(folder)
    found = {owner.stem: mask for mask, owner in masks_among(_image_files(folder)).items()}
    roots = [folder, *([folder.parent] if KOHYA_FOLDER.fullmatch(folder.name) else [])]
    for place in (root / name for root in roots for name in sorted(MASK_FOLDERS)):
        named = {path.stem.casefold(): path for path in _image_files(place)} if place.is_dir() else {}
        for picture in pictures:
            mask = named.get(picture.stem.casefold())
            if mask is not None and picture.stem not in found and is_grey(mask):
                found[picture.stem] = mask
    return found


def has_masks(root: Path) -> bool:
    """Whether the used pictures of a folder, plain or in Kohya's layout, have masks. Raises DatasetError."""
    matches = [match for name in _names(root) if (match := KOHYA_FOLDER.fullmatch(name)) and int(match[1])]
    folders = [root / match[0] for match in matches if (root / match[0]).is_dir()]
    return any(map(masks_beside, [path for path in folders if picture_files(path)] or [root]))


def passed_over(folder: Path) -> list[str]:
    """Sentences on files of a folder that could be meant and are not used. Raises DatasetError."""
    names = _names(folder)
    found = [
        (kind, name) for name in names if (kind := leftover((name,))) not in ("", "of a system", "edits")
    ]
    notes = [*leftover_remarks(found)]
    heic = [name for name in names if Path(name).suffix.lower() in HEIC_ENDINGS and not name.startswith(".")]
    if heic and not with_heic():
        notes.append(f"{named(heic)} HEIC, left out. {NO_HEIC}")
    return notes


def _image_files(folder: Path) -> list[Path]:
    endings = ENDINGS | HEIC_ENDINGS if with_heic() else ENDINGS
    return [
        folder / name
        for name in _names(folder)
        if Path(name).suffix.lower() in endings and not leftover((name,)) and (folder / name).is_file()
    ]


def _names(folder: Path) -> list[str]:
    with read_errors(folder, DatasetError, f"The folder {folder.name}"):
        return sorted(path.name for path in folder.iterdir())


def count_of(files: list[Path]) -> str:
    return f"{len(files)} picture{'' if len(files) == 1 else 's'}"


def _layout(root: Path, data: DatasetGroup, *, is_reg: bool) -> tuple[list[Subset], list[str]]:
    notes: list[str] = []
    direct, subsets, others = picture_files(root), [], []
    folders = [path for path in root.iterdir() if path.is_dir() and not _is_no_set(path.name)]
    for folder in sorted(path for path in folders if picture_files(path)):
        match = KOHYA_FOLDER.fullmatch(folder.name)
        if match is None:
            others.append(folder.name)
        elif int(match[1]) == 0:
            notes.append(f"The folder {folder.name} is left out: its name says 0 repeats.")
        else:
            words = match[2].strip()
            subsets.append(
                Subset(folder=folder, settings=data, repeats=int(match[1]), words=words, is_reg=is_reg)
            )
    if subsets and others:
        notes.append(
            f"The folder {others[0]} is left out: its name doesn't begin with a number of repeats and _."
        )
    if subsets and direct:
        notes.append(
            f"{count_of(direct)} beside the sub-folders left out, as in Kohya's layout: only pictures inside "
            "<repeats>_<class> folders are used."
        )
    if not subsets and direct:
        subsets = [Subset(folder=root, settings=data, repeats=data.num_repeats, is_reg=is_reg)]
    if not subsets:
        raise DatasetError(
            f"There are no pictures in {root.name}.",
            "Put pictures directly into it, or into sub-folders named <repeats>_<class>, like 10_dog.",
            path=root,
        )
    return subsets, notes


def _is_no_set(folder: str) -> bool:
    return folder.startswith(".") or is_trash(folder) or folder.lower() in MASK_FOLDERS
