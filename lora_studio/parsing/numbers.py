"""Numbers as strangers write them: one pattern, and readers that neither take long nor overflow."""

from __future__ import annotations

import math
import re
import reprlib
from typing import Any

from lora_studio.errors import ConfigError

MOST_DIGITS = 30
"""Digits on each side of the point; no float or setting holds more."""
WHOLE = rf"\d{{1,{MOST_DIGITS}}}+"
NUMBER = rf"[+-]?+(?:{WHOLE}(?:\.\d{{0,{MOST_DIGITS}}}+)?+|\.{WHOLE})"
"""Pattern of a number inside a larger one. Possessive, so that no text is looked at twice."""
FORM = re.compile(rf"({NUMBER})(?:[eE]([+-]?+\d{{1,4}}+))?+")
LONGEST = 100
"""Characters of a number as text, blanks around it included."""
LARGEST = 10**MOST_DIGITS
MOST_SHOWN = 60
"""Characters of a wrong value that an error message repeats."""


def parse_decimal(given: Any) -> float | None:
    """A finite number from a number or a text; None for anything else."""
    if isinstance(given, bool):
        return None
    if isinstance(given, int):
        return float(given) if abs(given) <= LARGEST else None
    if isinstance(given, str):
        text = given.strip() if len(given) <= LONGEST else ""
        given = float(text) if FORM.fullmatch(text) else None
    return given if isinstance(given, float) and math.isfinite(given) else None


def parse_whole(given: Any) -> int | None:
    """A whole number to the last digit, also from "12.0" and "1e3"; None for anything else."""
    if isinstance(given, str):
        text = given.strip() if len(given) <= LONGEST else ""
        if re.fullmatch(rf"[+-]?+{WHOLE}", text):
            return int(text)
    elif isinstance(given, int) and not isinstance(given, bool):
        return given if abs(given) <= LARGEST else None
    number = parse_decimal(given)
    return int(number) if number is not None and number.is_integer() and abs(number) <= LARGEST else None


def read_decimal(given: Any, name: str, *, least: float = -math.inf, most: float = math.inf) -> float:
    """A finite number from `least` to `most` for the setting `name`. Raises ConfigError."""
    number = parse_decimal(given)
    if number is None or not least <= number <= most:
        raise _refused(given, name, "a number", least, most)
    return number


def read_whole(given: Any, name: str, *, least: float = -math.inf, most: float = math.inf) -> int:
    """A whole number from `least` to `most` for the setting `name`. Raises ConfigError."""
    number = parse_whole(given)
    if number is None or not least <= number <= most:
        raise _refused(given, name, "a whole number", least, most)
    return number


def as_typed(given: Any, *, whole: bool) -> Any:
    """A number that a person typed, with a point or a comma; other texts come back for whoever refuses them.
    Raises ValueError for true and false, which Python takes for numbers."""
    if isinstance(given, bool):
        raise ValueError("a number is needed")
    if not isinstance(given, str):
        return given
    typed = given.replace(",", ".") if len(given) <= LONGEST else given
    number = parse_whole(typed) if whole else parse_decimal(typed)
    return given if number is None else number


def shown(given: Any) -> str:
    """Any value as `repr` writes it, cut to MOST_SHOWN characters."""
    short = reprlib.Repr()
    short.maxstring = short.maxother = short.maxlong = 2 * MOST_SHOWN
    short.maxlevel = short.maxlist = short.maxtuple = short.maxdict = 4
    try:
        text = repr(given[: 2 * MOST_SHOWN]) if isinstance(given, str) else short.repr(given)
    except ValueError:  # Python doesn't write whole numbers of more than 4,300 digits
        text = "a number of thousands of digits"
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}…"


def _refused(given: Any, name: str, what: str, least: float, most: float) -> ConfigError:
    bounds = [f"from {least:g}"] if least > -math.inf else []
    bounds += [f"up to {most:g}"] if most < math.inf else []
    needed = " ".join([what, *bounds])
    return ConfigError(f"{name}: {needed} is needed (got {shown(given)}).", field=name)
