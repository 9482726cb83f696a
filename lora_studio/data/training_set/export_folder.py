"""Pictures, captions and masks of a folder as edited, copied in its own layout."""

from __future__ import annotations

import shutil
import unicodedata
from pathlib import Path

from lora_studio.config_groups import DatasetGroup
from lora_studio.data.pixels.masks import ENDING
from lora_studio.data.training_set.folders import read_folder
from lora_studio.data.training_set.subsets import existing_folder, has_masks


def copy_as_edited(root: Path, target: Path, version: str = "") -> None:
    """Copy pictures, captions and masks as edited, in their layout. Raises DatasetError, OSError."""
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
    may have a caption of its own. Names that Windows or macOS take for the same are the same."""
    place, number = folder / stem, 1
    while (key := _same_everywhere(place)) in taken:
        number += 1
        place = folder / f"{stem}-{number}"
    taken.add(key)
    return place


def _same_everywhere(path: Path) -> Path:
    return Path(unicodedata.normalize("NFC", unicodedata.normalize("NFC", str(path)).casefold()))
