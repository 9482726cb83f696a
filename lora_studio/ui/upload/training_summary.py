"""The training that Upload describes, in a line that is always true, and the reasons for its values."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lora_studio.catalog import Base, PresetValues, differences, plan
from lora_studio.config import Kind, config_leaf
from lora_studio.errors import ConfigError, StudioError
from lora_studio.estimate import TrainingEstimate, earlier_seconds
from lora_studio.formatting import about, counted, size
from lora_studio.parsing.numbers import read_whole
from lora_studio.records import DatasetRecord
from lora_studio.settings import Settings
from lora_studio.studio import Studio
from lora_studio.ui.client_input.base_traits import traits_of
from lora_studio.ui.client_input.validate import safe_id
from lora_studio.ui.widgets.html_templates import fill
from lora_studio.ui.widgets.setting_labels import LABELS, label_of
from lora_studio.ui.widgets.settings_form import overrides

DEFAULT_BASE = "starter"
MEASURED_WITH = (
    *("resolution", "train_batch_size", "network_dim", "gradient_accumulation_steps"),
    *("gradient_checkpointing", "network_train_unet_only", "mixed_precision", "optimizer_type"),
)
"""Settings on which the time of a step and the memory depend most."""
FOLLOWED = ("max_train_steps", *MEASURED_WITH)
"""Settings that the summary speaks of."""
MISSING = ("pictures", "what they show", "a name")
"""The least that a training needs."""
JOBS_ASKED = 50
MOST_KEPT = 1e15
"""Seconds or bytes."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """The training on the tab, as the browser sent it: nothing of it has been checked. `typed` are settings
    of FOLLOWED; `measured` is what `measured_facts` gave for an earlier state of it."""

    dataset_id: str = ""
    kind: str = ""
    base: str = ""
    name: str = ""
    trigger: str = ""
    typed: Mapping[str, Any] = field(default_factory=dict)
    measured: Any = None

    @property
    def key(self) -> str:
        """A text that changes with whatever changes the time of a step, or the memory."""
        facts = [self.dataset_id, self.kind, self.base, *(self.typed.get(name) for name in MEASURED_WITH)]
        return json.dumps([str(fact or "") for fact in facts])


@dataclass(frozen=True, kw_only=True)
class Summary:
    """HTML of the line, of the trigger word, and of the reasons; and the planned values."""

    line: str
    called: str
    reasons: str
    plan: PresetValues


def summary(studio: Studio, subject: Subject, kinds: Sequence[str]) -> Summary:
    """The summary of a training. Raises StoreError for a set of pictures that is gone."""
    record = (
        studio.datasets.get(safe_id(subject.dataset_id, "set of pictures")) if subject.dataset_id else None
    )
    has_kind = subject.kind in kinds
    kind: Any = subject.kind if has_kind else "object"
    chosen: dict[str, Any] = {}
    with contextlib.suppress(ConfigError):  # half typed; the start says what is wrong with it
        chosen = overrides({name: subject.typed.get(name) for name in FOLLOWED})
    half_typed = set() if _whole(chosen.get("max_train_steps")) else {"max_train_steps"}
    typed_whole = {name: value for name, value in chosen.items() if name not in half_typed}
    traits = traits_of(subject.base or DEFAULT_BASE, studio.settings)
    made = plan(kind, traits, record.images if record else 10, typed_whole)
    name = " ".join(subject.name.split())
    changes = preset_sentences(kind, traits, made.values)
    missing = [what for what, given in zip(MISSING, (record, has_kind, name), strict=True) if not given]
    values = {**made.values, **chosen}
    parts = [name[:60], subject.kind if has_kind else "", counted(record.images, "picture") if record else ""]
    if record and has_kind:
        steps = _whole(values.get("max_train_steps"))
        parts += [counted(steps, "step") if steps else "", *_costs(studio, subject, values, steps)]
    return Summary(
        line=fill("summary", parts=[part for part in parts if part], missing=missing),
        called=fill("called", word=_trigger(studio, record, subject)),
        reasons=_reasons(subject, made, changes) if record and has_kind else "",
        plan=made,
    )


def _reasons(subject: Subject, made: PresetValues, changes: Sequence[str]) -> str:
    """HTML of the reasons. What was measured for other settings is said to be so; the page hides it then."""
    facts: Mapping[str, Any] = subject.measured if isinstance(subject.measured, dict) else {}
    steps = _whole(subject.typed.get("max_train_steps")) or _whole(made.values.get("max_train_steps"))
    is_outdated = bool(facts) and (facts.get("key"), facts.get("steps")) != (subject.key, steps)
    return fill("plan", sentence=made.reason, changes=changes, is_outdated=is_outdated)


def resolution(base: str, typed: Any, settings: Settings) -> int:
    """The size that a training on this base has pictures of, with what was typed for it."""
    planned = traits_of(base or DEFAULT_BASE, settings).training.get("resolution")
    return _whole(typed) or _whole(planned) or int(config_leaf("resolution").default)


def _trigger(studio: Studio, record: DatasetRecord | None, subject: Subject) -> str:
    """The word to call it with; empty while there is no name that it could be made from."""
    try:
        typed = subject.trigger.strip()[:100]
        return typed or (studio.trainings.trigger_for(record.id, subject.name) if record else "")
    except StudioError:
        return ""


def _whole(given: Any) -> int:
    try:
        return max(0, read_whole(given, "steps"))
    except ConfigError:
        return 0


def measured_facts(estimate: TrainingEstimate | None, subject: Subject) -> Mapping[str, Any]:
    """The figures of an estimate that the summary needs: the browser keeps them until the next one."""
    if estimate is None:
        return {}
    return {
        "key": subject.key,
        "steps": estimate.steps,
        "fixed": estimate.total_seconds - estimate.train_seconds,
        "step": estimate.seconds_per_step,
        "bytes": estimate.device_bytes or estimate.ram_bytes,
    }


def _costs(studio: Studio, subject: Subject, values: Mapping[str, Any], steps: int) -> list[str]:
    """Time and memory, as far as they are known: measured for these settings, else the time that the last
    training of such a kind took. Nothing is guessed."""
    facts: Mapping[str, Any] = subject.measured if isinstance(subject.measured, dict) else {}
    fixed, step, memory = (_bounded(facts.get(name)) for name in ("fixed", "step", "bytes"))
    if facts.get("key") == subject.key and step:
        return [f"{about(fixed + step * steps)}, {size(int(memory))}"]
    seconds = earlier_seconds(studio.jobs.jobs(limit=JOBS_ASKED), subject.base or DEFAULT_BASE, values, steps)
    return [f"{about(seconds)}, as the last one"] if seconds else []


def _bounded(given: Any) -> float:
    """A number that the browser kept; 0 for what can't be one."""
    is_number = isinstance(given, int | float) and not isinstance(given, bool)
    return float(given) if is_number and 0 <= given <= MOST_KEPT else 0.0


def preset_sentences(kind: Kind, base: Base, values: Mapping[str, Any]) -> list[str]:
    """A sentence, with the reason, for each setting that preset and base plan other than plain."""
    return [
        f"{label_of(config_leaf(one.name))}: {_plain(one.value)} instead of {_plain(one.plain)}. {one.reason}"
        for one in differences(kind, base, values)
        if one.name in LABELS
    ]


def _plain(value: Any) -> str:
    """A value in a sentence."""
    if value is None or value in ("", ()):
        return "automatic"
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else str(value)
