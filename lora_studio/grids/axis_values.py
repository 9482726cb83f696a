"""Values of a grid's axis from the line that a person types, as A1111 reads it."""

from __future__ import annotations

import csv
import re
from decimal import Decimal

from lora_studio.errors import ConfigError
from lora_studio.grids.grid_request import MOST_CELLS
from lora_studio.parsing.numbers import NUMBER, parse_decimal, parse_whole, shown

RANGE = re.compile(
    rf"\s*+({NUMBER})\s*+-\s*+({NUMBER})\s*+(?:\(\s*+({NUMBER})\s*+\)|\[\s*+(\d{{1,6}}+)\s*+\])?+\s*+"
)
ALONE = re.compile(NUMBER)


def split_values(line: str) -> list[str]:
    """The parts between commas, without empty ones; one in double quotes may have commas inside."""
    try:
        rows = list(csv.reader(line.replace("\r", "").split("\n"), skipinitialspace=True, strict=True))
    except csv.Error:
        raise ConfigError(
            f"A quote in {shown(line)} isn't closed.", 'Write "a, b", c.', field="values"
        ) from None
    return [part.strip() for row in rows for part in row if part.strip()]


def numbers(line: str, *, whole: bool) -> list[float]:
    """Numbers and ranges: `1, 2`, `1-10 (+3)`, `10-1 (-3)`, `5-30 [6]`, and `1-5` by ones. `whole` numbers
    are rounded where a range has no better ones, and exact to the last digit. Raises ConfigError."""
    found: list[float] = []
    for part in split_values(line):
        match = RANGE.fullmatch(part)
        values = _range(part, match, whole) if match else [_number(part, whole)]
        if whole and any(value != int(value) for value in values):
            raise ConfigError(f"{shown(part)} is no whole number.", "Take whole numbers.", field="values")
        found += values
        if len(found) > MOST_CELLS:
            raise _too_many(line, len(found))
    return found


def _range(part: str, match: re.Match[str], whole: bool) -> list[float]:
    start, end = Decimal(match[1]), Decimal(match[2])
    if match[4]:
        count = int(match[4])
        _check_count(part, count)
        if count == 1:
            return [_value(start, whole)]
        spaced = [start + (end - start) * place / (count - 1) for place in range(count)]
        return [round(value) if whole else float(round(value, 6)) for value in spaced]
    step = Decimal(match[3]) if match[3] else Decimal(1 if end >= start else -1)
    if step == 0 or (end - start) * step < 0:
        raise ConfigError(
            f"The range {shown(part)} doesn't arrive at its end.",
            "Write 1-10 (+3) or 10-1 (-3).",
            field="values",
        )
    count = int((end - start) / step) + 1
    _check_count(part, count)
    return [_value(start + place * step, whole) for place in range(count)]


def _value(value: Decimal, whole: bool) -> float:
    return int(value) if whole and value == int(value) else float(value)


def _check_count(part: str, count: int) -> None:
    if not 1 <= count <= MOST_CELLS:
        raise _too_many(part, count)


def _too_many(part: str, count: int) -> ConfigError:
    return ConfigError(
        f"The range {shown(part)} has {count} values.",
        f"Between 1 and {MOST_CELLS} are possible.",
        field="values",
    )


def _number(part: str, whole: bool) -> float:
    matched = ALONE.fullmatch(part)
    value = parse_decimal(part) if matched else None
    if value is None:
        raise ConfigError(
            f"{shown(part)} is no number.", "Write 1, 2, 3, or 1-10 (+3), or 5-30 [6].", field="values"
        )
    exact = parse_whole(part) if whole else None
    return value if exact is None else exact
