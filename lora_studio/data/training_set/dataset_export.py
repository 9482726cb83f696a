"""A training set as edited, for sd-scripts and its like: Kohya's folders with pictures, captions and masks,
and a dataset config that names them.

    dataset.toml
    10_sks dog/a.png, a.txt      pictures with what they show; `class_tokens` for those without a caption
    10_sks dog/masks/a.png       what weighs a picture's places
    reg/1_dog/...                regularisation pictures
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lora_studio.config_groups import DatasetGroup
from lora_studio.data.training_set.dataset_config import OF_ALL, OF_DATASETS
from lora_studio.data.training_set.export_folder import free_place
from lora_studio.data.training_set.exported_pictures import (
    ReadablePicture,
    portable_stem,
    readable_pictures,
    white_mask,
)
from lora_studio.data.training_set.folders import Picture, read_folder
from lora_studio.data.training_set.run_subsets import REGULARISATION, options_of_set, run_subsets
from lora_studio.data.training_set.subsets import KOHYA_FOLDER, Subset, masks_beside
from lora_studio.events import Emit, ShouldStop, ignore, never_stop
from lora_studio.parsing.file_names import portable_name
from lora_studio.parsing.plain_text import plain_lines
from lora_studio.parsing.toml_text import write_table

CONFIG, MASKS = "dataset.toml", "masks"
CAPTIONS = ".txt"
WRITTEN_ANYWAY = {"num_repeats", "caption_extension"}
PLAIN = DatasetGroup(train_data_dir="-")
NO_MASKS_BESIDE_REGULARISATION = (
    "sd-scripts knows no masks in a dataset with regularisation pictures: for it, take conditioning_data_dir "
    "or is_reg out of dataset.toml. LoRA Studio reads both."
)


@dataclass(frozen=True, kw_only=True)
class ExportedDataset:
    """A [[datasets]] table of the config, and its subsets; paths are those in the export."""

    options: Mapping[str, Any]
    subsets: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, kw_only=True)
class ExportedSet:
    """The content of an export: files by their paths in it, with slashes, each a file to copy or its bytes,
    and the datasets of its config. `pictures` counts those of all subsets."""

    files: Mapping[str, Path | bytes]
    datasets: tuple[ExportedDataset, ...]
    pictures: int
    notes: tuple[str, ...] = ()

    @property
    def bytes(self) -> int:
        """The room that the files take."""
        contents = self.files.values()
        return sum(len(one) if isinstance(one, bytes) else one.stat().st_size for one in contents)

    def config(self, place: str = "") -> str:
        """The dataset config of an export in the folder `place`. Without one its paths begin in the export:
        LoRA Studio finds them from the file's own folder, sd-scripts from the one it is started in."""
        prefix = f"{place.rstrip('/')}/" if place else ""
        where = "" if place else "# Start sd-scripts in this folder, or put its path in front of the paths.\n"
        tables = [where + write_table("general", {"caption_extension": CAPTIONS})]
        for dataset in self.datasets:
            tables.append(write_table("[datasets]", dataset.options))
            for subset in dataset.subsets:
                paths = {
                    name: f"{prefix}{subset[name]}"
                    for name in ("image_dir", "conditioning_data_dir")
                    if name in subset
                }
                tables.append(write_table("[datasets.subsets]", {**subset, **paths}))
        return "\n\n".join(tables) + "\n"


def planned_export(
    data: DatasetGroup,
    class_tokens: str = "",
    should_stop: ShouldStop = never_stop,
    emit: Emit = ignore,
) -> ExportedSet:
    """The export of a folder, or of the folders of a dataset config. Captions have the trigger word of
    `data`; `class_tokens` stand for pictures without a caption in folders that bring no words. Emits
    PhaseAdvanced up to the half, `write_export` the other one. Raises DatasetError, also when stopped,
    ConfigError, StoreError."""
    by_dataset, subsets, _ = run_subsets(data)
    subsets.sort(key=lambda subset: (subset.dataset, subset.is_reg))  # as read_folder does
    with_masks = any(map(_has_masks, subsets)) and not any(one.settings.alpha_mask for one in subsets)
    found = read_folder(data.model_copy(update={"enable_wildcard": True, "masked_loss": with_masks}))
    sources, left_out = readable_pictures(found.pictures, should_stop, emit)
    layout = _Layout(data=data, class_tokens=class_tokens)
    for number, subset in enumerate(subsets):
        if mine := [source for source in sources if source.picture.subset == number]:
            layout.add(subset, mine)
    notes, datasets = [*found.notes, *left_out], list[ExportedDataset]()
    # A config says its sizes and batches; those of a folder are the training's own.
    is_config = bool(data.dataset_config) or "resolution" in options_of_set(data.train_data_dir)
    names_sizes = is_config or len(by_dataset) > 1
    for number, tables in layout.tables.items():
        options = dataset_options(by_dataset[number], names_sizes=names_sizes)
        is_mixed = any(table.get("is_reg") for table in tables)
        masked = [table for table in tables if "conditioning_data_dir" in table]
        if masked and is_mixed:
            notes.append(NO_MASKS_BESIDE_REGULARISATION)
        # For sd-scripts all subsets of a dataset have masks or none has.
        parts = [tables] if is_mixed else [masked, [table for table in tables if table not in masked]]
        datasets += [ExportedDataset(options=options, subsets=tuple(part)) for part in parts if part]
    return ExportedSet(
        files=layout.files,
        datasets=tuple(datasets),
        pictures=len(sources),
        notes=tuple(dict.fromkeys(notes)),
    )


