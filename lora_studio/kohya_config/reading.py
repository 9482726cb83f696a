"""From sd-scripts' options to the settings of a training, with nothing passed over in silence."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lora_studio.config import SLUG, Leaf, TrainConfig
from lora_studio.errors import ConfigError
from lora_studio.kohya_config.forms import SPECIAL, leaves, unknown
from lora_studio.kohya_config.options import (
    ABSENT,
    COUNTED_IN_EPOCHS,
    LYCORIS,
    OFF_AT_ZERO,
    OPTIONS,
    OURS_WHEN_ABSENT,
    PASSED_OVER,
)

OWN_TABLE, OWN_SETTINGS = "lora_studio", "settings"
"""`[lora_studio.settings]` of a file holds what sd-scripts has no option for; it reads past it."""
IGNORE = "Take them out, or pass over them with --ignore-unknown; docs/kohya.md explains the differences."


@dataclass(frozen=True, kw_only=True)
class KohyaOptions:
    """A file read. `values` are settings by leaf name, those that the file leaves out included; `in_epochs`
    what is counted in epochs, `shares` what is a share of all steps: `in_steps` turns both into steps.
    `notes` are sentences on what is taken differently, `not_built` names options that have no counterpart
    here and `given` holds all that the file says to sd-scripts."""

    values: Mapping[str, Any]
    given: Mapping[str, Any]
    notes: tuple[str, ...] = ()
    not_built: tuple[str, ...] = ()
    in_epochs: Mapping[str, int] = field(default_factory=dict)
    shares: Mapping[str, float] = field(default_factory=dict)

    def config(self, steps_per_epoch: int = 0, **changes: Any) -> TrainConfig:
        """The training that the file describes, `changes` made. Raises ConfigError, also when the file counts
        in epochs and `steps_per_epoch` is not given."""
        return TrainConfig.from_values({**self.in_steps(steps_per_epoch), **changes})

    def in_steps(self, steps_per_epoch: int = 0) -> dict[str, Any]:
        """All settings by name, counted in steps. Raises ConfigError when an epoch's length is needed."""
        values = dict(self.values)
        if self.in_epochs and steps_per_epoch < 1:
            raise ConfigError(
                f"{', '.join(self.in_epochs)}: how many steps an epoch has depends on the pictures.",
                "Give max_train_steps and what is counted in steps instead.",
                field=next(iter(self.in_epochs)),
            )
        for name, epochs in self.in_epochs.items():
            if name != "save_n_epoch_ratio":
                values[COUNTED_IN_EPOCHS[name]] = epochs * steps_per_epoch
        total = int(values.get("max_train_steps", 0))
        if ratio := self.in_epochs.get("save_n_epoch_ratio"):
            all_epochs = math.ceil(total / steps_per_epoch)
            values["save_every_n_steps"] = max(1, all_epochs // ratio) * steps_per_epoch
        for name, share in self.shares.items():
            values[name] = int(share * total)
        return values


def read_options(
    given: Mapping[str, Any], own: Mapping[str, Any] | None = None, *, ignore_unknown: bool = False
) -> KohyaOptions:
    """`given` are sd-scripts' options by name, `own` further settings of ours, which win. Options that we
    lack are refused in one list, or with `ignore_unknown` noted. Raises ConfigError, always for a name that
    nobody has."""
    reading = _Reading()
    for name, value in given.items():
        reading.take(name, value)
    reading.settle()
    if reading.not_built and not ignore_unknown:
        raise ConfigError(
            f"sd-scripts has these, LoRA Studio has not: {'; '.join(reading.not_built)}.", IGNORE
        )
    if reading.not_built:
        reading.notes.append(f"Passed over, since they are not built here: {'; '.join(reading.not_built)}.")
    if reading.passed_over:
        reading.notes.append(
            f"These change nothing that is learned here: {', '.join(sorted(reading.passed_over))}."
        )
    own = dict(own or {})
    for name in own:
        if name not in leaves():
            raise unknown(name)
    values = {**absent_values(), **reading.values, **own}
    return KohyaOptions(
        values=_named(values),
        given=dict(given),
        notes=tuple(reading.notes),
        not_built=tuple(reading.not_built),
        in_epochs=reading.in_epochs,
        shares={name: share for name, share in reading.shares.items() if name not in own},
    )


def absent_values() -> dict[str, Any]:
    """What a file means that leaves everything out: sd-scripts' defaults in our form, for settings that
    sd-scripts has and whose default is not ours."""
    values: dict[str, Any] = {}
    for name, leaf in leaves().items():
        default = OPTIONS.get(name)
        if name in ABSENT:
            values[name] = ABSENT[name]
        elif leaf.required or name in OURS_WHEN_ABSENT or name not in OPTIONS:
            continue
        elif default is None and leaf.optional:
            values[name] = None
        elif default not in (None, ""):
            values[name] = default
    return {name: value for name, value in values.items() if value != leaves()[name].default}


class _Reading:
    """What has been taken from a file so far."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.notes: list[str] = []
        self.not_built: list[str] = []
        self.passed_over: list[str] = []
        self.in_epochs: dict[str, int] = {}
        self.shares: dict[str, float] = {}
        self.module, self.preset = "", ""

    def take(self, name: str, value: Any) -> None:
        if name not in OPTIONS and name not in leaves():
            raise unknown(name)
        if _is_off(name, value):
            return
        special = SPECIAL.get(name)
        if special is not None:
            special(self, value)
        elif name in COUNTED_IN_EPOCHS and name not in leaves():
            self.in_epochs[name] = _whole(name, value)
        elif name in leaves():
            self.put(leaves()[name], value)
        elif value == OPTIONS[name]:
            return
        elif name in PASSED_OVER:
            self.passed_over.append(name)
        else:
            self.not_built.append(name)

    def settle(self) -> None:
        """What follows from several options together. LyCORIS trains the convolutions unless told not to."""
        if self.module != LYCORIS:
            if self.preset:
                self.not_built.append(f"network_args preset={self.preset}")
            return
        if str(self.values.get("dora_wd")).lower() == "true":
            self.values.setdefault("wd_on_output", "True")  # its default, not ours
        if self.preset == "attn-mlp":
            self.values.pop("conv_dim", None)
            self.values.pop("conv_alpha", None)
        elif self.preset in ("", "full"):
            self.values.setdefault(
                "conv_dim", self.values.get("network_dim", leaves()["network_dim"].default)
            )
            self.values.setdefault("conv_alpha", self.values.get("network_alpha", OPTIONS["network_alpha"]))
            self.notes.append(
                "LyCORIS' preset full is taken as conv_dim: conv_in, conv_out, time_embedding aren't trained."
            )
        else:
            self.not_built.append(f"network_args preset={self.preset}")

    def put(self, leaf: Leaf, value: Any) -> None:
        """Text is matched to the choices whatever its case; a list is joined where we hold text."""
        if leaf.choices and isinstance(value, str):
            value = next((one for one in leaf.choices if one.lower() == value.lower()), value)
        if isinstance(value, list):
            value = ",".join(map(str, value)) if leaf.annotation is str else tuple(value)
        elif leaf.annotation not in (bool, int, float, str) and not leaf.choices and isinstance(value, str):
            value = tuple(part.strip() for part in value.split(",") if part.strip())
        self.values[leaf.name] = value


def _named(values: dict[str, Any]) -> dict[str, Any]:
    """Their `output_name` may be any text, ours is a folder's name: the text becomes the title."""
    name = values.get("output_name")
    values["title"] = values.pop("metadata_title", None) or values.get("title") or ""
    if isinstance(name, str) and not SLUG.fullmatch(name):
        plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
        values["output_name"] = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:64].strip("-") or "lora"
        values["title"] = values["title"] or name[:120]
    return values


def _is_off(name: str, value: Any) -> bool:
    empty = value is None or value is False or value in ("", "none", "None", [])
    if name in leaves() and value is False:
        return False
    return empty or (name in OFF_AT_ZERO and value == 0)


def _whole(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value) or value < 1:
        raise ConfigError(f"{name}: a whole number from 1 is needed (got {value!r}).", field=name)
    return int(value)
