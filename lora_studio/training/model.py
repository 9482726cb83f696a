"""The loaded base model with the LoRA that this run trains on it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from lora_studio.catalog import Base, check_trainable
from lora_studio.config import TrainConfig
from lora_studio.data.seeds import seed_of
from lora_studio.errors import ConfigError, UnknownFormat
from lora_studio.families import family_of
from lora_studio.families.base import BaseModel, TextOutput
from lora_studio.families.base_files.base_hashes import base_hashes as base_hashes
from lora_studio.families.base_files.found_base import FoundBase
from lora_studio.families.encoders.clip_encoder import CaptionWindows
from lora_studio.families.weights.block_swap import BlockSwap
from lora_studio.families.weights.loading import place_model
from lora_studio.families.weights.quantised_weights import quantise_weights
from lora_studio.formatting import size
from lora_studio.lora.file.keys import DENOISER, TEXT_ENCODERS, same_layer
from lora_studio.lora.network.attach import AttachedLora, attach
from lora_studio.lora.network.initial_weights import continue_from, merge_into_base, sizes_from
from lora_studio.lora.network.layers import Dropouts, Shape
from lora_studio.lora.network.param_groups import parameter_groups
from lora_studio.lora.network.ranks import Layer, check_network, plan_sizes
from lora_studio.lora.network.weight_norms import Norms, limit_norms
from lora_studio.runtime import Device
from lora_studio.training.activations.frugal_modules import FrugalModules
from lora_studio.training.ignored_settings import why_not_parallel, without_effect

TEXT = TEXT_ENCODERS[0]
"""Stands for both text encoders where a rate is looked up."""


@dataclass(frozen=True, kw_only=True)
class Engine:
    """`rates` holds the learning rate of each part that is trained; `notes` are sentences on what of
    network_weights could not be used. `swap` is there while blocks are swapped, `saved_bytes` are those that
    the denoiser takes less from the beginning since it is held in few bits; `frugal` are the modules that
    keep less for the way back."""

    config: TrainConfig
    base: BaseModel
    lora: AttachedLora
    device: Device
    dtype: torch.dtype
    rates: dict[str, float]
    frugal: FrugalModules
    notes: tuple[str, ...] = ()
    swap: BlockSwap | None = None
    saved_bytes: int = 0

    @property
    def trains_text_encoder(self) -> bool:
        return TEXT in self.rates

    @property
    def guidance(self) -> float | None:
        """The guidance that the denoiser is told in training; None where it takes none."""
        return self.config.noise.guidance_scale if self.base.takes_guidance else None

    @property
    def batch_threads(self) -> int:
        """The threads that share the pictures of a batch (cpu_data_parallel); 1 where all cores compute one
        layer after the other."""
        wanted = self.config.run.cpu_data_parallel and self.device.kind == "cpu"
        if not wanted or why_not_parallel(self.config, self.device):
            return 1
        return min(torch.get_num_threads(), self.config.dataset.train_batch_size)

    @property
    def memory_notes(self) -> tuple[str, ...]:
        """Sentences on what is held in another way to save memory, and what that saves."""
        held = self.config.model.held_as
        few_bits = f"The base's denoiser is held as {held}: {size(self.saved_bytes)} less."
        swapped = "" if self.swap is None else self.swap.sentence
        texts = f"Its text encoders are held as {self.base.texts_held_as}." if self.base.texts_held_as else ""
        return tuple(filter(None, (few_bits if self.saved_bytes else "", texts, swapped)))

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        if self.dtype == torch.float32:
            return contextlib.nullcontext()
        return torch.autocast(self.device.kind, self.dtype)

    @contextlib.contextmanager
    def forward_pass(self) -> Iterator[None]:
        """The frame of what is computed with gradients, once they are on: autocast, and what may be made anew
        is not kept."""
        with self.autocast(), self.frugal.remaking():
            yield

    def encode_text(self, captions: Sequence[str]) -> TextOutput:
        """Captions as they are trained on. In 32 bit; with gradients only if the text encoder is trained and
        gradients are on."""
        settings = self.config.model
        with self.forward_pass():
            how = CaptionWindows(
                clip_skip=settings.clip_skip,
                max_token_length=settings.max_token_length,
                weighted=settings.weighted_captions,
            )
            return self.base.prompts.encode_captions(captions, how).to(torch.float32)

    @torch.no_grad()
    def encode_fixed_text(self, captions: Sequence[str]) -> TextOutput:
        """The output of the text encoders, in main memory: there may be many."""
        return self.encode_text(captions).to("cpu")

    def free_texts(self) -> None:
        """Take them out of memory where nothing of them has changed; what is encoded later brings them
        back."""
        if not self.trains_text_encoder and not self.config.network.base_weights:
            self.base.free_text()

    @torch.no_grad()
    def encode_pictures(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and standard deviation of the latents as the denoiser takes them, [b, c, h, w] each, of pixels
        [b, 3, H, W] in -1..1."""
        codec = self.base.codec
        moments = codec.scaled(codec.encode(pixels, quick=True))
        return moments.mean, moments.std

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The parameters that the optimizer moves, in Kohya's order: `params`, `lr` and `name` of each group.
        Raises ConfigError."""
        return parameter_groups(self.config.network, self.lora, self.rates)

    def after_step(self) -> Norms | None:
        """Limit the norms of the LoRA's weights after an optimizer step (scale_weight_norms); None without a
        limit."""
        limit = self.config.network.scale_weight_norms
        return limit_norms(self.lora, limit) if limit else None

    def checkpoint_gradients(self) -> None:
        """Compute parts twice from now on to save memory."""
        for model in self.base.models().values():
            _checkpoint_gradients(model)

    def train_mode(self, on: bool) -> None:
        """Switch dropout and gradient checkpointing, which only act in training mode."""
        for model in self.base.models().values():
            model.train(on)


def trained_rates(config: TrainConfig) -> dict[str, float]:
    """The learning rate of each part that is trained, text encoder first. Raises ConfigError when none is, or
    when settings of the network can't go together."""
    check_network(config.network)
    optimizer = config.optimizer
    rates = {}
    if config.trains_text_encoder:
        rate = optimizer.text_encoder_lr
        rates[TEXT] = optimizer.learning_rate if rate is None else rate
    denoiser_rate = optimizer.learning_rate if optimizer.unet_lr is None else optimizer.unet_lr
    if denoiser_rate > 0 and not config.network.network_train_text_encoder_only:
        rates[DENOISER] = denoiser_rate
    if not rates:
        raise ConfigError(
            "unet_lr is 0 and the text encoder is not trained, so nothing would be learned.",
            "Give one of them a learning rate.",
            field="unet_lr",
        )
    return rates


