"""The pictures of a run, with captions, repeats and options. The files are not decoded yet."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lora_studio.config_groups import DatasetGroup
from lora_studio.data.augment import face_in_name
from lora_studio.data.caption_tables import folder_captions
from lora_studio.data.captions import filled_lines, has_word, read_caption, with_trigger
from lora_studio.data.edits.edit_log import FILE
from lora_studio.data.edits.overlay import Overlay, overlaid
from lora_studio.data.edits.rendering import make_room_for_edited
from lora_studio.data.pixels.picture_remarks import named
from lora_studio.data.training_set.captions_file import read_captions_file
from lora_studio.data.training_set.folder_edits import log_folder
from lora_studio.data.training_set.run_subsets import run_subsets
from lora_studio.data.training_set.subsets import (
    Subset,
    count_of,
    existing_folder,
    masks_beside,
    passed_over,
    picture_files,
)
from lora_studio.data.training_set.validate_settings import check_settings
from lora_studio.errors import DatasetError
from lora_studio.settings import Settings

__all__ = ["Picture", "PictureFolder", "picture_files", "read_folder"]


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture file with its finished caption (several lines where wildcards choose one). `folder` is the
    name of the subset it came from, `subset` and `dataset` their numbers, `settings` what holds for it,
    `weight` the factor of its loss, `mask` the picture that weighs its places. Of an edited picture, `path`
    and `mask` are the edited files. `is_captioned`: it has a caption of its own."""

    path: Path
    caption: str
    repeats: int
    folder: str
    settings: DatasetGroup
    subset: int = 0
    dataset: int = 0
    is_reg: bool = False
    weight: float = 1.0
    mask: Path | None = None
    is_captioned: bool = False


@dataclass(frozen=True, kw_only=True)
class PictureFolder:
    """The pictures of a run. `datasets` holds the settings of each dataset: its sizes, buckets and
    batches. `is_edited` says that edits change what the files of the folders hold."""

    pictures: tuple[Picture, ...]
    notes: tuple[str, ...] = ()
    is_edited: bool = False
    subsets: tuple[Subset, ...] = ()
    datasets: tuple[DatasetGroup, ...] = ()


def read_folder(data: DatasetGroup) -> PictureFolder:
    """A run's pictures in order, those for regularisation last. Raises DatasetError, ConfigError."""
    datasets, subsets, notes = run_subsets(data)
    subsets.sort(key=lambda subset: (subset.dataset, subset.is_reg))
    notes += check_settings(data, datasets, subsets)
    overlays = [subset_overlay(subset) for subset in subsets]
    if any(overlay.states for overlay in overlays):
        make_room_for_edited(overlays[0].cache)
    pictures = [
        picture for number, subset in enumerate(subsets) for picture in _pictures(subset, number, notes)
    ]
    if all(picture.is_reg for picture in pictures):
        raise DatasetError(
            "There are no pictures to train on.", "Add pictures of your subject.", path=data.train_data_dir
        )
    return PictureFolder(
        pictures=tuple(pictures),
        notes=tuple(dict.fromkeys(notes)),
        is_edited=any(overlay.states for overlay in overlays),
        subsets=tuple(subsets),
        datasets=tuple(datasets),
    )


def subset_overlay(subset: Subset) -> Overlay:
    """The edits of a subset's folder; the log may lie above `<repeats>_<class>`. Raises DatasetError."""
    folder = log_folder(subset.folder)
    return overlaid(folder, Settings.from_environment().edited, subset.settings.dataset_version)


def _pictures(subset: Subset, number: int, notes: list[str]) -> Iterator[Picture]:
    data, overlay = subset.settings, subset_overlay(subset)
    written = read_captions_file(subset, notes) if subset.captions_file else _captions(subset, notes)
    written = _edited(written, overlay, subset, notes)
    if subset.skipped_area:
        written = _large_enough(subset, written, notes, overlay)
    masks = _masks(subset, list(written), notes)
    fixed = f"{data.caption_prefix} {data.caption_suffix}"
    trigger = "" if has_word(fixed, data.trigger_word) else data.trigger_word
    if data.face_crop_aug_range:
        notes += _faceless(list(written))
    if not written:
        notes.append(f"{subset.name} is left out: there are no pictures in it.")
    lacking = [path for path, caption in written.items() if caption and not has_word(caption, trigger)]
    if trigger and lacking:
        notes.append(
            f"The trigger word {trigger} is put in front of the captions of {count_of(lacking)}, like "
            f"{lacking[0].name}, which lack it."
        )
    for original, caption in written.items():
        try:
            files = overlay.files(original, masks.get(original.stem))
        except DatasetError as error:
            notes.append(f"{error.message} It is left out.")
            continue
        yield Picture(
            path=files.picture,
            caption=with_trigger(caption or subset.words, trigger),
            repeats=subset.repeats,
            folder=subset.name,
            settings=data,
            subset=number,
            dataset=subset.dataset,
            is_reg=subset.is_reg,
            weight=data.prior_loss_weight if subset.is_reg else 1.0,
            mask=files.mask,
            is_captioned=bool(caption),
        )


