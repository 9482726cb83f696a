"""`<lora:name:0.8>` in a prompt, as A1111 and Forge read it.

One number is the LoRA's weight. Of two, the first is the text encoder's and the second the denoiser's; `te=`
and `unet=` name them. `step=` is ours: a checkpoint instead of the LoRA's own file.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from lora_studio.errors import ConfigError
from lora_studio.parsing.numbers import parse_decimal, parse_whole, read_decimal
from lora_studio.parsing.slugs import slug_from
from lora_studio.request import LoraUse

NAMED = ("te", "unet")
HIGHEST_WEIGHT = 4.0
TAG = re.compile(r"(?:(?<!\s)\s+)?<(?:lora|lyco):([^<>\n]*)>")
"""Pattern of a tag with the space before it; its first group is the argument of `read_tag`."""


def read_tag(inside: str, find: Callable[[str], str] = slug_from) -> LoraUse:
    """The LoRA and weights in "name:0.8", the inside of a tag; `find` gives the slug of a name. Raises
    ConfigError, and whatever `find` raises."""
    name, *arguments = (part.strip() for part in inside.split(":"))
    try:
        values = _weights(arguments)
    except ConfigError:
        raise ConfigError(
            f"The tag <lora:{inside[:80]}> can't be read.",
            "Write <lora:name:0.8>, or <lora:name:0.5:0.8> for the text encoder and the denoiser.",
            field="prompt",
        ) from None
    values["slug"] = find(name)
    return LoraUse.model_validate(values) if _in_range(values) else _refuse(inside)


def write_tag(use: LoraUse) -> str:
    """The tag of a LoRA for A1111. Weights keep all their digits."""
    parts = [use.slug, number(use.weight)]
    if use.text_encoder_weight is not None:
        parts.insert(1, number(use.text_encoder_weight))
    if use.checkpoint is not None:
        parts.append(f"step={use.checkpoint}")
    return f"<lora:{':'.join(parts)}>"


def number(value: float) -> str:
    """The shortest form that reads back as the very same number."""
    short = f"{value:g}"
    return short if float(short) == value else repr(value)


def _weights(arguments: list[str]) -> dict[str, Any]:
    """The weights and the checkpoint in a tag's arguments. Raises ConfigError for no number."""
    used, _ = _sorted(arguments)
    numbers = [read_decimal(argument, "weight") for argument in used if "=" not in argument]
    pairs = (argument.partition("=") for argument in used if "=" in argument)
    named = {name.strip(): read_decimal(value, name) for name, _, value in pairs}
    text = named.get("te", numbers[0] if numbers else 1.0)
    unet = named.get("unet", numbers[1] if len(numbers) > 1 else text)
    # Two numbers stay two, also when they are equal: what was written is what is read.
    apart = len(numbers) > 1 or "te" in named or "unet" in named
    values: dict[str, Any] = {"weight": unet, "text_encoder_weight": text if apart else None}
    if "step" in named:
        values["checkpoint"] = int(named["step"])
    return values


def _sorted(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Arguments used here, and arguments of other programs: weights by blocks (`lbw=MIDD`, or a preset's name
    by itself), `start=` and `stop=`, `dyn=` or a third number."""
    used: list[str] = []
    passed: list[str] = []
    for argument in filter(None, arguments):
        name, equals, value = argument.partition("=")
        if equals:
            ours = name.strip() in NAMED or (name.strip() == "step" and parse_whole(value) is not None)
        else:
            bare = sum("=" not in one for one in used)
            ours = bare == 0 or (bare == 1 and parse_decimal(argument) is not None)
        (used if ours else passed).append(argument)
    return used, passed


def say_passed_over(inside: str, slug: str) -> str:
    """A sentence on the parts of a tag that only other programs read; empty without any."""
    passed = ":".join(_sorted([part.strip() for part in inside.split(":")[1:]])[1])
    return (
        f"“{passed[:60]}” of the LoRA “{slug}” is passed over; it is drawn with its weight." if passed else ""
    )


def added(first: LoraUse, second: LoraUse) -> LoraUse:
    """Two uses of one LoRA as one, with the sums of their weights."""
    text = None
    if (first.text_encoder_weight, second.text_encoder_weight) != (None, None):
        parts = (
            (use.weight if use.text_encoder_weight is None else use.text_encoder_weight)
            for use in (first, second)
        )
        text = _bounded(sum(parts))
    return first.model_copy(
        update={"weight": _bounded(first.weight + second.weight), "text_encoder_weight": text}
    )


def _bounded(weight: float) -> float:
    return max(-HIGHEST_WEIGHT, min(weight, HIGHEST_WEIGHT))


def _in_range(values: dict[str, Any]) -> bool:
    weights = [values["weight"], values["text_encoder_weight"] or 0.0]
    return (
        bool(values["slug"])
        and all(-4 <= weight <= 4 for weight in weights)
        and values.get("checkpoint", 1) >= 1
    )


def _refuse(inside: str) -> LoraUse:
    raise ConfigError(
        f"The tag <lora:{inside[:80]}> has no name, or a weight beyond -4 to 4.",
        "Write <lora:name:0.8>.",
        field="prompt",
    )
