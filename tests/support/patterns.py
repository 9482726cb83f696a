"""All regular expressions of the project, and the texts that are worst for each.

Python's matching goes back and tries again, which can take n², n³ or 2ⁿ steps for n characters. A text that
shows it repeats a part of what the pattern matches and then fails: `attacks` makes such texts from the parts.
"""

from __future__ import annotations

import ast
import importlib
import itertools
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from re import _constants as code  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[2]
METHODS = ("match", "fullmatch", "search", "findall", "finditer", "sub", "split", "subn")
MATCHING = re.compile(rf"\.(?:compile|{'|'.join(METHODS)})\b")
MAKING = re.compile(rf"\bre{MATCHING.pattern}")
"""Which files are worth parsing, and which of them may hold a pattern."""
SHORTEST, GROWTH = 16, 1.4
LIMIT = 0.05
"""Seconds of processor time."""
SAMPLES = " aA1_-.:,;/\\()[]{}<>|=+*\"'\n\té\x00"
"""Letters to try for a class of them."""


@dataclass(frozen=True)
class Pattern:
    """`place` is file:name, with the name that the pattern is bound to or the function that it stands in.
    `compiled` is None where it is put together when it is used."""

    place: str
    line: int
    source: str
    compiled: re.Pattern[str] | None
    methods: frozenset[str]


def patterns() -> list[Pattern]:
    files = [CHECKOUT / "app.py", CHECKOUT / "launch.py"]
    for folder in ("lora_studio", "scripts"):
        files += sorted((CHECKOUT / folder).rglob("*.py"))
    texts = {file: file.read_text("utf-8") for file in files}
    trees = {file: ast.parse(text) for file, text in texts.items() if MATCHING.search(text)}
    uses: dict[tuple[str, str], set[str]] = {}
    for file, tree in trees.items():
        nodes = list(ast.walk(tree))
        origins = {
            alias.asname or alias.name: f"{(node.module or '').replace('.', '/')}.py"
            for node in nodes
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }
        for node in nodes:
            if isinstance(node, ast.Attribute) and node.attr in METHODS:
                name = ast.unparse(node.value).rpartition(".")[2]
                origin = origins.get(name, file.relative_to(CHECKOUT).as_posix())
                uses.setdefault((origin, name), set()).add(node.attr)
    making = {file: tree for file, tree in trees.items() if MAKING.search(texts[file])}
    return [pattern for file, tree in making.items() for pattern in _patterns_of(file, tree, uses)]


def _patterns_of(file: Path, tree: ast.Module, uses: dict[tuple[str, str], set[str]]) -> Iterator[Pattern]:
    path = file.relative_to(CHECKOUT)
    for name, bound, node in _calls(tree):
        compiled = None
        expression = ast.unparse(node.args[0])
        try:
            module = importlib.import_module(".".join(path.with_suffix("").parts).removesuffix(".__init__"))
            value = eval(expression, vars(module))
            flags = [ast.unparse(word.value) for word in node.keywords if word.arg == "flags"]
            extra = node.args[_flags_at(node) : _flags_at(node) + 1]
            flags += [ast.unparse(one) for one in extra if ast.unparse(one).startswith("re.")]
            compiled = re.compile(value, *(eval(flag, vars(module)) for flag in flags))
        except NameError:
            pass  # it needs a local name
        method = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        methods = uses.get((path.as_posix(), bound), METHODS) if method == "compile" else {method}
        yield Pattern(f"{path.as_posix()}:{name}", node.lineno, expression, compiled, frozenset(methods))


def _flags_at(node: ast.Call) -> int:
    """Where the flags stand in a call without keywords."""
    method = node.func.attr if isinstance(node.func, ast.Attribute) else ""
    return {"compile": 1, "sub": 4, "subn": 4, "split": 3}.get(method, 2)


def _calls(tree: ast.Module) -> Iterator[tuple[str, str, ast.Call]]:
    """Each `re.something(pattern, ...)` with the name of what it stands in, and of what it is bound to."""

    def visit(node: ast.AST, name: str, bound: str) -> Iterator[tuple[str, str, ast.Call]]:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            name = node.name
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            bound = ast.unparse(node.targets[0] if isinstance(node, ast.Assign) else node.target)
            name = name or bound
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and isinstance(node.func.value, ast.Name)
            and node.func.value.id == "re"
            and node.func.attr in ("compile", *METHODS)
        ):
            yield name, bound, node
        for child in ast.iter_child_nodes(node):
            yield from visit(child, name, bound)

    yield from visit(tree, "", "")


def slowest(pattern: re.Pattern[Any], longest: int, methods: Iterable[str] = METHODS) -> tuple[float, str]:
    """Seconds of the worst attack on a pattern with texts of up to `longest` characters, and that text. It
    stops at the first that takes longer than LIMIT."""
    worst = (0.0, "")
    uses = list(dict.fromkeys(use for name, use in _uses(pattern).items() if name in methods))
    for head, pump, tail in attacks(pattern.pattern):
        for text in _lengths(head, pump, tail, longest):
            here = 0.0
            for use in uses:
                seconds = min(_seconds(use, text) for _ in range(3 if worst[0] > LIMIT / 2 else 1))
                # Once more: another program may have had the processor's caches, which is no ten times.
                if LIMIT < seconds < 10 * LIMIT:
                    seconds = min(seconds, *(_seconds(use, text) for _ in range(2)))
                worst, here = max(worst, (seconds, text)), max(here, seconds)
                if seconds > LIMIT:
                    return worst
            if here * (longest / len(text)) ** 4 < LIMIT:
                break  # not even n⁴ steps would take long with the longest
    return worst


