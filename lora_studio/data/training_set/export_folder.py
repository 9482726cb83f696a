"""Pictures and captions written as a folder that sd-scripts and its like read."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path

from lora_studio.config_groups import DatasetGroup
from lora_studio.data.captions import with_trigger
from lora_studio.data.edits.overlay import OverlaidPicture
from lora_studio.data.pixels.masks import ENDING
from lora_studio.data.training_set.folders import read_folder
from lora_studio.data.training_set.subsets import KOHYA_FOLDER, existing_folder, has_masks
from lora_studio.errors import DatasetError
from lora_studio.files import expanded
from lora_studio.parsing.file_names import portable_name


def export_folder(
    pictures: Sequence[OverlaidPicture], folder: Path, *, root: Path, subfolder: str, trigger_word: str
) -> Path:
    """Copy pictures with captions, as edited, into `folder`, which appears only when it is whole. Pictures
    directly in `root` go into `subfolder`; pictures in Kohya folders below it keep theirs. Raises
    DatasetError, OSError."""
    folder = expanded(folder).absolute()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DatasetError(f"{folder} is there already.", "Choose a new folder.", path=folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = folder.with_name(f".{folder.name}-{uuid.uuid4().hex[:8]}.part")
    try:
        for original, (picture, mask), caption in pictures:
            text = with_trigger(caption, trigger_word) if caption else ""
            _copy(picture, text, unfinished / _subfolder(original, root, subfolder))
            if mask:  # where conditioning_data_dir can name them
                (unfinished / "masks").mkdir(exist_ok=True)
                shutil.copyfile(mask, unfinished / "masks" / picture.name)
        if folder.exists():
            folder.rmdir()
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def copy_as_edited(root: Path, target: Path, version: str = "") -> None:
    """Copy the pictures, captions and masks of a folder, which keeps its layout, as edited. Raises
    DatasetError, OSError."""
    settings = DatasetGroup(train_data_dir=str(root), dataset_version=version)
    with_masks = has_masks(existing_folder(root))
    found = read_folder(settings.model_copy(update={"masked_loss": with_masks, "enable_wildcard": True}))
    taken: set[Path] = set()
    for picture in found.pictures:
        subset = found.subsets[picture.subset]
        into = target / subset.folder.relative_to(existing_folder(root))
        into.mkdir(parents=True, exist_ok=True)
        place = free_place(into, picture.path.stem, taken)
        shutil.copyfile(picture.path, place.with_name(f"{place.name}{picture.path.suffix}"))
        if picture.caption != subset.words:
            place.with_name(f"{place.name}.txt").write_text(f"{picture.caption}\n", encoding="utf-8")
        if picture.mask:
            shutil.copyfile(picture.mask, place.with_name(f"{place.name}{ENDING}{picture.mask.suffix}"))


def free_place(folder: Path, stem: str, taken: set[Path]) -> Path:
    """A path in a folder, without an ending, that is not taken yet, and is from now on: a.jpg beside a.png
    may have a caption of its own."""
    place, number = folder / stem, 1
    while place in taken:
        number += 1
        place = folder / f"{stem}-{number}"
    taken.add(place)
    return place


def _subfolder(path: Path, root: Path, default: str) -> str:
    name = path.parent.name
    if path.parent != root and KOHYA_FOLDER.fullmatch(name):
        return name
    return portable_name(default, "1_picture", instead=" ")


def _copy(path: Path, caption: str, into: Path) -> None:
    into.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, into / path.name)
    if caption:
        (into / f"{path.stem}.txt").write_text(f"{caption}\n", encoding="utf-8")
