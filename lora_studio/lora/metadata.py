"""What a LoRA file says about itself: Kohya's `ss_*`, Stability's `modelspec.*` and the WebUI's `sshs_*`
keys.

All values are strings, as Python's str() writes them; those that hold tables are JSON. Keys and forms as
sd-scripts 0.10.1 writes them in folder mode, leaving out what does not exist here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from lora_studio import __version__
from lora_studio.config import TrainConfig

LEGACY_OFFSET, LEGACY_BYTES = 0x100000, 0x10000


@dataclass(frozen=True, kw_only=True)
class DatasetFacts:
    """`images` counts repeats; `folders` maps a folder's name to (repeats, pictures), `tags` to its tag
    counts, `buckets` lists (width, height, pictures with repeats)."""

    images: int
    batches_per_epoch: int
    folders: Mapping[str, tuple[int, int]]
    tags: Mapping[str, Mapping[str, int]]
    buckets: tuple[tuple[int, int, int], ...]
    mean_aspect_error: float
    resolution: tuple[int, int]
    flip_aug: bool


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """What is known of a run when a file is written. Times are unix seconds; `family` comes from the
    Family."""

    step: int
    epoch: int
    epochs: int
    started_at: float
    finished_at: float
    session_id: int
    base_name: str
    optimizer: str
    mixed_precision: str
    caches_latents: bool
    clip_skip: int | None
    dataset: DatasetFacts
    family: Mapping[str, str] = field(default_factory=dict)
    base_hashes: Mapping[str, str] = field(default_factory=dict)


def build_metadata(config: TrainConfig, facts: RunFacts) -> dict[str, str]:
    """All keys but the hashes, which need the tensor bytes (see `add_hashes`)."""
    return {
        **_strings(_run_keys(config, facts)),
        **_strings(_rate_keys(config, facts)),
        **_strings(_dataset_keys(config, facts.dataset)),
        **ABSENT,
        **facts.base_hashes,
        **facts.family,
        **_modelspec(config, facts),
    }


def with_hashes(metadata: Mapping[str, str], serialized: bytes) -> dict[str, str]:
    """Add `sshs_*`. `serialized` is the safetensors file with the `ss_*` metadata alone; the model hash
    covers only the tensor bytes, the legacy one a window of the file."""
    data_start = 8 + int.from_bytes(serialized[:8], "little")
    window = serialized[LEGACY_OFFSET : LEGACY_OFFSET + LEGACY_BYTES]
    return {
        **metadata,
        "sshs_model_hash": hashlib.sha256(serialized[data_start:]).hexdigest(),
        "sshs_legacy_hash": hashlib.sha256(window).hexdigest()[:8],
    }


def _strings(values: Mapping[str, Any]) -> dict[str, str]:
    return {
        f"ss_{key}": json.dumps(value) if isinstance(value, dict) else str(value)
        for key, value in values.items()
    }


def _run_keys(config: TrainConfig, facts: RunFacts) -> dict[str, Any]:
    return {
        "session_id": facts.session_id,
        "training_started_at": facts.started_at,
        "training_finished_at": facts.finished_at,
        "output_name": config.output.output_name,
        "training_comment": config.output.training_comment or None,
        "seed": config.optimizer.seed,
        "steps": facts.step,
        "epoch": facts.epoch,
        "num_epochs": facts.epochs,
        "max_train_steps": config.optimizer.max_train_steps,
        "network_module": "networks.lora",
        "network_dim": config.network.network_dim,
        "network_alpha": float(config.network.network_alpha),
        "network_dropout": config.network.network_dropout or None,
        "mixed_precision": facts.mixed_precision,
        "gradient_checkpointing": config.optimizer.gradient_checkpointing,
        "cache_latents": facts.caches_latents,
        "clip_skip": facts.clip_skip,
        "sd_model_name": facts.base_name,
    }


def _rate_keys(config: TrainConfig, facts: RunFacts) -> dict[str, Any]:
    rates = config.optimizer
    return {
        "learning_rate": rates.learning_rate,
        "unet_lr": rates.unet_lr,
        "text_encoder_lr": rates.text_encoder_lr,
        "lr_scheduler": rates.lr_scheduler,
        "lr_warmup_steps": rates.lr_warmup_steps,
        "optimizer": facts.optimizer,
        "max_grad_norm": rates.max_grad_norm,
        "gradient_accumulation_steps": rates.gradient_accumulation_steps,
        "noise_offset": config.noise.noise_offset or None,
        "min_snr_gamma": config.noise.min_snr_gamma,
    }


def _dataset_keys(config: TrainConfig, facts: DatasetFacts) -> dict[str, Any]:
    data = config.dataset
    buckets = {
        str(number): {"resolution": [width, height], "count": count}
        for number, (width, height, count) in enumerate(facts.buckets)
    }
    return {
        "num_train_images": facts.images,
        "num_batches_per_epoch": facts.batches_per_epoch,
        "batch_size_per_device": data.train_batch_size,
        "total_batch_size": data.train_batch_size * config.optimizer.gradient_accumulation_steps,
        "resolution": facts.resolution,
        "enable_bucket": data.enable_bucket,
        "bucket_no_upscale": data.bucket_no_upscale,
        "min_bucket_reso": data.min_bucket_reso,
        "max_bucket_reso": data.max_bucket_reso,
        "bucket_info": {"buckets": buckets, "mean_img_ar_error": facts.mean_aspect_error},
        "dataset_dirs": {
            name: {"n_repeats": repeats, "img_count": count}
            for name, (repeats, count) in facts.folders.items()
        },
        "tag_frequency": {name: dict(tags) for name, tags in facts.tags.items()},
        "keep_tokens": data.keep_tokens,
        "shuffle_caption": data.shuffle_caption,
        "flip_aug": facts.flip_aug,
        "caption_dropout_rate": data.caption_dropout_rate,
    }


ABSENT = {
    **{
        key: "0"
        for key in ("ss_num_reg_images", "ss_num_validation_images", "ss_caption_dropout_every_n_epochs")
    },
    **{key: "None" for key in ("ss_adaptive_noise_scale", "ss_face_crop_aug_range", "ss_ip_noise_gamma")},
    **{
        key: "None"
        for key in ("ss_max_token_length", "ss_max_validation_steps", "ss_multires_noise_iterations")
    },
    **{
        key: "None"
        for key in ("ss_resize_interpolation", "ss_scale_weight_norms", "ss_validate_every_n_epochs")
    },
    **{key: "None" for key in ("ss_validate_every_n_steps", "ss_validation_seed")},
    **{key: "False" for key in ("ss_color_aug", "ss_random_crop", "ss_debiased_estimation", "ss_fp8_base")},
    **{key: "False" for key in ("ss_fp8_base_unet", "ss_full_fp16", "ss_lowram", "ss_zero_terminal_snr")},
    **{key: "False" for key in ("ss_ip_noise_gamma_random_strength", "ss_noise_offset_random_strength")},
    **{"ss_caption_tag_dropout_rate": "0.0", "ss_validation_split": "0.0", "ss_prior_loss_weight": "1.0"},
    **{"ss_multires_noise_discount": "0.3", "ss_reg_dataset_dirs": "{}"},
    **{"ss_loss_type": "l2", "ss_huber_schedule": "snr", "ss_huber_c": "0.1", "ss_huber_scale": "1.0"},
}
"""What Kohya's trainer could do and this run did not, in its words: readers look for these keys."""


def _modelspec(config: TrainConfig, facts: RunFacts) -> dict[str, str]:
    width, height = facts.dataset.resolution
    steps = config.noise
    told = {
        "sai_model_spec": "1.0.1",
        "title": config.output.title or config.output.output_name,
        "date": datetime.fromtimestamp(int(facts.finished_at)).isoformat(),
        "resolution": f"{width}x{height}",
        "implementation_version": f"lora-studio/{__version__}",
        "trigger_phrase": config.dataset.trigger_word,
        "encoder_layer": str(facts.clip_skip) if facts.clip_skip else "",
        "timestep_range": (
            f"{steps.min_timestep},{steps.max_timestep}"
            if (steps.min_timestep, steps.max_timestep) != (0, 1000)
            else ""
        ),
    }
    return {f"modelspec.{key}": value for key, value in told.items() if value}
