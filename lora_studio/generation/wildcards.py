"""Choices in a prompt: `{a|b}`, with weights `{2::a|b}`, nested, and `__name__` for a line of a file.

A seed decides all of them, so an image drawn again has the same words. A backslash makes a brace or bar an
ordinary character; braces without a bar stay as they are.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from lora_studio.errors import ConfigError

FILE_MARK = re.compile(r"__([^\s_](?:[^\n]{0,98}?[^\s_])??)__")
SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _-]{0,63}")
WEIGHT = re.compile(r"\s*(\d+\.?\d*|\.\d+)::")
ESCAPE = re.compile(r"\\([{}|])")
DEEPEST = 20
LONGEST = 10_000
"""Characters; a file that names itself twice a line would fill the memory."""
LARGEST_FILE = 4_000_000
"""Bytes."""


def choose(text: str, seed: int, folder: Path) -> str:
    """`text` with all choices made; `folder` holds the files. Text without choices comes back as it is.
    Raises ConfigError."""
    if not has_choices(text):
        return text
    # The words of seed 7 must not tell anything about those of seed 8; the first draws of seeds in a row do.
    source = random.Random(f"wildcards {seed}")
    return ESCAPE.sub(r"\1", _expand(text, source, folder, 0))


def has_choices(text: str) -> bool:
    """Whether seeds can give different words; also true for escaped braces, which have to be read."""
    return bool(FILE_MARK.search(text)) or "{" in text or bool(ESCAPE.search(text))


def names(folder: Path) -> list[str]:
    """The files that `__name__` can mean."""
    return sorted(path.stem for path in folder.glob("*.txt") if SAFE_NAME.fullmatch(path.stem))


def _expand(text: str, source: random.Random, folder: Path, depth: int) -> str:
    """Outer choices first, so that a choice not taken draws nothing."""
    if depth > DEEPEST:
        raise ConfigError(
            f"The choices of the prompt lead in a circle, or lie in each other more than {DEEPEST} deep.",
            "A file must not name itself, nor one that names it.",
            field="prompt",
        )
    parts: list[str] = []
    rest = text
    while (found := _next(rest)) is not None:
        start, end, kind = found
        inside = rest[start:end]
        if kind == "file":
            taken = _pick(_lines(inside[2:-2], folder), source)
            taken = _expand(taken, source, folder, depth + 1)
        else:
            options = _split(inside[1:-1])
            picked = _pick(options, source) if len(options) > 1 else options[0]
            taken = _expand(picked, source, folder, depth + 1)
            taken = taken if len(options) > 1 else f"{{{taken}}}"
        parts += [rest[:start], taken]
        rest = rest[end:]
        if sum(map(len, parts)) > LONGEST:
            raise ConfigError(
                f"With its wildcards filled in, the prompt is longer than {LONGEST} characters.",
                "Take fewer or shorter choices.",
                field="prompt",
            )
    return "".join([*parts, rest])


def _next(text: str) -> tuple[int, int, str] | None:
    """The first choice in the text: start, end and its kind."""
    braces, files = _braces(text), FILE_MARK.search(text)
    if braces and (files is None or braces[0] < files.start()):
        return (*braces, "braces")
    return (files.start(), files.end(), "file") if files else None


def _braces(text: str) -> tuple[int, int] | None:
    """Start and end of the first brace that is closed, whatever it holds."""
    opened: list[int] = []
    closed: list[tuple[int, int]] = []
    for mark in re.finditer(r"\\.|[{}]", text, re.DOTALL):
        if mark[0] == "{":
            opened.append(mark.start())
        elif mark[0] == "}" and opened:
            closed.append((opened.pop(), mark.end()))
            if not opened:
                break
    return min(closed, default=None)


def _split(inside: str) -> list[str]:
    """At the bars that stand in no further braces."""
    options, depth, start = [], 0, 0
    for mark in re.finditer(r"\\.|[{}|]", inside, re.DOTALL):
        depth += {"{": 1, "}": -1}.get(mark[0], 0)
        if mark[0] == "|" and depth == 0:
            options.append(inside[start : mark.start()])
            start = mark.end()
    return [*options, inside[start:]]


def _pick(options: Sequence[str], source: random.Random) -> str:
    """One option, by its weight (1 where none is given)."""
    weights = []
    for option in options:
        said = WEIGHT.match(option)
        weights.append(float(said[1]) if said else 1.0)
    if not sum(weights) > 0:
        raise ConfigError(
            "All choices of the prompt have the weight 0.", "Raise one of them.", field="prompt"
        )
    place = source.random() * sum(weights)
    for option, weight in zip(options, weights, strict=True):
        place -= weight
        if place < 0:
            return WEIGHT.sub("", option, count=1) if WEIGHT.match(option) else option
    return WEIGHT.sub("", options[-1], count=1)


@lru_cache(maxsize=8)
def _read_once(path: Path, mtime_ns: int, size: int) -> tuple[str, ...]:
    """The choices in this state of the file: a prompt may name it a hundred times."""
    lines = (line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines())
    return tuple(line for line in lines if line and not line.startswith("#"))


def _lines(name: str, folder: Path) -> Sequence[str]:
    """The choices of a file: its lines but for empty ones and those that begin with #."""
    if not SAFE_NAME.fullmatch(name):
        raise ConfigError(
            f"“{name}” is no wildcard's name.",
            "Letters, digits, spaces, - and _ only: __animals__ takes a line of animals.txt.",
            field="prompt",
        )
    path = folder / f"{name}.txt"
    try:
        facts = path.stat()
        if facts.st_size > LARGEST_FILE:
            raise ConfigError(
                f"The wildcard file {name}.txt is too large.", "4 MB are allowed.", field="prompt"
            )
        choices = _read_once(path, facts.st_mtime_ns, facts.st_size)
    except FileNotFoundError:
        there = ", ".join(names(folder)[:12])
        hint = f"There are: {there}." if there else "The folder of wildcards is empty; one choice a line."
        raise ConfigError(f"There is no wildcard file {name}.txt.", hint, field="prompt") from None
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"The wildcard file {name}.txt can't be read.", "It must be text in UTF-8.", field="prompt"
        ) from error
    if not choices:
        raise ConfigError(f"The wildcard file {name}.txt is empty.", "One choice a line.", field="prompt")
    return choices
