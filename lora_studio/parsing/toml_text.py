"""TOML, read by the standard library and written here, since only plain values are ever written."""

from __future__ import annotations

import json
import math
import re
import tomllib
from collections.abc import Mapping
from typing import Any

from lora_studio.errors import ConfigError

PIECES = re.compile(
    r'"""(?:[^"\\]|\\.|"(?!""))*+"{0,5}'
    r"|'''(?:[^']|'(?!''))*+'{0,5}"
    r'|"(?:[^"\\\n]|\\.)*+"?'
    r"|'[^'\n]*+'?"
    r"|#[^\n]*+"
    r"|[.\[\]{}=,\n]",
    re.DOTALL,
)
"""Texts and comments, whole, also where their end is missing, and the signs that names end at or nest by."""
MOST_LEVELS = 16
"""Parts of a dotted name, and brackets within brackets: sd-scripts' files have two or three."""


def read_toml(text: str, name: str) -> dict[str, Any]:
    """Parse TOML, called `name`, nesting up to MOST_LEVELS deep. Raises ConfigError."""
    try:
        if not _is_shallow(text):
            raise RecursionError
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(
            f"{name} is not TOML: {str(error)[:200]}.",
            "Text stands in quotes, paths with backslashes in single ones, and nothing is written twice.",
        ) from None
    except (ValueError, RecursionError, MemoryError):  # ValueError: a number of thousands of digits
        raise ConfigError(
            f"{name} is not TOML that can be read.",
            "A number is endless, a name has too many dots, or lists or tables nest too deeply.",
        ) from None


def _is_shallow(text: str) -> bool:
    """Whether no name and no list nests deeper than MOST_LEVELS, in one pass: the time and memory that
    tomllib takes for a dotted name grow with the square of its parts, and 400 kB of them filled a machine."""
    dots = brackets = 0
    for piece in PIECES.finditer(text):
        sign = piece[0]
        if sign == ".":
            dots += 1
        elif sign in "[]{}=,\n":
            dots = 0
            brackets += (sign in "[{") - (sign in "]}")
        if dots >= MOST_LEVELS or brackets > MOST_LEVELS:
            return False
    return True


def write_value(value: Any) -> str:
    """A bool, number, text or list as TOML. Raises TypeError or ValueError for what has no form there."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{value} is no setting")
        return repr(value)
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, list | tuple):
        return f"[{', '.join(write_value(one) for one in value)}]"
    raise TypeError(f"{type(value).__name__} is no setting")


def write_table(name: str, values: Mapping[str, Any]) -> str:
    """`[name]` and a line for each value."""
    return "\n".join([f"[{name}]", *(f"{key} = {write_value(value)}" for key, value in values.items())])
