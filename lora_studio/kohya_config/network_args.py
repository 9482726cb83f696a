"""`network_module` and `network_args`: the kinds of networks of sd-scripts and LyCORIS."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lora_studio.errors import ConfigError
from lora_studio.kohya_config.option_values import number_in
from lora_studio.kohya_config.options import (
    ARGS_NOT_BUILT,
    ARGS_OF_ALL_BLOCKS,
    ARGS_OF_ONE_KIND,
    ARGS_PASSED_OVER,
    LYCORIS,
    LYCORIS_ALGOS,
    LYCORIS_PRESETS,
    MODULES,
    NETWORK_ARGS,
    OFF_AT_ZERO_ARGS,
    OPTIONS,
)
from lora_studio.kohya_config.taken_options import TakenOptions, leaves

OFF = frozenset({"", "false", "none", "null"})
TUCKER = frozenset({"use_tucker", "use_cp", "use_conv_cp"})
MOST_PAIRS = 200
WIDEST_LAYER = 10_000


def take_module(taken: TakenOptions, value: Any) -> None:
    taken.module = str(value)
    if taken.module != LYCORIS and taken.module not in MODULES:
        taken.not_built.append(f"network_module {value}")


def take_network_args(taken: TakenOptions, value: Any) -> None:
    """Take `network_args`: settings of ours, arguments to judge later, unknown ones. Raises ConfigError."""
    for key, text in pairs("network_args", value):
        name = NETWORK_ARGS.get(key)
        taken.conv_is_off |= key == "conv_dim" and is_off(text)
        if key == "algo":
            _take_algo(taken, text.lower())
        elif key in ARGS_PASSED_OVER:
            taken.network_args[key] = text
        elif name is not None:
            if not (key in OFF_AT_ZERO_ARGS and is_off(text)) and text.lower() not in OFF - {"false"}:
                taken.put(leaves()[name], text)
        elif key in ARGS_NOT_BUILT:
            taken.network_args[key] = text
        elif not is_off(text):
            taken.foreign_args.append(key)


def settle_network(taken: TakenOptions) -> None:
    """Settle options that depend on each other, once all are taken."""
    if kind := MODULES.get(taken.module):
        if kind != "lora":
            taken.values["algo"] = kind
    elif taken.module == LYCORIS:
        _settle_lycoris(taken)
    preset = taken.network_args.get("preset", "")
    if preset and taken.module != LYCORIS:
        taken.not_built.append(f"network_args preset={preset}")
    for key, text in taken.network_args.items():
        if key in ARGS_NOT_BUILT and not is_off(text) and _matters(taken, key):
            taken.not_built.append(f"network_args {key}={text}")
    _settle_dropout(taken)
    _settle_full_matrix(taken)


def is_off(text: str) -> bool:
    return text.lower() in OFF or number_in(text) == 0


def pairs(option: str, value: Any) -> list[tuple[str, str]]:
    """(key, value) of sd-scripts' `["key=value", ...]`, or of one text with blanks. Raises ConfigError."""
    parts: Sequence[Any] = _split(value) if isinstance(value, str) else value
    if not isinstance(parts, list | tuple):
        raise ConfigError(
            f"{option}: a list of key=value is needed.", "For example conv_dim=8.", field=option
        )
    if len(parts) > MOST_PAIRS:
        raise ConfigError(f"{option}: more than {MOST_PAIRS} are given.", field=option)
    found = []
    for part in parts:
        key, equals, text = str(part).replace('"', "").partition("=")
        if not equals:
            raise ConfigError(
                f"{option}: {str(part)[:100]!r} is not of the form key=value.",
                "For example conv_dim=8.",
                field=option,
            )
        found.append((key.strip(), text.strip()))
    return found


def _split(text: str) -> list[str]:
    """Words of a text as pairs; one without `=` belongs to the value before, as in `betas=0.9, 0.99`."""
    parts: list[str] = []
    for word in text.split():
        if "=" in word or not parts:
            parts.append(word)
        else:
            parts[-1] += f" {word}"
    return parts


def _take_algo(taken: TakenOptions, text: str) -> None:
    taken.algo = text
    name = LYCORIS_ALGOS.get(text, text)
    if name in leaves()["algo"].choices:
        taken.values["algo"] = name
    else:
        taken.not_built.append(f"network_args algo={text}")


def _matters(taken: TakenOptions, key: str) -> bool:
    """Whether a key that is switched on changes anything in this network."""
    if key in ARGS_OF_ALL_BLOCKS:
        return taken.network_args[key].lower() != "all"
    if key in ARGS_OF_ONE_KIND:
        return ARGS_OF_ONE_KIND[key] == taken.algo
    if key in TUCKER:  # splits the kernels of convolutions
        return bool(taken.values.get("conv_dim"))
    if key == "rank_dropout_scale":
        return not is_off(str(taken.values.get("rank_dropout", "0"))) and not _is_lora(taken)
    return True


def _is_lora(taken: TakenOptions) -> bool:
    return taken.values.get("algo", "lora") == "lora"


def _settle_lycoris(taken: TakenOptions) -> None:
    """Take LyCORIS' preset: it trains the convolutions unless switched off."""
    if str(taken.values.get("dora_wd")).lower() == "true":
        taken.values.setdefault("wd_on_output", "True")  # its default, not ours
    preset = taken.network_args.get("preset", "") or "full"
    if preset not in LYCORIS_PRESETS:
        taken.not_built.append(f"network_args preset={preset}")
        return
    with_convolutions, denoiser_only = LYCORIS_PRESETS[preset]
    if denoiser_only:
        taken.values["network_train_unet_only"] = True
    if not with_convolutions or taken.conv_is_off:
        taken.values.pop("conv_dim", None)
        taken.values.pop("conv_alpha", None)
        return
    taken.values.setdefault("conv_dim", taken.values.get("network_dim", leaves()["network_dim"].default))
    taken.values.setdefault("conv_alpha", taken.values.get("network_alpha", OPTIONS["network_alpha"]))
    taken.notes.append(
        f"LyCORIS' preset {preset} is taken as conv_dim: conv_in, conv_out, time_embedding aren't trained."
    )


def _settle_dropout(taken: TakenOptions) -> None:
    if is_off(str(taken.values.get("rank_dropout", "0"))):
        return
    if _is_lora(taken) and taken.module == LYCORIS:
        if is_off(taken.network_args.get("rank_dropout_scale", "")):
            taken.notes.append("rank_dropout scales the ranks that stay up, as networks.lora does.")
    elif taken.module in MODULES and not _is_lora(taken):
        taken.notes.append(
            f"rank_dropout leaves the rows that stay as they are, as in LyCORIS; {taken.module} scales them."
        )


def _settle_full_matrix(taken: TakenOptions) -> None:
    """Take a rank that no layer has as full_matrix: LyCORIS' users ask for LoKr without ranks so."""
    dims = [number_in(str(taken.values.get(name, ""))) for name in ("network_dim", "conv_dim")]
    given = [dim for dim in dims if dim is not None]
    if taken.values.get("algo") != "lokr" or not given or min(given) < WIDEST_LAYER:
        return
    most = int(leaves()["network_dim"].maximum or 1)
    taken.values |= {"full_matrix": "True", "network_dim": most, "network_alpha": most}
    taken.values |= {"conv_dim": most, "conv_alpha": most} if len(given) > 1 else {}
    taken.values.pop("decompose_both", None)
    taken.notes.append(f"network_dim {given[0]} is taken as full_matrix: it is wider than every layer.")
