"""sd-scripts' options whose form is another one than ours, each with how it is taken."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from lora_studio.config import Leaf, config_leaves
from lora_studio.config_groups.arguments import split_arguments
from lora_studio.errors import ConfigError
from lora_studio.kohya_config.options import (
    LYCORIS,
    LYCORIS_ALGOS,
    NETWORK_ARGS,
    OPTIONS,
    SHARES_OF_THE_RUN,
)
from lora_studio.numbers import parse_decimal


class Reading(Protocol):
    """What has been taken from a file so far, see reading.py."""

    values: dict[str, Any]
    notes: list[str]
    not_built: list[str]
    shares: dict[str, float]
    module: str
    preset: str

    def take(self, name: str, value: Any) -> None: ...

    def put(self, leaf: Leaf, value: Any) -> None: ...


def _share_of_the_run(name: str) -> Callable[[Reading, Any], None]:
    def take(reading: Reading, value: Any) -> None:
        leaf = leaves().get(name)
        if leaf is None:
            reading.not_built.append(name)
            return
        share = _share(value)
        if share is not None and leaf.annotation is int:
            reading.shares[name] = share
        else:
            reading.values[name] = value

    return take


def _share(value: Any) -> float | None:
    if isinstance(value, str) and value.strip().endswith("%"):
        number = parse_decimal(value.strip()[:-1])
        return None if number is None else number / 100
    return float(value) if isinstance(value, float) and 0 < value < 1 else None


def _take_resolution(reading: Reading, value: Any) -> None:
    parts = value if isinstance(value, list) else str(value).split(",")
    sides = [str(part).strip() for part in parts]
    if len(set(sides)) == 1:
        reading.values["resolution"] = sides[0]
    elif len(sides) == 2 and "resolution_height" in leaves():
        reading.values |= {"resolution": sides[0], "resolution_height": sides[1]}
    else:
        reading.not_built.append(f"resolution {','.join(sides)} (only squares)")


def _take_network_args(reading: Reading, value: Any) -> None:
    for key, text in _pairs("network_args", value):
        name = NETWORK_ARGS.get(key, key)
        if key == "preset":
            reading.preset = text
        elif key == "algo":
            _take_algo(reading, text.lower())
        elif name in leaves():
            reading.put(leaves()[name], text)
        elif key in NETWORK_ARGS:
            reading.not_built.append(f"network_args {key}")
        else:
            raise unknown(key, NETWORK_ARGS)


def _take_algo(reading: Reading, text: str) -> None:
    leaf = leaves().get("algo")
    name = LYCORIS_ALGOS.get(text, text)
    if leaf is not None and name in leaf.choices:
        reading.values[leaf.name] = name
    else:
        reading.not_built.append(f"network_args algo={text}")


def _take_optimizer_args(reading: Reading, value: Any) -> None:
    rest = []
    for key, text in _pairs("optimizer_args", value):
        if key == "weight_decay" and key in leaves() and _is_number(text):
            reading.values[key] = text
        else:
            rest.append(f"{key}={text}")
    _take_rest(reading, "optimizer_args", rest)


def _take_scheduler_args(reading: Reading, value: Any) -> None:
    pairs = [f"{key}={text}" for key, text in _pairs("lr_scheduler_args", value)]
    _take_rest(reading, "lr_scheduler_args", pairs)


def _take_rest(reading: Reading, name: str, pairs: list[str]) -> None:
    if not pairs:
        return
    if name in leaves():
        reading.values[name] = tuple(pairs)
    else:
        reading.not_built.append(f"{name} {' '.join(pairs)}")


def _take_rates(reading: Reading, value: Any) -> None:
    """sd-scripts takes a rate for each text encoder."""
    rates = value if isinstance(value, list) else [value]
    leaf = leaves()["text_encoder_lr"]
    if len(set(rates)) == 1 or leaf.annotation is not float:
        reading.values[leaf.name] = rates[0] if len(set(rates)) == 1 else tuple(rates)
    else:
        reading.not_built.append(f"text_encoder_lr {' '.join(map(str, rates))} (one rate for all)")


def _take_file_kind(reading: Reading, value: Any) -> None:
    if value != "safetensors":
        reading.not_built.append(f"save_model_as {value} (only safetensors)")


def _take_module(reading: Reading, value: Any) -> None:
    reading.module = str(value)
    if value not in ("networks.lora", LYCORIS):
        reading.not_built.append(f"network_module {value}")


def _take_old_flag(optimizer: str) -> Callable[[Reading, Any], None]:
    def take(reading: Reading, value: Any) -> None:
        if value:
            reading.put(leaves()["optimizer_type"], optimizer)

    return take


def _take_prompts(reading: Reading, value: Any) -> None:
    if isinstance(value, list):  # read from the file that the option names, see `file.py`
        reading.values["sample_prompts"] = tuple(value)
    else:
        raise ConfigError(f"sample_prompts: the file {value} can't be read.", field="sample_prompts")


def _take_title(reading: Reading, value: Any) -> None:
    reading.values["metadata_title"] = str(value)[:120]


def _take_misspelt(reading: Reading, value: Any) -> None:
    reading.take("caption_extension", value)


SPECIAL: Mapping[str, Callable[[Reading, Any], None]] = {
    "resolution": _take_resolution,
    "network_args": _take_network_args,
    "optimizer_args": _take_optimizer_args,
    "lr_scheduler_args": _take_scheduler_args,
    "text_encoder_lr": _take_rates,
    "save_model_as": _take_file_kind,
    "network_module": _take_module,
    "use_8bit_adam": _take_old_flag("AdamW8bit"),
    "use_lion_optimizer": _take_old_flag("Lion"),
    "sample_prompts": _take_prompts,
    "metadata_title": _take_title,
    "caption_extention": _take_misspelt,
    **{name: _share_of_the_run(name) for name in SHARES_OF_THE_RUN},
}
"""Options whose form is another one than ours."""


def _pairs(option: str, value: Any) -> list[tuple[str, str]]:
    """`["key=value", ...]` as sd-scripts takes it; one text with spaces is understood as well."""
    parts: Sequence[Any] = split_arguments(value) if isinstance(value, str) else value
    pairs = []
    for part in parts:
        key, equals, text = str(part).partition("=")
        if not equals:
            raise ConfigError(
                f"{option}: {part!r} is not of the form key=value.", "For example conv_dim=8.", field=option
            )
        pairs.append((key.strip(), text.strip()))
    return pairs


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def unknown(name: str, among: Mapping[str, Any] | None = None) -> ConfigError:
    known = among or {**OPTIONS, **leaves()}
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return ConfigError(
        f"Neither sd-scripts nor LoRA Studio has an option called {name!r}.",
        f"Did you mean {near[0]}?" if near else "See docs/kohya.md.",
        field=name,
    )


def leaves() -> dict[str, Leaf]:
    return {leaf.name: leaf for leaf in config_leaves()}
