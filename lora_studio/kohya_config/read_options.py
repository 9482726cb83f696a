"""Settings of a training from sd-scripts' options, with nothing passed over in silence."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lora_studio.config import TrainConfig
from lora_studio.errors import ConfigError
from lora_studio.kohya_config.flow_modules import defaults_of, options_in, take_flow_options
from lora_studio.kohya_config.network_args import settle_network
from lora_studio.kohya_config.option_forms import SPECIAL
from lora_studio.kohya_config.option_values import bounded, number_in, typed
from lora_studio.kohya_config.options import (
    ABSENT,
    COUNTED_IN_EPOCHS,
    NOT_READ,
    OFF_AT_ZERO,
    OPTIONS,
    OURS_WHEN_ABSENT,
    PASSED_OVER,
)
from lora_studio.kohya_config.taken_options import (
    TakenOptions,
    argument_names,
    leaves,
    option_names,
    slip,
    unknown,
)
from lora_studio.parsing.file_names import RESERVED
from lora_studio.parsing.numbers import parse_whole
from lora_studio.parsing.slugs import MOST_LETTERS, SLUG, slug_from

OWN_TABLE, OWN_SETTINGS = "lora_studio", "settings"
"""`[lora_studio.settings]` of a file holds settings that sd-scripts has no option for; it reads past them."""
LONGEST_SHOWN, MOST_SHOWN = 100, 30
IGNORE = "Take them out, or pass over them with --ignore-unknown; docs/kohya.md explains the differences."


@dataclass(frozen=True, kw_only=True)
class KohyaOptions:
    """The options of a file. `values` are settings by leaf name, those that the file leaves out included;
    `in_epochs` are numbers of epochs, `shares` shares of all steps: `in_steps` turns both into steps.
    `rounds` are the epochs from whose pictures the kohya_ss GUI counts max_train_steps, 0 for none. `notes`
    are sentences on options taken differently, `not_built` names options that have no counterpart here, and
    `given` holds all options of sd-scripts in the file."""

    values: Mapping[str, Any]
    given: Mapping[str, Any]
    notes: tuple[str, ...] = ()
    not_built: tuple[str, ...] = ()
    in_epochs: Mapping[str, int] = field(default_factory=dict)
    shares: Mapping[str, float] = field(default_factory=dict)
    rounds: int = 0

    def config(self, steps_per_epoch: int = 0, **changes: Any) -> TrainConfig:
        """The training that the file describes, with `changes`. Raises ConfigError, also when the file counts
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
        total = parse_whole(values.get("max_train_steps")) or 0  # what is none, the config refuses
        if ratio := self.in_epochs.get("save_n_epoch_ratio"):
            all_epochs = math.ceil(total / steps_per_epoch)
            values["save_every_n_steps"] = max(1, all_epochs // ratio) * steps_per_epoch
        for name, share in self.shares.items():
            values[name] = int(share * total)
        return values


def read_options(
    given: Mapping[str, Any], settings: Mapping[str, Any] | None = None, *, ignore_unknown: bool = False
) -> KohyaOptions:
    """Settings from sd-scripts' options `given` and from `settings`, ours, which win. Switched-on options
    that we lack are refused in one list, or with `ignore_unknown` noted; options that sd-scripts does not
    read are noted unless they look like a slip. Raises ConfigError."""
    taken = take_options(given, ignore_unknown=ignore_unknown)
    settings = {name: bounded(name, value) for name, value in (settings or {}).items()}
    for name in settings:
        if name not in leaves():
            raise unknown(name)
    values = {**absent_values(), **defaults_of(given), **taken.values, **settings}
    return KohyaOptions(
        values=_named(values),
        given=options_in(given),
        notes=tuple(taken.notes),
        not_built=tuple(taken.not_built),
        in_epochs=taken.in_epochs,
        shares={name: share for name, share in taken.shares.items() if name not in settings},
    )


def take_options(given: Mapping[str, Any], *, ignore_unknown: bool = False) -> TakenOptions:
    """Settings from these options alone, without values for missing ones. Raises ConfigError."""
    flow = take_flow_options(given)
    taken = TakenOptions(notes=flow.notes, not_built=flow.not_built, passed_over=flow.passed_over)
    for name, value in flow.further.items():
        _take(taken, name, value)
    settle_network(taken)
    _settle_warmup(taken)
    if ignore_unknown:
        _fit(taken)
    if not ignore_unknown:
        error = slip(set(taken.foreign) - NOT_READ, option_names()) or slip(
            taken.foreign_args, argument_names()
        )
        if error:
            raise error
        if taken.not_built:
            raise ConfigError(
                f"sd-scripts has these, LoRA Studio has not: {_listed(taken.not_built)}.", IGNORE
            )
    if taken.not_built:
        taken.notes.append(f"Passed over, since they are not built here: {_listed(taken.not_built)}.")
    if taken.passed_over:
        taken.notes.append(
            f"These change nothing that is learned here: {', '.join(sorted(taken.passed_over))}."
        )
    foreign = [*taken.foreign, *(f"network_args {key}" for key in taken.foreign_args)]
    if foreign:
        taken.notes.append(f"Passed over, as sd-scripts does with what it does not read: {_listed(foreign)}.")
    return taken


def _settle_warmup(taken: TakenOptions) -> None:
    """Drop the warm-up where sd-scripts' Adafactor finds its rate itself."""
    arguments = {text.replace(" ", "").lower() for text in taken.values.get("optimizer_args", ())}
    if str(taken.values.get("optimizer_type", "")).lower() != "adafactor":
        return
    if "relative_step=false" in arguments and "warmup_init=true" not in arguments:
        return
    taken.shares.pop("lr_warmup_steps", None)
    if taken.values.pop("lr_warmup_steps", None) or "lr_warmup_steps" in taken.shares:
        taken.notes.append("lr_warmup_steps is without effect: Adafactor finds its rate itself.")


def _fit(taken: TakenOptions) -> None:
    """Set numbers out of our range to the nearest possible, each with a note."""
    for name, value in taken.values.items():
        leaf = leaves().get(name)
        number = number_in(str(value)) if leaf and leaf.annotation in (int, float) else None
        if leaf is None or number is None:
            continue
        least = number if leaf.minimum is None else max(number, leaf.minimum)
        fitting = least if leaf.maximum is None else min(least, leaf.maximum)
        if fitting != number:
            taken.values[name] = leaf.annotation(fitting)
            taken.notes.append(f"{name} {number} becomes {taken.values[name]}, the nearest possible here.")


def _listed(names: Sequence[str]) -> str:
    shown = "; ".join(
        name if len(name) <= LONGEST_SHOWN else f"{name[:LONGEST_SHOWN]}…" for name in names[:MOST_SHOWN]
    )
    return shown if len(names) <= MOST_SHOWN else f"{shown}; and {len(names) - MOST_SHOWN} more"


def absent_values() -> dict[str, Any]:
    """Settings of a file that leaves everything out: sd-scripts' defaults in our form, for settings that
    sd-scripts has and whose default differs from ours."""
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


def _take(taken: TakenOptions, name: str, value: Any) -> None:
    if name not in OPTIONS and name not in leaves():
        if not _is_off("", value):
            taken.foreign.append(name)
        return
    value = typed(name, value)
    if _is_off(name, value):
        return
    bounded(name, value)
    special = SPECIAL.get(name)
    if special is not None:
        special(taken, value)
    elif name in COUNTED_IN_EPOCHS and name not in leaves():
        taken.in_epochs[name] = _whole(name, value)
    elif name in leaves():
        taken.put(leaves()[name], value)
    elif value == OPTIONS[name]:
        return
    elif name in PASSED_OVER:
        taken.passed_over.append(name)
    else:
        taken.not_built.append(name)


def _named(values: dict[str, Any]) -> dict[str, Any]:
    """The values with an `output_name` that can be a folder; sd-scripts' text becomes the title."""
    name = values.get("output_name")
    values["title"] = values.pop("metadata_title", None) or values.get("title") or ""
    if isinstance(name, str) and (not SLUG.fullmatch(name) or RESERVED.fullmatch(name)):
        values["output_name"] = slug_from(f"{name} ", MOST_LETTERS) or "lora"
        values["title"] = values["title"] or name[:120]
    return values


def _is_off(name: str, value: Any) -> bool:
    empty = value is None or value is False or value in ("", "none", "None", [], {})
    if name in leaves() and value is False:
        return False
    return empty or (name in OFF_AT_ZERO and value == 0)


def _whole(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value) or value < 1:
        raise ConfigError(
            f"{name}: a whole number from 1 is needed (got {repr(value)[:LONGEST_SHOWN]}).", field=name
        )
    return int(value)
