"""JSON from strangers, bounded in length and depth."""

from __future__ import annotations

import json
from typing import Any

LONGEST = 1_000_000
"""Characters; graphs of some hundred nodes take a tenth of it."""


def read_json(text: str, longest: int = LONGEST) -> Any:
    """What the text says; NaN and Infinity are None. A number may still be larger than any setting, which
    `numbers.parse_whole` and `parse_decimal` tell. Raises ValueError for text that is longer, nested too
    deeply, or no JSON."""
    if len(text) > longest:
        raise ValueError(f"{len(text)} characters are too many; {longest} are allowed")
    try:
        return json.loads(text, parse_constant=lambda name: None)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def read_object(text: str, longest: int = LONGEST) -> dict[str, Any]:
    """The same; empty for what is no JSON object, whatever else it is."""
    if text.lstrip()[:1] != "{":
        return {}
    try:
        found = read_json(text, longest)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
