"""Settings of pictures that don't go together: refused, or noted in a sentence where one has no effect."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lora_studio.config_groups import DatasetGroup
from lora_studio.data.augment import changes_at_use, face_range
from lora_studio.data.captions import changes_parts
from lora_studio.data.training_set.subsets import Subset, masks_beside
from lora_studio.errors import ConfigError


def check_settings(
    run: DatasetGroup, datasets: Sequence[DatasetGroup], subsets: Sequence[Subset]
) -> list[str]:
    """Sentences on settings without effect. Raises ConfigError for settings that exclude each other."""
    for data in (*datasets, *(subset.settings for subset in subsets)):
        refuse_together(data)
    if run.masked_loss and not any(
        subset.settings.conditioning_data_dir or (subset.folder.is_dir() and masks_beside(subset.folder))
        for subset in subsets
    ):
        raise ConfigError(
            "masked_loss needs mask pictures.",
            "Give their folder as conditioning_data_dir, lay x-masklabel.png beside x.png, or use "
            "alpha_mask.",
            field="masked_loss",
        )
    notes = list(_ignored_beside_config(run)) if run.dataset_config else []
    if run.prior_loss_weight != 1 and not any(subset.is_reg for subset in subsets):
        notes.append("prior_loss_weight is ignored: there are no regularisation pictures.")
    for subset in subsets:
        where = f" for {subset.name}" if len(subsets) > 1 else ""
        notes += [note.format(where=where) for note in _ignored(subset.settings)]
    return list(dict.fromkeys(notes))


def refuse_together(data: DatasetGroup) -> None:
    """Refuse settings that exclude each other. Raises ConfigError."""
    if data.enable_bucket and data.min_bucket_reso > data.max_bucket_reso:
        raise ConfigError("min_bucket_reso must not be above max_bucket_reso.", field="min_bucket_reso")
    if data.alpha_mask and data.masked_loss:
        raise ConfigError(
            "alpha_mask and masked_loss can't both be on: a picture has one mask.",
            "Switch one of them off.",
            field="alpha_mask",
        )
    if face_range(data) and data.enable_bucket:
        raise ConfigError(
            "face_crop_aug_range cuts all pictures to one size, so it can't be used with buckets.",
            "Switch enable_bucket off.",
            field="face_crop_aug_range",
        )


def _ignored(data: DatasetGroup) -> Iterator[str]:
    if changes_at_use(data) and data.cache_latents:
        changing = [
            name for name in ("color_aug", "random_crop", "face_crop_aug_range") if getattr(data, name)
        ]
        yield f"cache_latents is ignored{{where}}: {changing[0]} changes the pictures at each use."
    if data.keep_tokens and not changes_parts(data):
        yield "keep_tokens is ignored{where}: captions aren't shuffled."
    if data.keep_tokens_separator and not changes_parts(data):
        yield (
            "keep_tokens_separator is ignored{where}: captions aren't shuffled. It stays where it is written."
        )
    if data.bucket_no_upscale and not data.enable_bucket:
        yield "bucket_no_upscale is ignored{where}: buckets are off, so each picture is scaled to one size."
    if data.conditioning_data_dir and not data.masked_loss:
        yield "conditioning_data_dir is ignored{where}: masked_loss is off."


def _ignored_beside_config(run: DatasetGroup) -> Iterator[str]:
    for name in ("reg_data_dir", "in_json", "dataset_version"):
        if getattr(run, name):
            yield f"{name} is ignored: dataset_config names the pictures."
