"""The metadata of a LoRA file: Kohya's `ss_*`, Stability's `modelspec.*` and A1111's `sshs_*` keys.

All values are strings, as Python's str() writes them; tables are JSON. Keys and forms are those of sd-scripts
0.10.1 in folder mode, without what does not exist here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from lora_studio import __version__
from lora_studio.config import TrainConfig
from lora_studio.config_groups import FLOW_SETTINGS, NetworkGroup, NoiseGroup
from lora_studio.parsing.plain_text import plain_lines

LEGACY_OFFSET, LEGACY_BYTES = 0x100000, 0x10000


@dataclass(frozen=True, kw_only=True)
class DatasetFacts:
    """Counts of a run's pictures. `images` counts repeats, and so do `reg_images`, before they are filled up,
    and `validation_images`; `folders` and `reg_folders` map a folder's name to (repeats, pictures), `tags` to
    its tag counts, `buckets` lists (width, height, pictures with repeats). `datasets` describes the datasets
    of a config in the form of ss_datasets."""

    images: int
    batches_per_epoch: int
    folders: Mapping[str, tuple[int, int]]
    tags: Mapping[str, Mapping[str, int]]
    buckets: tuple[tuple[int, int, int], ...]
    mean_aspect_error: float
    resolution: tuple[int, int]
    flip_aug: bool
    reg_images: int = 0
    reg_folders: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    validation_images: int = 0
    datasets: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """Facts about a run at the time a file is written. Times are unix seconds; `family` comes from the
    Family; `flow_matching`: the base is made for it."""

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
    flow_matching: bool = False
    family: Mapping[str, str] = field(default_factory=dict)
    base_hashes: Mapping[str, str] = field(default_factory=dict)


def build_metadata(config: TrainConfig, facts: RunFacts) -> dict[str, str]:
    """All keys but the hashes, which need the tensor bytes (see `with_hashes`)."""
    return {
        **_strings(_run_keys(config, facts)),
        **_strings(_rate_keys(config, facts)),
        **_strings(_noise_keys(config.noise)),
        **_strings(_flow_keys(config.noise) if facts.flow_matching else {}),
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
        f"ss_{key}": json.dumps(value) if isinstance(value, dict) else plain_lines(str(value))
        for key, value in values.items()
    }


def _run_keys(config: TrainConfig, facts: RunFacts) -> dict[str, Any]:
    validates = config.dataset.validation_split > 0
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
        **_network_keys(config.network),
        "mixed_precision": facts.mixed_precision,
        "gradient_checkpointing": config.optimizer.gradient_checkpointing,
        "cache_latents": facts.caches_latents,
        "clip_skip": facts.clip_skip,
        "max_token_length": config.model.max_token_length,
        "fp8_base_unet": config.model.held_as == "qfloat8",
        "max_validation_steps": config.preview.max_validation_steps if validates else None,
        "validate_every_n_steps": config.preview.validate_every_n_steps if validates else None,
        "sd_model_name": facts.base_name,
    }


ARGUMENTS = (
    *("conv_dim", "conv_alpha", "rank_dropout", "module_dropout", "block_dims", "block_alphas"),
    *("conv_block_dims", "conv_block_alphas", "down_lr_weight", "mid_lr_weight", "up_lr_weight"),
    *("block_lr_zero_threshold", "loraplus_lr_ratio", "loraplus_unet_lr_ratio"),
    "loraplus_text_encoder_lr_ratio",
)
LYCORIS_ARGUMENTS = ("factor", "decompose_both", "full_matrix", "constraint")


def _network_keys(network: NetworkGroup) -> dict[str, Any]:
    """Keys of the network; `network_args` only when something is in it, each value as typed."""
    arguments = _changed(network, ARGUMENTS)
    if not network.is_plain:
        preset = {} if network.conv_dim or network.conv_block_dims else {"preset": "attn-mlp"}
        dora = {"dora_wd": "True", "wd_on_output": str(network.wd_on_output)} if network.dora_wd else {}
        arguments = {
            "algo": network.algo,
            **preset,
            **dora,
            **_changed(network, LYCORIS_ARGUMENTS),
            **arguments,
        }
    return {
        "network_module": "networks.lora" if network.is_plain else "lycoris.kohya",
        "network_dim": None if network.dim_from_weights else network.network_dim,
        "network_alpha": None if network.dim_from_weights else float(network.network_alpha),
        "network_dropout": network.network_dropout or None,
        **({"network_args": arguments} if arguments else {}),
        "scale_weight_norms": network.scale_weight_norms,
    }


def _changed(network: NetworkGroup, names: Sequence[str]) -> dict[str, str]:
    defaults = type(network).model_fields
    values = {name: getattr(network, name) for name in names}
    return {name: str(value) for name, value in values.items() if value != defaults[name].default}


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
    }


def _noise_keys(noise: NoiseGroup) -> dict[str, Any]:
    return {
        "min_snr_gamma": noise.min_snr_gamma,
        "debiased_estimation": noise.debiased_estimation_loss,
        "zero_terminal_snr": noise.zero_terminal_snr,
        "noise_offset": noise.noise_offset or None,
        "noise_offset_random_strength": noise.noise_offset_random_strength,
        "adaptive_noise_scale": noise.adaptive_noise_scale,
        "multires_noise_iterations": noise.multires_noise_iterations or None,
        "multires_noise_discount": noise.multires_noise_discount,
        "ip_noise_gamma": noise.ip_noise_gamma or None,
        "ip_noise_gamma_random_strength": noise.ip_noise_gamma_random_strength,
        "loss_type": noise.loss_type,
        "huber_schedule": noise.huber_schedule,
        "huber_c": noise.huber_c,
        "huber_scale": noise.huber_scale,
    }


def _flow_keys(noise: NoiseGroup) -> dict[str, Any]:
    """Keys that sd-scripts' trainers of flow models add, whether a setting has an effect or not."""
    return {name: getattr(noise, name) for name in FLOW_SETTINGS}


