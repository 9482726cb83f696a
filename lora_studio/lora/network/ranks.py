"""Rank, alpha and rate of each layer: Kohya's rules, by layer type and by block of the denoiser."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from lora_studio.config_groups import NetworkGroup
from lora_studio.errors import ConfigError
from lora_studio.lora.file.keys import UNET

DIFFUSERS_BLOCK = re.compile(
    r"(?P<half>down|up)_blocks_(\d{1,3})_(?P<kind>resnets|attentions|(?:down|up)samplers)_(\d{1,3})_"
)
ORIGINAL_BLOCK = re.compile(rf"{UNET}_(?P<half>input_blocks|middle_block|output_blocks)_(\d{{1,3}})_")
HALF, ORIGINAL_HALF, ORIGINAL_MIDDLE = 12, 9, 3
FIRST_ORIGINAL = {"input_blocks": 1, "middle_block": 10, "output_blocks": 13}


RESIDUAL = ("ResnetBlock2D", "Downsample2D", "Upsample2D")


class Layer(Protocol):
    """A place for a LoRA: part of the model, module path, name in the file (a family's Target is one)."""

    @property
    def part(self) -> str: ...
    @property
    def module(self) -> str: ...
    @property
    def name(self) -> str: ...


@dataclass(frozen=True, kw_only=True)
class Size:
    """Rank and alpha of one layer. A rank of 0 means no LoRA there."""

    dim: int
    alpha: float


def plan_sizes(
    settings: NetworkGroup, layers: Sequence[Layer], is_convolution: Callable[[Layer], bool]
) -> dict[str, Size]:
    """Rank and alpha of each layer that gets a LoRA, by its name; `is_convolution` tells the layers with a
    kernel larger than 1x1. Raises ConfigError."""
    plain = Size(dim=settings.network_dim, alpha=settings.network_alpha)
    conv = _conv_size(settings)
    blocks = _block_sizes(settings, layers, plain, conv)
    sizes: dict[str, Size] = {}
    for layer in layers:
        size = conv if is_convolution(layer) else plain
        if blocks is not None and layer.name.startswith(UNET):
            sizes_there = blocks.conv if is_convolution(layer) else blocks.plain
            size = sizes_there[block_of(layer.name)] if sizes_there is not None else None
        if size is not None and size.dim:
            sizes[layer.name] = Size(dim=size.dim, alpha=size.alpha or float(size.dim))
    return sizes


def convolution_layers(unet: Any) -> list[str]:
    """Module paths of the layers that Kohya's trainer adds to the attention layers when conv_dim is given:
    all linear layers and convolutions of the residual blocks, down- and upsamplers."""
    paths = []
    for outer, block in unet.named_modules():
        if type(block).__name__ in RESIDUAL:
            for inner, module in block.named_modules():
                if hasattr(module, "in_features") or hasattr(module, "kernel_size"):
                    paths.append(f"{outer}.{inner}")
    return list(dict.fromkeys(paths))


def rate_factors(settings: NetworkGroup, names: Sequence[str]) -> list[float] | None:
    """Factor of the denoiser's rate for each block; None when all are the same. Raises ConfigError."""
    given = (settings.down_lr_weight, settings.mid_lr_weight, settings.up_lr_weight)
    if not any(text.strip() for text in given):
        return None
    original = is_original(names)
    half, middle = (ORIGINAL_HALF, ORIGINAL_MIDDLE) if original else (HALF, 1)
    parts: list[float] = []
    for option, text, count in (
        ("down_lr_weight", given[0], half),
        ("mid_lr_weight", given[1], middle),
        ("up_lr_weight", given[2], half),
    ):
        factors = _factors(option, text.strip(), count)
        parts += [factor if factor > settings.block_lr_zero_threshold else 0.0 for factor in factors]
    return [1.0, *parts, 1.0] if original else parts


def block_of(name: str) -> int:
    """Kohya's number of the denoiser's block that a layer belongs to: 0 to 24, for SDXL's names 0 to 22."""
    match = ORIGINAL_BLOCK.match(name)
    if match:
        return FIRST_ORIGINAL[match["half"]] + int(match[2])
    match = DIFFUSERS_BLOCK.search(name)
    if match:
        inside = 2 if match["kind"].endswith("samplers") else int(match[4])
        first = 1 if match["half"] == "down" else HALF + 1
        return first + 3 * int(match[2]) + inside
    if "mid_block_" in name:
        return HALF
    return 22 if name.startswith(f"{UNET}_out_") else 0


def curve(name: str, count: int) -> list[float]:
    """One of Kohya's curves over `count` blocks, with an offset if the name has one (`cosine+0.25`)."""
    kind, _, offset = name.partition("+")
    steps = [index / (count - 1) for index in range(count)]
    shapes: Mapping[str, Callable[[float], float]] = {
        "sine": lambda x: math.sin(math.pi * x / 2),
        "cosine": lambda x: math.sin(math.pi * (1 - x) / 2),
        "linear": lambda x: x,
        "reverse_linear": lambda x: 1 - x,
        "zeros": lambda _: 0.0,
    }
    return [shapes[kind](x) + float(offset or 0) for x in steps]


def check_network(settings: NetworkGroup) -> None:
    """Refuse network settings that can't go together, before anything is loaded. Raises ConfigError."""
    if settings.network_train_unet_only and settings.network_train_text_encoder_only:
        raise ConfigError(
            "network_train_unet_only and network_train_text_encoder_only leave nothing to train.",
            "Switch one of them off.",
            field="network_train_text_encoder_only",
        )
    if settings.dim_from_weights and not settings.network_weights:
        raise ConfigError(
            "dim_from_weights needs a file to take the ranks from.",
            "Name it in network_weights.",
            field="network_weights",
        )
    if settings.algo == "diag-oft" and settings.dora_wd:
        raise ConfigError(
            "dora_wd does not go with diag-oft, which keeps the magnitudes as they are.",
            "Use lora, loha or lokr for DoRA.",
            field="dora_wd",
        )
    if settings.network_dropout and not settings.is_plain:
        raise ConfigError(
            "network_dropout works with plain LoRA only: other kinds have no activations of the rank.",
            "Use rank_dropout or module_dropout.",
            field="network_dropout",
        )
    if settings.scale_weight_norms and settings.algo == "diag-oft":
        raise ConfigError(
            "scale_weight_norms does not go with diag-oft, whose turns have no size that could grow.",
            "Use constraint instead.",
            field="scale_weight_norms",
        )
    if len(settings.base_weights_multiplier) > len(settings.base_weights):
        raise ConfigError(
            "base_weights_multiplier has more numbers than base_weights has files.",
            "Give one number for each file.",
            field="base_weights_multiplier",
        )


def unused_settings(settings: NetworkGroup) -> Iterator[str]:
    """Sentences on settings of the network that have no effect beside the others."""
    plain = type(settings)()
    needs = {
        "conv_alpha": (settings.conv_dim or settings.conv_block_dims, "conv_dim is empty"),
        "conv_block_alphas": (settings.conv_dim or settings.conv_block_dims, "conv_dim is empty"),
        "wd_on_output": (settings.dora_wd, "dora_wd is off"),
        **dict.fromkeys(LOKR_SETTINGS, (settings.algo == "lokr", f"algo is {settings.algo}")),
        "constraint": (settings.algo == "diag-oft", f"algo is {settings.algo}"),
        "network_alpha": (settings.algo != "diag-oft", "diag-oft has constraint instead"),
        "block_lr_zero_threshold": (
            settings.down_lr_weight or settings.mid_lr_weight or settings.up_lr_weight,
            "no block has a rate of its own",
        ),
        **dict.fromkeys(PLUS_SETTINGS, (settings.algo != "diag-oft", "diag-oft has no up matrices")),
        **dict.fromkeys(SIZES, (not settings.dim_from_weights, "dim_from_weights takes them from the file")),
    }
    for name, (is_used, why) in needs.items():
        if getattr(settings, name) != getattr(plain, name) and not is_used:
            yield f"{name} is ignored: {why}."


LOKR_SETTINGS = ("factor", "decompose_both", "full_matrix")
PLUS_SETTINGS = ("loraplus_lr_ratio", "loraplus_unet_lr_ratio", "loraplus_text_encoder_lr_ratio")
SIZES = ("network_dim", "conv_dim", "block_dims", "block_alphas", "conv_block_dims")


@dataclass(frozen=True, kw_only=True)
class _Blocks:
    plain: list[Size]
    conv: list[Size] | None


def _conv_size(settings: NetworkGroup) -> Size | None:
    if settings.conv_dim is None:
        return None
    return Size(dim=settings.conv_dim, alpha=1.0 if settings.conv_alpha is None else settings.conv_alpha)


def _block_sizes(
    settings: NetworkGroup, layers: Sequence[Layer], plain: Size, conv: Size | None
) -> _Blocks | None:
    names = [layer.name for layer in layers if layer.name.startswith(UNET)]
    factors = rate_factors(settings, names)
    given = (settings.block_dims, settings.block_alphas, settings.conv_block_dims, settings.conv_block_alphas)
    if factors is None and not any(given):
        return None
    count = 23 if is_original(names) else 25
    conv_alpha = 1.0 if settings.conv_alpha is None else settings.conv_alpha
    found = _Blocks(
        plain=_sizes("block_dims", settings.block_dims, settings.block_alphas, plain, count),
        conv=_sizes(
            "conv_block_dims",
            settings.conv_block_dims,
            settings.conv_block_alphas,
            conv or Size(dim=0, alpha=conv_alpha),
            count,
        )
        if conv or settings.conv_block_dims
        else None,
    )
    for block, factor in enumerate(factors or ()):
        if factor == 0:
            for sizes in (found.plain, found.conv or []):
                if sizes:
                    sizes[block] = Size(dim=0, alpha=0.0)
    return found


def _sizes(option: str, dims: str, alphas: str, usual: Size, count: int) -> list[Size]:
    alpha_option = option.replace("dims", "alphas")
    all_dims = _numbers(option, dims, count) or [usual.dim] * count
    all_alphas = _numbers(alpha_option, alphas, count) or [usual.alpha] * count
    return [Size(dim=int(dim), alpha=alpha) for dim, alpha in zip(all_dims, all_alphas, strict=True)]


def _numbers(option: str, text: str, count: int) -> list[float]:
    numbers = [float(part or 0) for part in text.split(",")] if text.strip() else []
    if numbers and len(numbers) != count:
        raise ConfigError(
            f"{option} has {len(numbers)} numbers; this base model has {count} blocks.",
            "Give one number for each block, with commas between them.",
            field=option,
        )
    return numbers


def _factors(option: str, text: str, count: int) -> list[float]:
    """The rate factors of one option's blocks. Kohya's rule for lists that are too short: the rest is 1.
    Raises ConfigError for longer ones."""
    if not text:
        return [1.0] * count
    if text.partition("+")[0].isidentifier():
        return curve(text, count)
    numbers = [float(part or 0) for part in text.split(",")]
    if len(numbers) > count:
        raise ConfigError(
            f"{option} has {len(numbers)} numbers; this base model has {count} blocks there.",
            "Leave some out.",
            field=option,
        )
    return numbers + [1.0] * (count - len(numbers))


def is_original(names: Sequence[str]) -> bool:
    """Whether the denoiser's layers go by the names of Stability's own code, as SDXL's do in files."""
    return any(ORIGINAL_BLOCK.match(name) for name in names)