def check_number_format(traits: Base, dtype: torch.dtype) -> None:
    """Refuse half precision that the base overflows in. Raises ConfigError."""
    if dtype == torch.float16 and traits.half == "bf16":
        raise ConfigError(
            f"{traits.title} overflows in fp16.", "Choose auto or bf16.", field="mixed_precision"
        )


def load_engine(config: TrainConfig, found: FoundBase, device: Device, dtype: torch.dtype) -> Engine:
    """Load the base, put a network on it, move it to the device. Raises ModelFileError and its kin,
    ConfigError."""
    rates = trained_rates(config)
    check_trainable(found.traits, confirmed=config.model.train_distilled)
    check_number_format(found.traits, dtype)
    base = family_of(found).load(v_parameterization=config.model.v_parameterization)
    base.process.prepare(config.noise)
    merged = _merge_base_weights(config, base)
    lora, notes = _attach_network(config, base, rates)
    rates = {part: rates.get(part, rates.get(TEXT, 0.0)) for part in lora.parts}
    count = config.model.blocks_to_swap
    swap = BlockSwap(base.blocks, count) if count else None
    saved = 0
    if config.model.held_as:
        place_model(base.denoiser, "cpu", dtype, read_ahead=False)
        saved = quantise_weights(base.denoiser, config.model.held_as, device.kind)
    base.texts_held_as = "" if config.model.qtype_te == "none" else config.model.qtype_te
    base.place(device.kind, dtype)
    lora.to(device.kind)
    if swap is not None:
        swap.start(device.kind)
    if config.optimizer.gradient_checkpointing:
        for model in base.models().values():
            _checkpoint_gradients(model)
    learning = (model for part, model in base.models().items() if part in (*lora.parts, DENOISER))
    return Engine(
        config=config,
        base=base,
        lora=lora,
        device=device,
        dtype=dtype,
        rates=rates,
        frugal=FrugalModules(learning, is_half=dtype != torch.float32),
        swap=swap,
        saved_bytes=saved,
        notes=(
            *merged,
            *notes,
            *base.ignored_settings(config),
            *without_effect(config.noise, base.process.unused(config.noise)),
        ),
    )