def _edited(written: dict[Path, str], overlay: Overlay, subset: Subset, notes: list[str]) -> dict[Path, str]:
    """Captions by picture after the edits of the folder."""
    captions = overlay.captions(written)
    new = [path for path in captions if overlay.state(path).caption is not None]
    lines = {path: text.split("\n") for path, text in captions.items()}
    lines |= {path: filled_lines(captions[path]) or [""] for path in new}
    if not subset.settings.enable_wildcard:
        _say_longer([path for path in new if len(lines[path]) > 1], "an edited caption", notes)
        lines = {path: every[:1] for path, every in lines.items()}
    edited = [path for path in written if path in overlay.states]
    if edited:
        notes.append(f"{count_of(edited)} of {subset.name} edited, like {edited[0].name}: see {FILE}.")
    if overlay.unread:
        count = "1 line" if overlay.unread == 1 else f"{overlay.unread} lines"
        notes.append(f"{count} of {FILE} in {overlay.folder.name} can't be read: left out.")
    return {path: "\n".join(every) for path, every in lines.items()}


def _large_enough(
    subset: Subset, written: dict[Path, str], notes: list[str], overlay: Overlay
) -> dict[Path, str]:
    large = {path: text for path, text in written.items() if _area(path, overlay) > subset.skipped_area}
    if len(large) < len(written):
        small = [path for path in written if path not in large]
        notes.append(
            f"{count_of(small)} of {subset.name} left out, no larger than skip_image_resolution, like "
            f"{small[0].name}."
        )
    return large


def _area(path: Path, overlay: Overlay) -> float:
    """Pixels of a picture; endless for one that can't be read, which is left out with its reason later."""
    try:
        return math.prod(overlay.size(path))
    except DatasetError:
        return math.inf


def _captions(subset: Subset, notes: list[str]) -> dict[Path, str]:
    found, longer, previews = {}, [], []
    data = subset.settings
    for path in picture_files(subset.folder):
        caption = read_caption(path, data.caption_extension, all_lines=data.enable_wildcard)
        if caption.more_lines:
            longer.append(path)
        if caption.preview:
            previews.append(caption.preview)
        found[path] = caption.text
    _say_longer(longer, "a caption", notes)
    if previews:
        read = named(previews, one="caption", many="captions")
        notes.append(f"{read} not in UTF-8, and read all the same.")
    if not data.caption_extension:
        _fill_from_table(subset, found, notes)
    notes += passed_over(subset.folder)
    return found


def _say_longer(longer: list[Path], what: str, notes: list[str]) -> None:
    if longer:
        notes.append(
            f"{count_of(longer)} with {what} of several lines, like {longer[0].name}: only the first line "
            "is used."
        )


def _fill_from_table(subset: Subset, found: dict[Path, str], notes: list[str]) -> None:
    """Give pictures without a caption file the captions of the folder's table."""
    table, captions = folder_captions(subset.folder)
    bare = [path for path, caption in found.items() if not caption]
    filled = []
    for path in bare:
        text = captions.get(path.name.casefold()) or captions.get(path.stem.casefold())
        if text:
            found[path] = text if subset.settings.enable_wildcard else text.split("\n")[0]
            filled.append(path)
    if filled:
        notes.append(f"The captions of {count_of(filled)} come from {table}.")


def _faceless(pictures: list[Path]) -> Iterator[str]:
    without = [path for path in pictures if face_in_name(path) is None]
    if without:
        yield (
            f"face_crop_aug_range is ignored for {count_of(without)} whose name doesn't tell a face, like "
            f"{without[0].name}."
        )


def _masks(subset: Subset, pictures: list[Path], notes: list[str]) -> dict[str, Path]:
    """Mask pictures by the name of the picture without its ending. Raises DatasetError."""
    data = subset.settings
    if not data.masked_loss:
        if not data.alpha_mask and subset.folder.is_dir() and (beside := masks_beside(subset.folder)):
            count = f"{len(beside)} mask{'' if len(beside) == 1 else 's'}"
            notes.append(f"{count} beside the pictures not used: masked_loss is off.")
        return {}
    if not data.conditioning_data_dir:
        return masks_beside(subset.folder)
    masks = {path.stem: path for path in picture_files(existing_folder(data.conditioning_data_dir))}
    without = [path for path in pictures if path.stem not in masks]
    if pictures and len(without) == len(pictures):
        raise DatasetError(
            f"No picture has a mask in {Path(data.conditioning_data_dir).name}.",
            "A mask has the name of its picture.",
            path=data.conditioning_data_dir,
        )
    if without:
        notes.append(f"{count_of(without)} without a mask, like {without[0].name}: all of it counts.")
    return masks