@dataclass(kw_only=True)
class _Layout:
    """Files of an export and the tables of its subsets, by the number of their dataset."""

    data: DatasetGroup
    class_tokens: str
    files: dict[str, Path | bytes] = field(default_factory=dict)
    tables: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    _folders: set[Path] = field(default_factory=set)

    def add(self, subset: Subset, sources: Sequence[ReadablePicture]) -> None:
        words = self._words(subset)
        folder = self._folder(subset, words)
        masked = any(source.mask for _, source in sources)
        taken: set[Path] = set()
        for picture, source in sources:
            place = free_place(Path(folder), portable_stem(source.picture.stem), taken)
            self.files[f"{place.as_posix()}{source.picture.suffix.lower()}"] = source.picture
            caption = self._caption(picture, subset, words)
            # sd-scripts takes no class_tokens where there are masks, and who reads folders has their names.
            if caption and (masked or caption != words or not folder.endswith(f"_{words}")):
                self.files[f"{place.as_posix()}{CAPTIONS}"] = f"{caption}\n".encode()
            if masked:
                ending = source.mask.suffix.lower() if source.mask else ".png"
                mask = source.mask or white_mask(source.picture)
                self.files[f"{folder}/{MASKS}/{place.name}{ending}"] = mask
        table: dict[str, Any] = {"image_dir": folder, "num_repeats": subset.repeats}
        table |= {"conditioning_data_dir": f"{folder}/{MASKS}"} if masked else {}
        table |= {"class_tokens": words} if words and not masked else {}
        table |= {"is_reg": True} if subset.is_reg else {}
        table |= subset_options(subset.settings)
        self.tables.setdefault(subset.dataset, []).append(table)

    def _words(self, subset: Subset) -> str:
        """The caption of pictures that have none."""
        if subset.words or subset.is_reg or not self.class_tokens:
            return plain_lines(subset.words)
        return plain_lines(f"{self.data.trigger_word} {self.class_tokens}".strip())

    def _caption(self, picture: Picture, subset: Subset, words: str) -> str:
        """The caption, or the class tokens where there is nothing but the trigger word that all get."""
        is_bare = not picture.is_captioned and not subset.words
        return words if is_bare and words else plain_lines(picture.caption)

    def _folder(self, subset: Subset, words: str) -> str:
        """A folder with repeats and class in its name, in which no other subset is."""
        trigger = "" if subset.is_reg else self.data.trigger_word
        name = folder_name(subset.folder.name, subset.repeats, words or trigger)
        above = Path(REGULARISATION) if subset.is_reg else Path()
        return free_place(above, name, self._folders).as_posix()


def folder_name(given: str, repeats: int, words: str) -> str:
    """A folder's name in Kohya's form: the given one if it has it and says these repeats."""
    match = KOHYA_FOLDER.fullmatch(given)
    if match is None or match[1] != str(repeats):
        given = f"{repeats}_{words or (match[2] if match else given) or 'pictures'}"
    name = portable_name(given, "", instead=" ")
    return name if KOHYA_FOLDER.fullmatch(name) else f"{repeats}_pictures"


def _has_masks(subset: Subset) -> bool:
    if subset.settings.conditioning_data_dir:
        return True
    return subset.folder.is_dir() and bool(masks_beside(subset.folder))


def dataset_options(
    settings: DatasetGroup, above: DatasetGroup = PLAIN, *, names_sizes: bool = True
) -> dict[str, Any]:
    """Options of a dataset: buckets, sizes and batches if named, and what is other than `above` it."""
    options: dict[str, Any] = {"enable_bucket": settings.enable_bucket}
    if names_sizes:
        sides = [settings.resolution, settings.resolution_height or settings.resolution]
        options |= {"resolution": sides, "batch_size": settings.train_batch_size}
    for option, name in OF_DATASETS.items():
        value = getattr(settings, name, None)
        is_said = option in (*options, "resolution", "batch_size")
        if not is_said and value is not None and value != getattr(above, name, None):
            options[option] = value
    return options


def subset_options(settings: DatasetGroup, above: DatasetGroup = PLAIN) -> dict[str, Any]:
    """Options of a subset that are others than those `above` it, the defaults if nothing else is said."""
    options = {}
    for name in (*OF_ALL, "alpha_mask"):
        value = getattr(settings, name, None)
        if name not in WRITTEN_ANYWAY and value is not None and value != getattr(above, name, None):
            options[name] = value
    if span := options.get("face_crop_aug_range"):
        options["face_crop_aug_range"] = [float(side) for side in span.split(",")]
    return options
