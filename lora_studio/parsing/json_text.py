"""JSON from strangers, bounded in length and depth."""

from __future__ import annotations

import json
from typing import Any

from lora_studio.parsing.numbers import parse_whole

LONGEST = 1_000_000
"""Characters; graphs of some hundred nodes take a tenth of it."""


def read_json(text: str, longest: int = LONGEST) -> Any:
    """Parse JSON of up to `longest` characters; NaN, Infinity and numbers of thousands of digits become None.
    Whole numbers may still be larger than any setting: check them with `numbers.parse_whole`. Raises
    ValueError for text that is longer, nested too deeply, or no JSON."""
    if len(text) > longest:
        raise ValueError(f"{len(text)} characters are too many; {longest} are allowed")
    try:
        try:
            return json.loads(text, parse_constant=lambda name: None)
        except json.JSONDecodeError:
            raise
        except ValueError:  # a number of more than 4,300 digits: the rest is still worth reading
            return json.loads(text, parse_int=parse_whole, parse_constant=lambda name: None)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def looks_like_object(text: str) -> bool:
    """Whether a text is meant as a JSON object; `{a|b}` in a prompt begins with a brace as well."""
    start = text[:1000].lstrip()
    return start[:1] == "{" and start[1:].lstrip()[:1] == '"'


def read_object(text: str, longest: int = LONGEST) -> dict[str, Any]:
    """Parse a JSON object as `read_json` does; empty for anything else."""
    if text.lstrip()[:1] != "{":
        return {}
    try:
        found = read_json(text, longest)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
