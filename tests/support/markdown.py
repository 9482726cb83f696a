"""What a page of the documentation holds: its examples, links, headings and tables, as GitHub reads them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.support.serving import CHECKOUT

FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
REMARK = re.compile(r"<!-- ((?:run by|not run:) [^\n]*?) -->\n*\Z")
LINK = re.compile(r"(?<!\\)\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)
CODE = re.compile(r"`([^`\n]+)`")


@dataclass(frozen=True, kw_only=True)
class Example:
    """A fenced block. `remark` is what the comment above it says: `run by` a test, or `not run:` and why."""

    page: str
    line: int
    language: str
    text: str
    remark: str = ""


def documentation() -> list[Path]:
    """README, CONTRIBUTING and all pages below docs/."""
    return [
        CHECKOUT / "README.md",
        CHECKOUT / "CONTRIBUTING.md",
        *sorted((CHECKOUT / "docs").rglob("*.md")),
    ]


@cache
def text_of(page: Path) -> str:
    return page.read_text("utf-8")


def name_of(page: Path) -> str:
    return page.relative_to(CHECKOUT).as_posix()


def examples(page: Path) -> Iterator[Example]:
    text = text_of(page)
    for match in FENCE.finditer(text):
        before = text[: match.start()]
        said = REMARK.search(before)
        indent = len(match[1])
        yield Example(
            page=name_of(page),
            line=before.count("\n") + 1,
            language=match[2],
            text="".join(line[indent:] for line in match[3].splitlines(keepends=True)),
            remark=said[1] if said else "",
        )


def prose(page: Path) -> str:
    """The page without its fenced blocks."""
    return FENCE.sub("", text_of(page))


def links(page: Path) -> list[str]:
    """Where links and pictures lead; those in code are none."""
    return LINK.findall(CODE.sub("", prose(page)))


def anchors(page: Path) -> set[str]:
    """The names of the headings as GitHub makes them; a second heading of a name gets a number."""
    found: dict[str, int] = {}
    for heading in HEADING.findall(prose(page)):
        name = _anchor(heading)
        found[name] = found.get(name, -1) + 1
    return {f"{name}-{i}" if i else name for name, last in found.items() for i in range(last + 1)}


def _anchor(heading: str) -> str:
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").strip().lower()
    kept = (c for c in plain if c in " -_" or unicodedata.category(c)[0] in "LN")
    return "".join(kept).replace(" ", "-")


def rows(page: Path) -> Iterator[list[str]]:
    """The cells of each line of its tables, heads and rules left out."""
    lines = prose(page).splitlines()
    for number, line in enumerate(lines):
        is_head = number + 1 < len(lines) and re.fullmatch(r"\|[-:| ]+\|", lines[number + 1])
        if line.startswith("|") and not is_head and not re.fullmatch(r"\|[-:| ]+\|", line):
            yield [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("|"))]
