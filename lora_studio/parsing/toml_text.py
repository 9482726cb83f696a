"""TOML, read by the standard library and written here, since only plain values are ever written."""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Mapping
from typing import Any

from lora_studio.errors import ConfigError


def read_toml(text: str, name: str) -> dict[str, Any]:
    """Parse TOML. Raises ConfigError, which calls the text `name`."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(
            f"{name} is not TOML: {str(error)[:200]}.",
            "Text stands in quotes, paths with backslashes in single ones, and nothing is written twice.",
        ) from None
    except (ValueError, RecursionError):  # a number of thousands of digits, brackets within brackets
        raise ConfigError(
            f"{name} is not TOML that can be read.", "A number is endless, or lists nest too deeply."
        ) from None


def write_value(value: Any) -> str:
    """A bool, number, text or list as TOML. Raises TypeError or ValueError for values that TOML has no form
    for."""
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
