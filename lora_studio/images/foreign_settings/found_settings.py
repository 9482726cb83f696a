"""What a reader finds, and how all of them look into JSON."""

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
    """`values` as `fitting.fit` takes them: by the request's names, not checked yet."""

    program: str
    values: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def settings_in(texts: Mapping[str, str], *names: str, having: Iterable[str] = ()) -> dict[str, Any]:
    """The JSON of the first of these texts that holds all keys of `having`; empty when none does."""
    for name in names:
        said = read_object(texts.get(name, ""))
        if said and all(key in said for key in having):
            return said
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
    """The request's sampler for another program's, and what differs."""
    found = sampler_named(words(name), words(schedule))
    return {"sampler": found.sampler}, (found.note,) if found.note else ()


def not_taken(said: Mapping[str, Any], known: Mapping[str, str]) -> tuple[str, ...]:
    """Sentences on the settings of `known` (key, what it is) that are in use."""
    unused: tuple[Any, ...] = (None, "", 0, False, "None", "none", "[]", [], {})
    return tuple(
        f"Not taken over: {title} ({str(said[key])[:60]})."
        for key, title in known.items()
        if said.get(key) not in unused
    )
