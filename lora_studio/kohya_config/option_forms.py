"""Options of sd-scripts whose form differs from ours, each with the function that takes it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from lora_studio.errors import ConfigError
from lora_studio.kohya_config.network_args import pairs, take_module, take_network_args
from lora_studio.kohya_config.option_values import number_in
from lora_studio.kohya_config.options import SHARES_OF_THE_RUN
from lora_studio.kohya_config.taken_options import TakenOptions, leaves


def _share_of_the_run(name: str) -> Callable[[TakenOptions, Any], None]:
    def take(taken: TakenOptions, value: Any) -> None:
        leaf = leaves().get(name)
        if leaf is None:
            taken.not_built.append(name)
            return
        share = _share(value)
        if share is not None and leaf.annotation is int:
            taken.shares[name] = share
        else:
            taken.values[name] = value

    return take


def _share(value: Any) -> float | None:
    if isinstance(value, str) and value.strip().endswith("%"):
        percent = number_in(value.strip()[:-1])
        return None if percent is None else percent / 100
    number = number_in(value) if isinstance(value, str) else value
    return number if isinstance(number, float) and 0 < number < 1 else None


def _take_resolution(taken: TakenOptions, value: Any) -> None:
    parts = value if isinstance(value, list) else str(value).split(",")
    sides = [str(part).strip() for part in parts]
    if len(set(sides)) == 1:
        taken.values["resolution"] = sides[0]
    elif len(sides) == 2:
        taken.values |= {"resolution": sides[0], "resolution_height": sides[1]}
    else:
        raise ConfigError(
            f"resolution: {','.join(sides)[:80]!r} is not one side or width,height.", field="resolution"
        )


def _take_optimizer_args(taken: TakenOptions, value: Any) -> None:
    rest = []
    for key, text in pairs("optimizer_args", value):
        if key == "weight_decay" and key in leaves() and number_in(text) is not None:
            taken.values[key] = text
        else:
            rest.append(f"{key}={text}")
    if rest:
        taken.values["optimizer_args"] = tuple(rest)


def _take_scheduler_args(taken: TakenOptions, value: Any) -> None:
    given = tuple(f"{key}={text}" for key, text in pairs("lr_scheduler_args", value))
    if given:
        taken.values["lr_scheduler_args"] = given


def _take_rates(taken: TakenOptions, value: Any) -> None:
    """Take sd-scripts' rates of several text encoders, if they are equal."""
    rates = [_number_or_text(one) for one in _listed(value)]
    if len(set(rates)) == 1:
        taken.values["text_encoder_lr"] = rates[0]
    else:
        taken.not_built.append(f"text_encoder_lr {' '.join(map(str, rates[:9]))} (one rate for all)")


def _number_or_text(value: Any) -> Any:
    number = number_in(value) if isinstance(value, str) else None
    return value if number is None else number


def _listed(value: Any) -> list[Any]:
    """One rate, several, or several in one text, as a list."""
    if isinstance(value, str):
        return re.split(r"[,\s]+", value.strip())
    return list(value) if isinstance(value, list | tuple) else [value]


def _take_file_kind(taken: TakenOptions, value: Any) -> None:
    if value != "safetensors":
        taken.not_built.append(f"save_model_as {value} (only safetensors)")


def _take_old_flag(optimizer: str) -> Callable[[TakenOptions, Any], None]:
    def take(taken: TakenOptions, value: Any) -> None:
        if value:
            taken.put(leaves()["optimizer_type"], optimizer)

    return take


def _take_prompts(taken: TakenOptions, value: Any) -> None:
    if isinstance(value, list):  # read from the file that the option names, see `argument_file.py`
        taken.values["sample_prompts"] = tuple(value)
    else:
        raise ConfigError(f"sample_prompts: the file {value} can't be read.", field="sample_prompts")


def _take_title(taken: TakenOptions, value: Any) -> None:
    taken.values["metadata_title"] = str(value)[:120]


def _take_misspelt(taken: TakenOptions, value: Any) -> None:
    taken.put(leaves()["caption_extension"], value)


SPECIAL: Mapping[str, Callable[[TakenOptions, Any], None]] = {
    "resolution": _take_resolution,
    "network_args": take_network_args,
    "optimizer_args": _take_optimizer_args,
    "lr_scheduler_args": _take_scheduler_args,
    "text_encoder_lr": _take_rates,
    "save_model_as": _take_file_kind,
    "network_module": take_module,
    "use_8bit_adam": _take_old_flag("AdamW8bit"),
    "use_lion_optimizer": _take_old_flag("Lion"),
    "sample_prompts": _take_prompts,
    "metadata_title": _take_title,
    "caption_extention": _take_misspelt,
    **{name: _share_of_the_run(name) for name in SHARES_OF_THE_RUN},
}
"""Options whose form differs from ours."""
