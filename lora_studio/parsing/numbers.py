"""Numbers as strangers write them: one form for every pattern, and one way to read them that can neither take
long nor overflow."""

from __future__ import annotations

import math
import re
import reprlib
from typing import Any

from lora_studio.errors import ConfigError

MOST_DIGITS = 30
"""On each side of the point; more say nothing that a float or a setting could hold."""
WHOLE = rf"\d{{1,{MOST_DIGITS}}}+"
NUMBER = rf"[+-]?+(?:{WHOLE}(?:\.\d{{0,{MOST_DIGITS}}}+)?+|\.{WHOLE})"
"""A number inside a larger pattern. Possessive: what it took it keeps, so that no text is looked at twice."""
FORM = re.compile(rf"({NUMBER})(?:[eE]([+-]?+\d{{1,4}}+))?+")
LONGEST = 100
"""Characters, blanks around it included."""
LARGEST = 10**MOST_DIGITS
MOST_SHOWN = 60
"""Characters of what was given that a sentence says again."""


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
    """A whole number, to the last digit, also from "12.0" and "1e3"; None for anything else."""
    if isinstance(given, str):
        text = given.strip() if len(given) <= LONGEST else ""
        if re.fullmatch(rf"[+-]?+{WHOLE}", text):
            return int(text)
    elif isinstance(given, int) and not isinstance(given, bool):
        return given if abs(given) <= LARGEST else None
    number = parse_decimal(given)
    return int(number) if number is not None and number.is_integer() and abs(number) <= LARGEST else None


def read_decimal(given: Any, name: str, *, least: float = -math.inf, most: float = math.inf) -> float:
    """The same between two bounds, for the setting of this name. Raises ConfigError."""
    number = parse_decimal(given)
    if number is None or not least <= number <= most:
        raise _refused(given, name, "a number", least, most)
    return number


def read_whole(given: Any, name: str, *, least: float = -math.inf, most: float = math.inf) -> int:
    """Raises ConfigError."""
    number = parse_whole(given)
    if number is None or not least <= number <= most:
        raise _refused(given, name, "a whole number", least, most)
    return number


def shown(given: Any) -> str:
    """As it was given, but no more of it than a sentence holds, whatever it is."""
    short = reprlib.Repr()
    short.maxstring = short.maxother = short.maxlong = 2 * MOST_SHOWN
    short.maxlevel = short.maxlist = short.maxtuple = short.maxdict = 4
    try:
        said = repr(given[: 2 * MOST_SHOWN]) if isinstance(given, str) else short.repr(given)
    except ValueError:  # Python doesn't write whole numbers of more than 4,300 digits
        said = "a number of thousands of digits"
    return said if len(said) <= MOST_SHOWN else f"{said[:MOST_SHOWN]}…"


def _refused(given: Any, name: str, what: str, least: float, most: float) -> ConfigError:
    bounds = [f"from {least:g}"] if least > -math.inf else []
    bounds += [f"up to {most:g}"] if most < math.inf else []
    said = " ".join([what, *bounds])
    return ConfigError(f"{name}: {said} is needed (got {shown(given)}).", field=name)