def _dataset_keys(config: TrainConfig, facts: DatasetFacts) -> dict[str, Any]:
    """Keys of the pictures. With a dataset config, values that may differ between datasets stand in
    `datasets` alone, as a list."""
    data = config.dataset
    return {
        "num_train_images": facts.images,
        "num_reg_images": facts.reg_images,
        "num_validation_images": facts.validation_images,
        "num_batches_per_epoch": facts.batches_per_epoch,
        "dataset_dirs": _folders(facts.folders),
        "tag_frequency": {name: dict(tags) for name, tags in facts.tags.items()},
        "caption_dropout_rate": data.caption_dropout_rate,
        "caption_dropout_every_n_epochs": data.caption_dropout_every_n_epochs,
        "caption_tag_dropout_rate": data.caption_tag_dropout_rate,
        "face_crop_aug_range": data.face_crop_aug_range or None,
        "prior_loss_weight": data.prior_loss_weight,
        "resize_interpolation": data.resize_interpolation,
        "validation_seed": data.validation_seed,
        "validation_split": data.validation_split,
        **({"datasets": json.dumps(facts.datasets)} if facts.datasets else _only_dataset(config, facts)),
    }


def _only_dataset(config: TrainConfig, facts: DatasetFacts) -> dict[str, Any]:
    data = config.dataset
    buckets = {
        str(number): {"resolution": [width, height], "count": count}
        for number, (width, height, count) in enumerate(facts.buckets)
    }
    return {
        "batch_size_per_device": data.train_batch_size,
        "total_batch_size": data.train_batch_size
        * config.optimizer.gradient_accumulation_steps
        * config.run.num_processes,
        "resolution": facts.resolution,
        "enable_bucket": data.enable_bucket,
        "bucket_no_upscale": data.bucket_no_upscale,
        "min_bucket_reso": data.min_bucket_reso,
        "max_bucket_reso": data.max_bucket_reso,
        "bucket_info": {"buckets": buckets, "mean_img_ar_error": facts.mean_aspect_error},
        "reg_dataset_dirs": _folders(facts.reg_folders),
        "keep_tokens": data.keep_tokens,
        "shuffle_caption": data.shuffle_caption,
        "flip_aug": facts.flip_aug,
        "color_aug": data.color_aug,
        "random_crop": data.random_crop,
    }


def _folders(folders: Mapping[str, tuple[int, int]]) -> dict[str, dict[str, int]]:
    return {name: {"n_repeats": repeats, "img_count": count} for name, (repeats, count) in folders.items()}


ABSENT = {
    "ss_validate_every_n_epochs": "None",
    "ss_sd_scripts_commit_hash": "(unknown)",
    **{key: "False" for key in ("ss_fp8_base", "ss_full_fp16", "ss_lowram")},
}
"""Options of Kohya's trainer that no run here uses: readers look for these keys."""


def _modelspec(config: TrainConfig, facts: RunFacts) -> dict[str, str]:
    width, height = facts.dataset.resolution
    steps = config.noise
    values = {
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
    return {f"modelspec.{key}": plain_lines(value) for key, value in values.items() if value}
