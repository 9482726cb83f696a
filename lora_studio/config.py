"""The one description of a training run: `TrainConfig`.

Each setting carries its help, unit and range (see config_groups); the command line, the form, the tooltips
and the documentation are made from them through `config_leaves`.
"""

from __future__ import annotations

import difflib
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self, Union, get_args, get_origin

from pydantic import ValidationError, model_validator
from pydantic.fields import FieldInfo

from lora_studio.config_groups import (
    DatasetGroup,
    Group,
    Kind,
    ModelGroup,
    NetworkGroup,
    NoiseGroup,
    OptimizerGroup,
    OutputGroup,
    PreviewGroup,
    RunGroup,
)
from lora_studio.config_groups.setting_effects import EFFECTS, UNTOLD
from lora_studio.errors import ConfigError
from lora_studio.parsing.refusals import MOST_REFUSED, refused_problem

__all__ = ["Kind", "Leaf", "TrainConfig", "config_leaf", "config_leaves"]

CONFIG_VERSION = 1


MOST_CHECKPOINTS, MOST_PREVIEWS = 1000, 5000


class TrainConfig(Group):
    """A frozen, validated training run: build it with `from_values` (flat) or `from_json` (grouped)."""

    version: int = CONFIG_VERSION
    model: ModelGroup
    dataset: DatasetGroup
    network: NetworkGroup = NetworkGroup()
    optimizer: OptimizerGroup = OptimizerGroup()
    noise: NoiseGroup = NoiseGroup()
    preview: PreviewGroup = PreviewGroup()
    output: OutputGroup
    run: RunGroup = RunGroup()

    @model_validator(mode="after")
    def _agree(self) -> Self:
        self.noise.check()
        if self.model.v_parameterization is not None:
            self.noise.check_prediction(predicts_velocity=self.model.v_parameterization)
        self.optimizer.check()
        if self.dataset.enable_bucket and self.dataset.min_bucket_reso > self.dataset.max_bucket_reso:
            raise ValueError("min_bucket_reso must not be above max_bucket_reso")
        if self.run.engine == RunGroup().engine:
            self._check_counts()
        return self

    def _check_counts(self) -> None:
        """Refuse intervals that would fill any disk with small files. Raises ValueError."""
        steps = self.optimizer.max_train_steps
        for name, every, most, what, times in (
            ("save_every_n_steps", self.output.save_every_n_steps, MOST_CHECKPOINTS, "checkpoints", 1),
            (
                *("sample_every_n_steps", self.preview.sample_every_n_steps, MOST_PREVIEWS, "previews"),
                max(1, len(self.preview.sample_prompts)),
            ),
        ):
            if every and (count := steps // every * times) > most:
                least = -(-steps * times // most)
                raise ValueError(
                    f"{name} {every} makes {count} {what}, at most {most} are kept: take {least}"
                )

    @property
    def trains_text_encoder(self) -> bool:
        rate = self.optimizer.text_encoder_lr
        return not self.network.network_train_unet_only and (rate is None or rate > 0)

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> TrainConfig:
        """Build from flat `{leaf name: value}`. Values may be strings, as typed. Raises ConfigError."""
        return cls._checked(_grouped(values))

    def with_values(self, values: Mapping[str, Any]) -> TrainConfig:
        """A copy with some leaf values changed. Raises ConfigError."""
        return TrainConfig.from_values({**self.values(), **values})

    def values(self) -> dict[str, Any]:
        """All leaf values by name."""
        return {leaf.name: getattr(getattr(self, leaf.group), leaf.name) for leaf in config_leaves()}

    def to_json(self) -> dict[str, Any]:
        return self.model_dump(mode="json")

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> TrainConfig:
        """Read the JSON form of this or an earlier version. Raises ConfigError."""
        migrated = dict(data)
        found = migrated.get("version", CONFIG_VERSION)
        if not isinstance(found, int) or found > CONFIG_VERSION:
            raise ConfigError(
                f"This training was written by a later version (config version {found}).",
                "Update LoRA Studio.",
                field="version",
            )
        for version in range(found, CONFIG_VERSION):
            migrated = MIGRATIONS[version](migrated)
        return cls._checked({**migrated, "version": CONFIG_VERSION})

    @classmethod
    def _checked(cls, data: Mapping[str, Any]) -> TrainConfig:
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise _refusal(error) from None


MIGRATIONS: dict[int, Any] = {}
"""`{version: function from that version's JSON to the next one's}`."""


@dataclass(frozen=True, kw_only=True)
class Leaf:
    """One setting for the form, the command line and the documentation. `minimum` and `maximum` are its
    limits; `basic` and `local` as in `setting`; `optional` allows None. `help_text` says what it does,
    `direction` which way it moves the result, `cost` what that takes."""

    group: str
    name: str
    default: Any
    help_text: str
    direction: str
    cost: str
    unit: str
    basic: bool
    local: bool
    minimum: float | None
    maximum: float | None
    choices: tuple[str, ...]
    annotation: Any
    optional: bool
    required: bool


def config_leaves() -> tuple[Leaf, ...]:
    """All settings in the order of their groups."""
    return tuple(_LEAVES.values())


def config_leaf(name: str) -> Leaf:
    """The setting of this name. Raises ConfigError naming the nearest valid one."""
    if name not in _LEAVES:
        near = difflib.get_close_matches(name, _LEAVES, n=1, cutoff=0.5)
        raise ConfigError(
            f"There is no setting called {name!r}.",
            f"Did you mean {near[0]}?" if near else "See docs/parameters.md for the list.",
            field=name,
        )
    return _LEAVES[name]


def _leaf(group: str, name: str, info: FieldInfo) -> Leaf:
    extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
    annotation = info.annotation
    optional = get_origin(annotation) in {Union, types.UnionType} and type(None) in get_args(annotation)
    if optional:
        annotation = next(part for part in get_args(annotation) if part is not type(None))
    limits: dict[str, Any] = {}
    for item in info.metadata:
        for key in ("ge", "gt", "le", "lt"):
            if getattr(item, key, None) is not None:
                limits[key[0]] = getattr(item, key)
    effect = EFFECTS.get(name, UNTOLD)
    choices = _listed(extra.get("choices")) or (
        tuple(str(choice) for choice in get_args(annotation)) if get_origin(annotation) is Literal else ()
    )
    return Leaf(
        group=group,
        name=name,
        default=None if info.is_required() else info.default,
        help_text=info.description or "",
        direction=effect.direction,
        cost=effect.cost,
        unit=str(extra.get("unit", "")),
        basic=bool(extra.get("basic")),
        local=bool(extra.get("local")),
        minimum=limits.get("g"),
        maximum=limits.get("l"),
        choices=choices,
        annotation=annotation,
        optional=optional,
        required=info.is_required(),
    )


def _listed(choices: Any) -> tuple[str, ...]:
    return tuple(choices or ())


def _all_leaves() -> Iterator[Leaf]:
    for group, info in TrainConfig.model_fields.items():
        if isinstance(info.annotation, type) and issubclass(info.annotation, Group):
            for name, field in info.annotation.model_fields.items():
                yield _leaf(group, name, field)


_LEAVES = {leaf.name: leaf for leaf in _all_leaves()}


def _grouped(values: Mapping[str, Any]) -> dict[str, Any]:
    data: dict[str, Any] = {}
    for name, value in values.items():
        leaf = config_leaf(name)
        if isinstance(value, str) and value.strip().lower() in {"", "none"} and leaf.optional:
            value = None
        data.setdefault(leaf.group, {})[name] = value
    for required in ("model", "dataset", "output"):
        data.setdefault(required, {})
    return data


def _refusal(error: ValidationError) -> ConfigError:
    """All settings at fault, as one error."""
    first, *others = map(_problem, error.errors(include_url=False)[:MOST_REFUSED])
    first.others = tuple(others)
    return first


def _problem(problem: Mapping[str, Any]) -> ConfigError:
    names = [part for part in problem["loc"] if isinstance(part, str)]
    name = names[-1] if names else ""
    if problem["type"] == "extra_forbidden":
        try:
            config_leaf(name)
        except ConfigError as unknown:
            return unknown
        return ConfigError(f"{name} stands in the wrong group.", "See docs/parameters.md.", field=name)
    if not name:
        problem_text = problem["msg"].removeprefix("Value error, ")
        return ConfigError(f"{problem_text}.", field=problem_text.split()[0])
    found = refused_problem(problem, TrainConfig, {".".join(names): name})
    leaf = _LEAVES.get(name)
    return ConfigError(found.message, found.hint or (leaf.help_text if leaf else ""), field=name)