def _uses(pattern: re.Pattern[Any]) -> dict[str, Callable[[Any], Any]]:
    """What each method does at most: `search` may stop early, but not in a text where nothing is found."""
    everywhere = lambda text: sum(1 for _ in pattern.finditer(text))  # noqa: E731
    return {**dict.fromkeys(METHODS, everywhere), "match": pattern.match, "fullmatch": pattern.fullmatch}


def _seconds(use: Callable[[str], Any], text: str) -> float:
    begun = time.thread_time()
    use(text)
    return time.thread_time() - begun


def _lengths(head: str, pump: str, tail: str, longest: int) -> Iterator[str]:
    """Ever longer ones, so that what doubles with each letter is found before it takes for ever."""
    length = float(SHORTEST)
    while True:
        length = min(length, longest)
        room = int(length) - len(head) - len(tail)
        if room > 0:
            yield head + (pump * (room // len(pump) + 1))[:room] + tail
        if length >= longest:
            return
        length *= GROWTH if length < 200 else 2


def attacks(pattern: str) -> list[tuple[str, str, str]]:
    """(what comes first, what is repeated, what comes last)."""
    parsed = parser.parse(pattern)
    whole = _sample(list(parsed))
    found: dict[tuple[str, str, str], None] = {}
    for before, items in _repeats(list(parsed), ""):
        pumps = dict.fromkeys(pump for pump in _pumps(items) if pump)
        for pump, head in itertools.product(pumps, dict.fromkeys(("", before))):
            for tail in dict.fromkeys(("", "\x00", "!\n", whole[-1:])):
                found[head, pump, tail] = None
    for end in range(1, len(whole) + 1):
        found["", whole[:end], ""] = None
        found[whole[:end], "a", "\x00"] = None
    return list(found)


def _repeats(items: list[Any], before: str) -> Iterator[tuple[str, list[Any]]]:
    """Each repeated part with a text that leads to it."""
    for place, (kind, value) in enumerate(items):
        here = before + _sample(items[:place])
        if kind in (code.MAX_REPEAT, code.MIN_REPEAT, code.POSSESSIVE_REPEAT):
            yield here, [*value[2]]
            # Two neighbours that can take the same letters are what makes n² ways to share them.
            yield here, [*value[2], *items[place + 1 : place + 2]]
            yield from _repeats(list(value[2]), here)
        for inner in _inner(kind, value):
            yield from _repeats(inner, here)


def _inner(kind: Any, value: Any) -> list[list[Any]]:
    if kind is code.SUBPATTERN:
        return [list(value[-1])]
    if kind is code.BRANCH:
        return [list(branch) for branch in value[1]]
    if kind is code.ATOMIC_GROUP:
        return [list(value)]
    return []


def _pumps(items: list[Any]) -> Iterator[str]:
    """Texts that the items match, one for each letter that they can begin with."""
    yield _sample(items)
    for kind, value in items:
        if kind is code.IN:
            yield from (letter for letter in SAMPLES if _is_in(letter, value))
        elif kind is code.ANY:
            yield from "a :,"
        elif kind is code.NOT_LITERAL:
            yield next(letter for letter in "ab" if letter != chr(value))
        elif kind in (code.MAX_REPEAT, code.MIN_REPEAT, code.POSSESSIVE_REPEAT):
            yield from _pumps(list(value[2]))
            yield _sample(list(value[2])) * 2
        for inner in _inner(kind, value):
            yield from _pumps(inner)


def _sample(items: list[Any]) -> str:
    """A short text that the items match, where that needs no look around."""
    text = ""
    for kind, value in items:
        if kind is code.LITERAL:
            text += chr(value)
        elif kind is code.NOT_LITERAL:
            text += next(letter for letter in "ab" if letter != chr(value))
        elif kind is code.ANY:
            text += "a"
        elif kind is code.IN:
            text += next((letter for letter in "a1 " + SAMPLES if _is_in(letter, value)), "a")
        elif kind in (code.MAX_REPEAT, code.MIN_REPEAT, code.POSSESSIVE_REPEAT):
            least, most, inner = value
            text += _sample(list(inner)) * max(least, min(1, most))
        elif kind is code.BRANCH:
            text += _sample(list(value[1][0]))
        else:
            text += "".join(map(_sample, _inner(kind, value)))
    return text


def _is_in(letter: str, members: list[Any]) -> bool:
    wanted = not any(kind is code.NEGATE for kind, _ in members)
    for kind, value in members:
        if kind is code.LITERAL and ord(letter) == value:
            return wanted
        if kind is code.RANGE and value[0] <= ord(letter) <= value[1]:
            return wanted
        if kind is code.CATEGORY and re.fullmatch(CATEGORIES[value], letter):
            return wanted
    return not wanted


CATEGORIES = {
    code.CATEGORY_DIGIT: r"\d",
    code.CATEGORY_NOT_DIGIT: r"\D",
    code.CATEGORY_SPACE: r"\s",
    code.CATEGORY_NOT_SPACE: r"\S",
    code.CATEGORY_WORD: r"\w",
    code.CATEGORY_NOT_WORD: r"\W",
}

if __name__ == "__main__":
    for one in patterns():
        if one.compiled is None:
            print("    ?", one.place, one.line, one.source)
            continue
        if isinstance(one.compiled.pattern, bytes):
            print("bytes", one.place, one.line, one.source)
            continue
        seconds, text = slowest(one.compiled, int(sys.argv[1]), one.methods)
        print(
            f"{1000 * seconds:5.0f}", one.place, one.line, one.source, repr(text[:60]), len(text), flush=True
        )
