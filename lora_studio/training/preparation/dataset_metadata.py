"""A LoRA file's metadata on the pictures of its training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lora_studio.config import TrainConfig
from lora_studio.config_groups import DatasetGroup
from lora_studio.data.buckets import Size, resolution_of
from lora_studio.data.captions import tag_frequency
from lora_studio.data.latent_cache import PlacedPicture
from lora_studio.data.loader import Loader, Steps
from lora_studio.data.training_set.folders import Picture, PictureFolder
from lora_studio.data.training_set.subsets import Subset
from lora_studio.lora.file.metadata import DatasetFacts

OF_SUBSETS = ("color_aug", "flip_aug", "random_crop", "shuffle_caption", "keep_tokens")
TEXTS_OF_SUBSETS = ("keep_tokens_separator", "secondary_separator")
WORDS_OF_SUBSETS = ("caption_prefix", "caption_suffix", "resize_interpolation")


@dataclass(frozen=True, kw_only=True)
class Trained:
    """The pictures of a run: those in the loader, those held out, and all that were found, with the repeats
    of their folders."""

    loader: Loader
    held_out: Sequence[PlacedPicture]
    folder: PictureFolder

    @property
    def pictures(self) -> list[Picture]:
        """The pictures in use, with the repeats of their folders, and of regularisation all that were
        found."""
        held_out = {placed.picture.path for placed in self.held_out}
        used = {placed.picture.path for placed in self.loader.pictures}
        return [
            picture
            for picture in self.folder.pictures
            if picture.is_reg or (picture.path in used and picture.path not in held_out)
        ]


def dataset_facts(trained: Trained, steps: Steps, config: TrainConfig) -> DatasetFacts:
    """The facts on a run's pictures for a LoRA file's metadata."""
    pictures = trained.pictures
    counts = trained.loader.counts()
    return DatasetFacts(
        images=_showings(pictures, is_reg=False),
        batches_per_epoch=steps.batches_per_epoch,
        folders=_folders(pictures, is_reg=False),
        tags=_tags(pictures),
        buckets=_buckets(counts),
        mean_aspect_error=_mean_error(trained.loader.pictures),
        resolution=resolution_of(config.dataset),
        flip_aug=config.dataset.flip_aug,
        reg_images=_showings(pictures, is_reg=True),
        reg_folders=_folders(pictures, is_reg=True),
        validation_images=sum(placed.picture.repeats for placed in trained.held_out),
        datasets=_datasets(trained) if config.dataset.dataset_config else (),
    )


def _tags(pictures: Sequence[Picture]) -> dict[str, dict[str, int]]:
    """A picture that is in several datasets counts once."""
    captions = {(picture.folder, picture.path): picture.caption for picture in pictures}
    return tag_frequency((folder, caption) for (folder, _), caption in captions.items())


def _showings(pictures: Sequence[Picture], *, is_reg: bool) -> int:
    return sum(picture.repeats for picture in pictures if picture.is_reg == is_reg)


def _folders(pictures: Sequence[Picture], *, is_reg: bool) -> dict[str, tuple[int, int]]:
    """Repeats and pictures of each subset. The second of two with one name is called `name (2)`."""
    found: dict[int, list[Picture]] = {}
    for picture in pictures:
        if picture.is_reg == is_reg:
            found.setdefault(picture.subset, []).append(picture)
    folders: dict[str, tuple[int, int]] = {}
    for group in found.values():
        name, number = group[0].folder, 2
        while name in folders:
            name, number = f"{group[0].folder} ({number})", number + 1
        folders[name] = (group[0].repeats, len(group))
    return folders


def _buckets(counts: Mapping[Size, int]) -> tuple[tuple[int, int, int], ...]:
    return tuple((*size, count) for size, count in counts.items())


def _mean_error(placed: Sequence[PlacedPicture]) -> float:
    errors = [abs(one.placement.aspect_error) for one in placed]
    return sum(errors) / len(errors) if errors else 0.0


def _datasets(trained: Trained) -> tuple[dict[str, Any], ...]:
    """The value of ss_datasets as Kohya's trainer writes it: a table for each dataset of a dataset config."""
    return tuple(
        _dataset(trained, number, settings) for number, settings in enumerate(trained.folder.datasets)
    )


def _dataset(trained: Trained, number: int, settings: DatasetGroup) -> dict[str, Any]:
    pictures = [picture for picture in trained.pictures if picture.dataset == number]
    subsets = [subset for subset in trained.folder.subsets if subset.dataset == number]
    buckets = {
        str(place): {"resolution": list(size), "count": count}
        for place, (size, count) in enumerate(trained.loader.counts(number).items())
    }
    placed = [one for one in trained.loader.pictures if one.picture.dataset == number]
    return {
        "is_dreambooth": not any(subset.captions_file for subset in subsets),
        "batch_size_per_device": settings.train_batch_size,
        "num_train_images": _showings(pictures, is_reg=False),
        "num_reg_images": _showings(pictures, is_reg=True),
        "resolution": list(resolution_of(settings)),
        "enable_bucket": settings.enable_bucket,
        "min_bucket_reso": settings.min_bucket_reso,
        "max_bucket_reso": settings.max_bucket_reso,
        "tag_frequency": _tags(pictures),
        "bucket_info": {"buckets": buckets, "mean_img_ar_error": _mean_error(placed)},
        "resize_interpolation": settings.resize_interpolation,
        "subsets": [_subset(subset, place, pictures) for place, subset in _numbered(trained, number)],
    }


def _numbered(trained: Trained, dataset: int) -> list[tuple[int, Subset]]:
    subsets = enumerate(trained.folder.subsets)
    return [(place, subset) for place, subset in subsets if subset.dataset == dataset]


def _subset(subset: Subset, place: int, pictures: Sequence[Picture]) -> dict[str, Any]:
    settings = subset.settings
    kind = (
        {"metadata_file": subset.name}
        if subset.captions_file
        else {"class_tokens": subset.words or None, "is_reg": subset.is_reg}
    )
    return {
        "img_count": sum(picture.subset == place for picture in pictures),
        "num_repeats": subset.repeats,
        **{name: getattr(settings, name) for name in OF_SUBSETS},
        **{name: getattr(settings, name) for name in TEXTS_OF_SUBSETS},
        "enable_wildcard": settings.enable_wildcard,
        **{name: getattr(settings, name) or None for name in WORDS_OF_SUBSETS},
        "image_dir": subset.folder.name,
        **kind,
    }