def _merge_base_weights(config: TrainConfig, base: BaseModel) -> list[str]:
    """Sentences on files that are not used whole."""
    remarks = []
    network = config.network
    layers = base.targets(conv=True) if network.base_weights else []
    for number, path in enumerate(network.base_weights):
        multipliers = network.base_weights_multiplier
        strength = multipliers[number] if number < len(multipliers) else 1.0
        remarks.append(merge_into_base(base.models(), layers, path, strength))
    return [sentence for sentence in remarks if sentence]


def _attach_network(
    config: TrainConfig, base: BaseModel, rates: dict[str, float]
) -> tuple[AttachedLora, tuple[str, ...]]:
    settings = config.network
    conv = bool(settings.conv_dim or settings.conv_block_dims or settings.dim_from_weights)
    targets = base.targets(denoiser=DENOISER in rates, texts=config.trains_text_encoder, conv=conv)
    models = base.models()

    def is_convolution(target: Layer) -> bool:
        module = models[target.part].get_submodule(target.module)
        return tuple(getattr(module, "kernel_size", (1, 1))) != (1, 1)

    if settings.dim_from_weights:
        sizes = sizes_from(settings.network_weights, targets, models)
    else:
        sizes = plan_sizes(settings, targets, is_convolution)
    chosen = [target for target in targets if target.name in sizes]
    if not chosen:
        raise UnknownFormat(
            f"The base model {base.found.name} has no layer that this network could go to.",
            "Check block_dims and the other settings of blocks.",
            path=base.found.name,
        )
    lora = attach(
        models,
        chosen,
        dim=settings.network_dim,
        alpha=settings.network_alpha,
        sizes=sizes,
        shape=_shape(config),
        seed=seed_of(config.optimizer.seed, "lora"),
    )
    return lora, tuple(_continue(settings.network_weights, lora))


def _shape(config: TrainConfig) -> Shape:
    settings = config.network
    return Shape(
        kind=settings.algo,
        dora_wd=settings.dora_wd,
        wd_on_output=settings.wd_on_output,
        factor=settings.factor,
        decompose_both=settings.decompose_both,
        full_matrix=settings.full_matrix,
        constraint=settings.constraint,
        dropouts=Dropouts(
            network=settings.network_dropout, rank=settings.rank_dropout, module=settings.module_dropout
        ),
    )


def _continue(path: str, lora: AttachedLora) -> Iterator[str]:
    if not path:
        return
    left_out = continue_from(path, lora)
    if left_out:
        yield (
            f"{len(left_out)} layers of {Path(path).name} are not trained here and left out, such as "
            f"{same_layer(left_out[0])}."
        )


def base_name(found: FoundBase) -> str:
    """The base's name in a LoRA file: the catalog's name, the hub id, or the name of file or folder."""
    if found.entry is not None:
        return found.entry.name
    return found.path_or_id if found.layout == "hub" else Path(found.path_or_id).name


def _checkpoint_gradients(model: Any) -> None:
    """diffusers and transformers have different words for it."""
    if hasattr(model, "enable_gradient_checkpointing"):
        model.enable_gradient_checkpointing()
    else:
        model.activation_checkpointing_enable({"use_reentrant": False})
