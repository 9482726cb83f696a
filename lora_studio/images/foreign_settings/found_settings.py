"""Settings found in a picture, and the way all readers look into JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PureWindowsPath
from typing import Any

from lora_studio.parsing.json_text import read_object
from lora_studio.samplers import sampler_named

WEIGHTS = (".safetensors", ".ckpt", ".pt", ".pth", ".gguf", ".sft")
LONGEST_NAME = 200


@dataclass(frozen=True, kw_only=True)
class Found:
    """One program's settings. `values`, unchecked, go by the request's names, for `foreign_request.fit`."""

    program: str
    values: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def settings_in(texts: Mapping[str, str], *names: str, having: Iterable[str] = ()) -> dict[str, Any]:
    """The JSON of the first of these texts that holds all keys of `having`; empty when none does."""
    for name in names:
        found = read_object(texts.get(name, ""))
        if found and all(key in found for key in having):
            return found
    return {}


def plain(value: Any) -> Any:
    """A number or a text; None for anything else, so that no list ends up in a prompt."""
    return value if isinstance(value, str | int | float) and not isinstance(value, bool) else None


def words(value: Any) -> str:
    """A text; empty for anything else."""
    return value if isinstance(value, str) else ""


def mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def rows(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def file_title(value: Any) -> str:
    """A model's name without folder and ending."""
    name = PureWindowsPath(words(value)[:LONGEST_NAME]).name
    return next((name[: -len(end)] for end in WEIGHTS if name.lower().endswith(end)), name)


def sampler(name: Any, schedule: Any = "") -> tuple[dict[str, str], tuple[str, ...]]:
    """The request's sampler for another program's, and a sentence where it differs."""
    found = sampler_named(words(name), words(schedule))
    return {"sampler": found.sampler}, (found.note,) if found.note else ()


def not_taken(settings: Mapping[str, Any], titles: Mapping[str, str]) -> tuple[str, ...]:
    """Sentences on settings in use without a counterpart here; `known` maps their keys to words."""
    unused: tuple[Any, ...] = (None, "", 0, False, "None", "none", "[]", [], {})
    return tuple(
        f"Not taken over: {title} ({str(settings[key])[:60]})."
        for key, title in titles.items()
        if settings.get(key) not in unused
    )
