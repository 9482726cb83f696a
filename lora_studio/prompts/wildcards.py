"""Choices in a prompt: `{a|b}`, with weights `{2::a|b}`, nested, and `__name__` for a line of a file.

`{2$$a|b|c}` takes two of them, `{1-2$$ and $$a|b|c}` one or two with "and" between, as in Dynamic Prompts.
A seed decides all of them, so an image drawn again has the same words. A backslash makes a brace or bar an
ordinary character; braces without a bar stay as they are, and so does JSON.
"""

from __future__ import annotations

import random
import re
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, pairwise
from pathlib import Path

from lora_studio.errors import ConfigError
from lora_studio.parsing.json_text import read_object
from lora_studio.parsing.numbers import NUMBER
from lora_studio.request import LONGEST_PROMPT

FILE_MARK = re.compile(r"__([^\s_](?:[^\n]{0,98}?[^\s_])??)__")
SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _-]{0,63}")
WEIGHT = re.compile(rf"\s*+((?![+-]){NUMBER})::")
SEVERAL = re.compile(
    r"\s*+(?:(?P<least>\d{1,4}+)?-(?P<most>\d{1,4}+)?|(?P<exact>\d{1,4}+))\$\$"
    r"(?:(?P<between>[^${}]{0,100}+)\$\$)?"
)
"""Prefix that says how many of the options to take, as in Dynamic Prompts."""
BRACES = re.compile(r"\\.|[{}|]", re.DOTALL)
ESCAPE = re.compile(r"\\([{}|])")
DEEPEST = 20
LONGEST = LONGEST_PROMPT
"""Characters; a file that names itself twice a line would fill the memory."""
MOST_CHOICES = 1000
LARGEST_FILE = 4_000_000
"""Bytes."""


def choose(text: str, seed: int, folder: Path) -> str:
    """`text` with all choices made, if it has any; `folder` holds the files. Raises ConfigError."""
    if not has_choices(text):
        return text
    # The words of seed 7 must not tell anything about those of seed 8; the first draws of seeds in a row do.
    source = random.Random(f"wildcards {seed}")
    return ESCAPE.sub(r"\1", _Draw(source=source, folder=folder).expand(text, 0))


def has_choices(text: str) -> bool:
    """Whether two seeds can give different texts; also true for escaped braces, which must be unescaped."""
    return bool(FILE_MARK.search(text)) or "{" in text or bool(ESCAPE.search(text))


def names(folder: Path) -> list[str]:
    """The files in `folder` that `__name__` can mean."""
    return sorted(path.stem for path in folder.glob("*.txt") if SAFE_NAME.fullmatch(path.stem))


@dataclass(frozen=True, kw_only=True)
class _Group:
    """A closed pair of braces, `start` to `end`, with the places of bars in no further braces."""

    start: int
    end: int
    bars: tuple[int, ...]

    def options(self, text: str, begin: int) -> list[str]:
        places = [begin - 1, *(bar for bar in self.bars if bar >= begin), self.end - 1]
        return [text[here + 1 : there] for here, there in pairwise(places)]


@dataclass(frozen=True, kw_only=True)
class _Choices:
    """Options without their written `weights` (1 where none is), and `sums`, the weights added up."""

    options: tuple[str, ...]
    weights: tuple[float, ...]
    sums: tuple[float, ...]

    @classmethod
    def of(cls, written: Iterable[str]) -> _Choices:
        options, weights = [], []
        for option in written:
            weight = WEIGHT.match(option)
            options.append(option[weight.end() :] if weight else option)
            weights.append(float(weight[1]) if weight else 1.0)
        return cls(options=tuple(options), weights=tuple(weights), sums=tuple(accumulate(weights)))

    def at(self, share: float) -> str:
        """The option at a share of all weights, 0 to 1. Raises ConfigError."""
        if not self.sums[-1] > 0:
            raise ConfigError(
                "All choices of the prompt have the weight 0.", "Raise one of them.", field="prompt"
            )
        return self.options[min(bisect_right(self.sums, share * self.sums[-1]), len(self.options) - 1)]


