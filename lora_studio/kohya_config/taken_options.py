"""The state of taking sd-scripts' options."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from lora_studio.config import Leaf, config_leaves
from lora_studio.errors import ConfigError
from lora_studio.kohya_config.options import NETWORK_ARGS, OPTIONS

LONGEST_NAME = 64
MOST_COMPARED = 50
LIKENESS = 0.8
"""Likeness, 0 to 1, that makes an unknown name a slip and not another program's option."""


@dataclass(kw_only=True)
class TakenOptions:
    """Options taken so far. `values` are settings by name, `not_built` options that stop the run,
    `passed_over` those that change nothing, `foreign` and `foreign_args` names that sd-scripts does not read,
    `network_args` those that are judged once the kind of network (`module`, `algo`) is known."""

    values: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    not_built: list[str] = field(default_factory=list)
    passed_over: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    foreign_args: list[str] = field(default_factory=list)
    in_epochs: dict[str, int] = field(default_factory=dict)
    shares: dict[str, float] = field(default_factory=dict)
    network_args: dict[str, str] = field(default_factory=dict)
    module: str = ""
    algo: str = ""
    conv_is_off: bool = False

    def put(self, leaf: Leaf, value: Any) -> None:
        """Set a value. Text is matched to the choices whatever its case; a list is joined where we hold
        text."""
        if leaf.choices and isinstance(value, str):
            value = next((one for one in leaf.choices if one.lower() == value.lower()), value)
        if isinstance(value, list):
            value = ",".join(map(str, value)) if leaf.annotation is str else tuple(value)
        elif leaf.annotation not in (bool, int, float, str) and not leaf.choices and isinstance(value, str):
            value = tuple(part.strip() for part in value.split(",") if part.strip())
        self.values[leaf.name] = value


def slip(names: Iterable[str], among: Iterable[str]) -> ConfigError | None:
    """The error on the first name that is nearly one of `among`, None when there is none."""
    candidates = sorted(among)
    for name in list(names)[:MOST_COMPARED]:
        near = difflib.get_close_matches(name[:LONGEST_NAME], candidates, n=1, cutoff=LIKENESS)
        if near:
            return ConfigError(
                f"Neither sd-scripts nor LoRA Studio has an option called {name[:LONGEST_NAME]!r}.",
                f"Did you mean {near[0]}? --ignore-unknown goes on without it.",
                field=name[:LONGEST_NAME],
            )
    return None


def unknown(name: str) -> ConfigError:
    """The error on a name in our own table, where only our settings may stand."""
    near = difflib.get_close_matches(name[:LONGEST_NAME], leaves(), n=1, cutoff=0.5)
    return ConfigError(
        f"Neither sd-scripts nor LoRA Studio has an option called {name[:LONGEST_NAME]!r}.",
        f"Did you mean {near[0]}?" if near else "See docs/kohya.md.",
        field=name[:LONGEST_NAME],
    )


def leaves() -> dict[str, Leaf]:
    return {leaf.name: leaf for leaf in config_leaves()}


def option_names() -> set[str]:
    return {*OPTIONS, *leaves()}


def argument_names() -> set[str]:
    return set(NETWORK_ARGS)
