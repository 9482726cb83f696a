"""The line "Steps: 20, Sampler: Euler, ..." in an infotext: where it stands, and what it says."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from lora_studio.parsing.numbers import parse_decimal

LONGEST = 30_000
"""Characters of a line that are looked at; with the prompts of many extensions it has some thousands."""
LONGEST_KEY = 60
PAIR = re.compile(
    rf'\s{{0,9}}+(\w[\w \-/]{{0,{LONGEST_KEY}}}+):\s*+("(?:\\.|[^\\"])*+"(?=,|$)|[^,]*+)(?:,|$)'
)
FEWEST_PAIRS = 3
"""A line with fewer pairs than this is part of a prompt."""
USUAL = ("Sampler", "CFG scale", "Seed", "Size", "Model", "Model hash")
"""Keys of which every program writes several; tags that look like pairs have none of them."""
RESOURCES = "Civitai resources"
SIDES = re.compile(r"(\d{1,5}+)\s*+[x×]\s*+(\d{1,5}+)")


def find_settings(lines: list[str]) -> tuple[int, Mapping[str, str]]:
    """The place of the settings among the lines of a text, and their unquoted values by the keys as written;
    the number of lines and nothing where there are none. It is the last line that can be one: programs write
    it at the end, some extensions a template behind it."""
    room = LONGEST
    for place in range(len(lines) - 1, -1, -1):
        line = lines[place][:LONGEST]
        if line.count(":") < FEWEST_PAIRS or not any(f"{key}:" in line for key in USUAL):
            continue
        room -= len(line)
        if room < 0:
            break
        said = read_line(line)
        if _is_settings(said):
            return place, said
    return len(lines), {}


def read_line(line: str) -> dict[str, str]:
    resources = ""
    before, mark, after = line.partition(f"{RESOURCES}:")
    if mark:
        resources, after = _json_at_start(after)
        line = before + after
    found = {key.strip(): _unquoted(value.strip()) for key, value in PAIR.findall(line)}
    return {**found, RESOURCES: resources} if resources else found


def read_sides(text: str) -> tuple[int, int] | None:
    """Width and height of "512x768"."""
    match = SIDES.fullmatch(text.strip()[:40])
    return (int(match[1]), int(match[2])) if match else None


def read_pairs(text: str) -> dict[str, str]:
    """ "a: 0.5, b: 1" by name."""
    pairs = (part.rpartition(":") for part in text[:LONGEST].split(","))
    return {name.strip(): value.strip() for name, mark, value in pairs if mark and name.strip()}


def read_resources(text: str) -> list[dict[str, Any]]:
    """What Civitai writes of the models that it drew with."""
    try:
        found = json.loads(text[:LONGEST]) if text else []
    except (ValueError, RecursionError):
        return []
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _is_settings(said: Mapping[str, str]) -> bool:
    if len(said) < FEWEST_PAIRS:
        return False
    usual = sum(key in said for key in USUAL)
    numbers = [key for key in ("Steps", "Seed", "CFG scale") if parse_decimal(said.get(key)) is not None]
    return bool(usual) if "Steps" in numbers else bool(numbers) and usual >= FEWEST_PAIRS


def _json_at_start(text: str) -> tuple[str, str]:
    """JSON that stands in no quotes, and what comes after it."""
    start = len(text) - len(text.lstrip())
    try:
        _, end = json.JSONDecoder().raw_decode(text, start)
    except (ValueError, RecursionError):
        return "", text
    return text[start:end], text[end:].lstrip(" ,")


def _unquoted(value: str) -> str:
    if value.startswith('"') and value.endswith('"'):
        try:
            return str(json.loads(value))
        except (ValueError, RecursionError):
            return value
    return value
