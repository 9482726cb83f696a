"""The loaded base model with the LoRA that this run trains on it."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from lora_studio.config import TrainConfig
from lora_studio.data.seeds import seed_of
from lora_studio.errors import ConfigError, UnknownFormat
from lora_studio.families import family_of
from lora_studio.families.base import Family, Parts
from lora_studio.families.detect import FoundBase
from lora_studio.lora.attach import AttachedLora, attach
from lora_studio.lora.metadata import LEGACY_BYTES, LEGACY_OFFSET
from lora_studio.runtime import Device


@dataclass(frozen=True, kw_only=True)
class Engine:
    """`rates` holds the learning rate of each part that is trained."""

    config: TrainConfig
    family: Family
    parts: Parts
    lora: AttachedLora
    device: Device
    dtype: torch.dtype
    rates: dict[str, float]

    @property
    def trains_text_encoder(self) -> bool:
        return "text_encoder" in self.rates

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        if self.dtype == torch.float32:
            return contextlib.nullcontext()
        return torch.autocast(self.device.kind, self.dtype)

    def encode_text(self, captions: Sequence[str]) -> torch.Tensor:
        """[b, n, d]; with gradients only if the text encoder is trained and gradients are on."""
        with self.autocast():
            return self.family.encode_text(self.parts, captions, self.config.model.clip_skip).float()

    @torch.no_grad()
    def encode_fixed_text(self, captions: Sequence[str]) -> torch.Tensor:
        return self.encode_text(captions)

    @torch.no_grad()
    def encode_pictures(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.family.encode_pictures(self.parts, pixels)

    def train_mode(self, on: bool) -> None:
        """Switch dropout and gradient checkpointing, which only act in training mode."""
        for model in self.parts.models().values():
            model.train(on)


def trained_rates(config: TrainConfig) -> dict[str, float]:
    """The learning rate of each part that is trained, text encoder first. Raises ConfigError when none is."""
    optimizer = config.optimizer
    rates = {}
    if config.trains_text_encoder:
        rate = optimizer.text_encoder_lr
        rates["text_encoder"] = optimizer.learning_rate if rate is None else rate
    unet_rate = optimizer.learning_rate if optimizer.unet_lr is None else optimizer.unet_lr
    if unet_rate > 0:
        rates["unet"] = unet_rate
    if not rates:
        raise ConfigError(
            "unet_lr is 0 and the text encoder is not trained, so nothing would be learned.",
            "Give one of them a learning rate.",
            field="unet_lr",
        )
    return rates


def load_engine(config: TrainConfig, found: FoundBase, device: Device, dtype: torch.dtype) -> Engine:
    """Load the base, put a fresh LoRA on it, move it to the device. Raises ModelFileError and its kin,
    ConfigError."""
    rates = trained_rates(config)
    family = family_of(found)
    parts = family.load(v_parameterization=config.model.v_parameterization)
    targets = family.targets(parts, unet="unet" in rates, text_encoder="text_encoder" in rates)
    if not targets:
        raise UnknownFormat(
            f"The base model {found.name} has no layer that a LoRA could go to.", path=found.name
        )
    lora = attach(
        parts.models(),
        targets,
        dim=config.network.network_dim,
        alpha=config.network.network_alpha,
        dropout=config.network.network_dropout,
        seed=seed_of(config.optimizer.seed, "lora"),
    )
    family.place(parts, device.kind, dtype)
    if config.optimizer.gradient_checkpointing:
        for model in parts.models().values():
            _checkpoint_gradients(model)
    return Engine(
        config=config, family=family, parts=parts, lora=lora, device=device, dtype=dtype, rates=rates
    )


def base_name(found: FoundBase) -> str:
    """What a LoRA file calls its base: the catalog's name, the hub id, or the name of file or folder."""
    if found.entry is not None:
        return found.entry.name
    return found.path_or_id if found.layout == "hub" else Path(found.path_or_id).name


def base_hashes(found: FoundBase) -> dict[str, str]:
    """Kohya's two hashes of a checkpoint file; none for folders and hub ids."""
    if found.layout != "file":
        return {}
    with open(found.path_or_id, "rb") as file:
        whole = hashlib.file_digest(file, "sha256").hexdigest()
        file.seek(LEGACY_OFFSET)
        window = hashlib.sha256(file.read(LEGACY_BYTES)).hexdigest()
    return {"ss_new_sd_model_hash": whole, "ss_sd_model_hash": window[:8]}


def _checkpoint_gradients(model: Any) -> None:
    """diffusers and transformers have different words for it."""
    if hasattr(model, "enable_gradient_checkpointing"):
        model.enable_gradient_checkpointing()
    else:
        model.activation_checkpointing_enable({"use_reentrant": False})