@dataclass(kw_only=True)
class _Draw:
    """One image's choices, counted by `made`: empty lines that name others would never end."""

    source: random.Random
    folder: Path
    made: int = 0

    def expand(self, text: str, depth: int) -> str:
        """Text with its choices made, outer ones first, so that an option not taken draws nothing."""
        if depth > DEEPEST:
            raise ConfigError(
                f"The choices of the prompt lead in a circle, or lie in each other more than {DEEPEST} deep.",
                "A file must not name itself, nor one that names it.",
                field="prompt",
            )
        parts: list[str] = []
        length = reached = 0
        for start, end, group in _marks(text):
            if start < reached:
                continue
            taken = self._group(text, group, depth) if group else self._file(text[start + 2 : end - 2], depth)
            parts += [text[reached:start], taken]
            reached = end
            length += len(parts[-1]) + len(parts[-2])
            if length > LONGEST:
                raise _too_long()
        return "".join([*parts, text[reached:]])

    def _file(self, name: str, depth: int) -> str:
        return self.expand(self._pick(_lines(name, self.folder)), depth + 1)

    def _group(self, text: str, group: _Group, depth: int) -> str:
        if group.bars and _is_json(text[group.start : group.end]):
            return text[group.start : group.end]
        several = SEVERAL.match(text, group.start + 1, group.end - 1)
        if several:
            return self._several(several, group.options(text, several.end()), depth)
        options = group.options(text, group.start + 1)
        if not group.bars:
            return f"{{{self.expand(options[0], depth + 1)}}}"
        return self.expand(self._pick(_Choices.of(options)), depth + 1)

    def _several(self, several: re.Match[str], options: list[str], depth: int) -> str:
        """Distinct options joined: of `{2-3$$ and $$a|b|c}`, two or three with " and " between them; as many
        as there are, if more are wanted. A single `__file__` gives its lines."""
        alone = FILE_MARK.fullmatch(options[0].strip()) if len(options) == 1 else None
        choices = _lines(alone[1], self.folder) if alone else _Choices.of(options)
        there = len(choices.options)
        least, most = (several["exact"] or several[name] for name in ("least", "most"))
        greatest = min(int(most or there), there)
        count = self.source.randint(min(int(least or 1), greatest), greatest)
        self._count(count + there // 1000)
        # A key for each, the largest first: the same as one draw after the other (Efraimidis, Spirakis).
        keys = {
            place: self.source.random() ** (1 / weight)
            for place, weight in enumerate(choices.weights)
            if weight > 0
        }
        taken = sorted(keys, key=lambda place: -keys[place])[:count]
        return (several["between"] or ", ").join(
            self.expand(choices.options[place], depth + 1) for place in taken
        )

    def _pick(self, choices: _Choices) -> str:
        self._count(1)
        return choices.at(self.source.random())

    def _count(self, made: int) -> None:
        self.made += made
        if self.made > MOST_CHOICES:
            raise _too_long()


def _marks(text: str) -> list[tuple[int, int, _Group | None]]:
    """The choices of a text in order, also those inside others: start, end, and the braces unless it is a
    file. The text is looked at once, however many there are."""
    files = [(mark.start(), mark.end(), None) for mark in FILE_MARK.finditer(text)]
    opened: list[tuple[int, list[int]]] = []
    groups: list[tuple[int, int, _Group | None]] = []
    for mark in BRACES.finditer(text):
        if mark[0] == "{":
            opened.append((mark.start(), []))
        elif mark[0] == "|" and opened:
            opened[-1][1].append(mark.start())
        elif mark[0] == "}" and opened:
            start, bars = opened.pop()
            groups.append((start, mark.end(), _Group(start=start, end=mark.end(), bars=tuple(bars))))
    return sorted([*files, *groups], key=lambda found: found[:2])


def _is_json(text: str) -> bool:
    """Whether braces hold JSON, in which a bar is an ordinary letter: some models are prompted in JSON."""
    return text[1:].lstrip()[:1] == '"' and bool(read_object(text, LONGEST))


def _too_long() -> ConfigError:
    return ConfigError(
        f"With its wildcards filled in, the prompt is longer than {LONGEST} characters, or has more than "
        f"{MOST_CHOICES} choices.",
        "Take fewer or shorter choices.",
        field="prompt",
    )


@lru_cache(maxsize=8)
def _read_once(path: Path, mtime_ns: int, size: int) -> _Choices:
    """The choices in this state of the file, cached: a prompt may name it a hundred times."""
    lines = (line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines())
    return _Choices.of(line for line in lines if line and not line.startswith("#"))


def _lines(name: str, folder: Path) -> _Choices:
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
    if not choices.options:
        raise ConfigError(f"The wildcard file {name}.txt is empty.", "One choice a line.", field="prompt")
    return choices
