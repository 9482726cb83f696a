"""Values of a stranger's file: bounded before they are used; text for a number or switch read as one."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from lora_studio.config import config_leaves
from lora_studio.config_groups.setting_group import LONGEST_TEXT, MOST_ENTRIES
from lora_studio.errors import ConfigError
from lora_studio.kohya_config.options import COUNTED_IN_EPOCHS, OFF_AT_ZERO, OPTIONS
from lora_studio.parsing.numbers import parse_decimal, parse_whole

MOST_BYTES = 2_000_000
LARGEST = 2**63
KINDS = {leaf.name: leaf.annotation for leaf in config_leaves()}
SWITCHES = {"true": True, "false": False}


def read_text(path: Path, hint: str) -> str:
    """A small text file. Raises ConfigError."""
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
        if len(data) > MOST_BYTES:
            raise ConfigError(f"The file {path.name} is larger than {MOST_BYTES // 1_000_000} MB.", hint)
        return data.decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(f"The file {path} can't be read: {error.strerror}.", hint) from None
    except UnicodeDecodeError:
        raise ConfigError(f"The file {path.name} is not UTF-8 text.", hint) from None
    except ValueError:  # of a path that no system takes
        raise ConfigError(f"{str(path)[:200]!r} is no path.", hint) from None


def read_json(text: str, name: str, *, field: str = "") -> Any:
    """Parse JSON. Raises ConfigError, also for JSON that nests too deeply or holds an endless number."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise ConfigError(f"{name} is not JSON that can be read.", "Check the file.", field=field) from None


def bounded(name: str, value: Any) -> Any:
    """The unchanged value, or a list: switches, numbers, texts of sensible size. Raises ConfigError."""
    if isinstance(value, list):
        if len(value) > MOST_ENTRIES:
            raise _refusal(name, f"there are more than {MOST_ENTRIES} values")
        for one in value:
            if isinstance(one, list | dict):
                raise _refusal(name, "a list holds another list or table")
            bounded(name, one)
    elif isinstance(value, str):
        if len(value) > LONGEST_TEXT or "\0" in value:
            raise _refusal(name, f"the text is longer than {LONGEST_TEXT} letters or holds a zero byte")
    elif isinstance(value, int):
        if value.bit_length() > LARGEST.bit_length() - 1:
            raise _refusal(name, "the number is too large")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise _refusal(name, f"{value} is no number to work with")
    elif value is not None:
        raise _refusal(name, f"a {type(value).__name__} stands where a value is wanted")
    return value


def typed(name: str, value: Any) -> Any:
    """An option's value as number or switch where front ends and the command line write it as text."""
    if not isinstance(value, str):
        return value
    default, kind = OPTIONS.get(name), KINDS.get(name)
    if isinstance(default, bool) or kind is bool:
        return SWITCHES.get(value.strip().lower(), value)
    is_number = isinstance(default, int | float) or kind in (int, float)
    if is_number or name in OFF_AT_ZERO or name in COUNTED_IN_EPOCHS:
        number = number_in(value)
        return value if number is None else number
    return value


def number_in(text: str) -> int | float | None:
    """The number in a text; None where it holds none that can be used."""
    return parse_whole(text) if text.strip().lstrip("+-").isdigit() else parse_decimal(text)


def _refusal(name: str, what: str) -> ConfigError:
    return ConfigError(f"{name[:80]}: {what}.", "See docs/kohya.md for what a file may say.", field=name[:80])
