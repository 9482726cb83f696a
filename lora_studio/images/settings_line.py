"""The line "Steps: 20, Sampler: Euler, ..." in an infotext: finding and parsing it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from lora_studio.parsing.numbers import parse_decimal

LONGEST = 30_000
"""Characters of a line that are read; with the prompts of many extensions it has some thousands."""
LONGEST_KEY = 60
PAIR = re.compile(
    rf'\s{{0,9}}+(\w[\w \-/]{{0,{LONGEST_KEY}}}+):\s*+("(?:\\.|[^\\"])*+"(?=,|$)|[^,]*+)(?:,|$)'
)
FEWEST_PAIRS = 3
"""Pairs of a line of settings at least; a line with fewer is part of a prompt."""
USUAL = ("Sampler", "CFG scale", "Seed", "Size", "Model", "Model hash")
"""Keys of which every program writes several; tags that look like pairs have none of them."""
RESOURCES = "Civitai resources"
SIDES = re.compile(r"(\d{1,5}+)\s*+[x×]\s*+(\d{1,5}+)")


def find_settings(lines: list[str]) -> tuple[int, Mapping[str, str]]:
    """The place of the settings among the lines of a text, and their unquoted values by the keys as written;
    the number of lines and nothing where there are none. The last line that can be settings is taken:
    programs write it at the end, some extensions a template behind it."""
    room = LONGEST
    for place in range(len(lines) - 1, -1, -1):
        line = lines[place][:LONGEST]
        if line.count(":") < FEWEST_PAIRS or not any(f"{key}:" in line for key in USUAL):
            continue
        room -= len(line)
        if room < 0:
            break
        settings = read_line(line)
        if _is_settings(settings):
            return place, settings
    return len(lines), {}


def read_line(line: str) -> dict[str, str]:
    """The unquoted values of a line of settings by their keys."""
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
    """Values by name from "a: 0.5, b: 1"."""
    pairs = (part.rpartition(":") for part in text[:LONGEST].split(","))
    return {name.strip(): value.strip() for name, mark, value in pairs if mark and name.strip()}


def read_resources(text: str) -> list[dict[str, Any]]:
    """The models that Civitai lists, each as Civitai writes it; empty for text that is no JSON list."""
    try:
        found = json.loads(text[:LONGEST]) if text else []
    except (ValueError, RecursionError):
        return []
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _is_settings(settings: Mapping[str, str]) -> bool:
    if len(settings) < FEWEST_PAIRS:
        return False
    usual = sum(key in settings for key in USUAL)
    numbers = [key for key in ("Steps", "Seed", "CFG scale") if parse_decimal(settings.get(key)) is not None]
    return bool(usual) if "Steps" in numbers else bool(numbers) and usual >= FEWEST_PAIRS


def _json_at_start(text: str) -> tuple[str, str]:
    """JSON without quotes around it, and the text behind it."""
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
