"""Free arguments of optimizers and schedules: `name=value`, the value a Python literal."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Iterable
from typing import Any

from lora_studio.parsing.numbers import shown

WORDS: dict[str, Any] = {"true": True, "false": False, "none": None}
PLAIN = re.compile(r"[A-Za-z_][\w./-]*+|[\d.eE,+-]*+:[\d.eE:,+-]*+")
"""Text that needs no quotes: a word, or rules such as 1:5,0.1:10,0.01."""
BETWEEN = re.compile(r"(?<!\s)\s++(?=\w++=)")
LONGEST = 10_000
"""Characters of all arguments of a setting."""


def split_arguments(given: Any) -> Any:
    """Several arguments in one text, as graphical interfaces write them, as a list; else unchanged."""
    return BETWEEN.split(given.strip()) if isinstance(given, str) and given.strip() else given or ()


def read_arguments(setting: str, given: Iterable[str]) -> dict[str, Any]:
    """The arguments as `{name: value}`. Raises ValueError that begins with the setting's name."""
    texts = list(given)
    length = sum(map(len, texts))
    if length > LONGEST:
        raise ValueError(f"{setting} has {length} characters; {LONGEST} are allowed")
    return dict(_read(setting, text) for text in texts)


def _read(setting: str, text: str) -> tuple[str, Any]:
    name, equals, value = (part.strip() for part in text.partition("="))
    if not equals or not name.isidentifier():
        raise ValueError(f"{setting} holds {shown(text)}, which is not of the form name=value")
    if value.lower() in WORDS:
        return name, WORDS[value.lower()]
    try:
        return name, _finite(ast.literal_eval(value))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        if PLAIN.fullmatch(value):
            return name, value
        raise ValueError(
            f"{setting} gives {name} a value that can't be read, {shown(value)}: write a number, True, "
            "False, a word, or a tuple such as 0.9,0.99"
        ) from None


def _finite(value: Any) -> Any:
    """The unchanged value. Raises ValueError where a number in it has no size, as 1e999."""
    parts = [*value, *value.values()] if isinstance(value, dict) else value
    if isinstance(value, dict | list | tuple | set):
        for part in parts:
            _finite(part)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError
    return value
