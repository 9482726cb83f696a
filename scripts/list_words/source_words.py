"""Messages in the code: sentences in string literals, with placeholders for what is put into them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from itertools import product
from pathlib import Path

from lora_studio.ui.languages.translated_scripts import literals
from scripts.list_words.message_names import PLACEHOLDER, is_message, squeezed

PROSE = re.compile(r"[\w\s.,:;!?%()\[\]“”’'\"/&×–…+·★{}-]+")
"""All that stands in a sentence of ours; code has other signs."""
NO_SENTENCE = re.compile(
    r"(?<![a-z-])-?[a-z]+-[a-z-]+: |--|\\|^[.#:]\w|[a-z]=|^(data|default)-|[ (]_|\b[a-z]+_[a-z_]+\b"
)
TITLE = re.compile(r"[A-Z][a-z]+|LoRA[s+]?")
PASSED_THROUGH = frozenset(
    {"str", "len", "round", "int", "max", "min", "sorted", "as_words", "shown", "abs", "sum"}
)
COUNTS = frozenset({"counted"})
LABELLING = frozenset({"label", "info", "placeholder", "title", "unit"})
LOGS = frozenset({"logger", "logging", "re", "faults"})
LOGGED = frozenset({"bug_of"})
"""Functions whose words go into the log alone."""
MOST_FORMS = 16


def source_messages(files: list[Path]) -> Iterator[str]:
    """The messages of Python files."""
    for file in files:
        tree = ast.parse(file.read_text("utf-8"))
        for node in _spoken(tree):
            for form in _forms(node):
                lines = [squeezed(line) for line in form.split("\n", 1 if form.count("\n") == 1 else 0)]
                yield from (line for line in lines if _is_sentence(line))
                yield from (line for line in lines if len(lines) == 2 and TITLE.fullmatch(line))
        yield from (
            form for node in _labelling(tree) for form in map(squeezed, _forms(node)) if is_message(form)
        )
        yield from _counted(tree)


def script_messages(files: list[Path]) -> Iterator[str]:
    """The messages of JavaScript files."""
    for file in files:
        for text in literals(file.read_text("utf-8")):
            if _is_sentence(text):
                yield text


def _is_sentence(text: str) -> bool:
    if " " not in text or not PROSE.fullmatch(text) or not is_message(text):
        return False
    return not NO_SENTENCE.search(PLACEHOLDER.sub("", text).strip())


def _spoken(tree: ast.Module) -> Iterator[ast.expr]:
    """String literals that are neither docstrings nor a part of another one, a log's or an expression's."""
    skipped: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            skipped.add(id(node.value))
        elif isinstance(node, ast.JoinedStr):
            skipped |= {id(part) for part in ast.walk(node) if part is not node}
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            if isinstance(node.func.value, ast.Name) and node.func.value.id in LOGS:
                skipped |= {id(part) for part in ast.walk(node)}
        elif (
            isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and _is_unheard(node, node.func.id)
        ) or isinstance(node, ast.Assert):
            skipped |= {id(part) for part in ast.walk(node)}
    for node in ast.walk(tree):
        is_text = isinstance(node, ast.JoinedStr) or (
            isinstance(node, ast.Constant) and isinstance(node.value, str)
        )
        if is_text and id(node) not in skipped and isinstance(node, ast.expr):
            yield node


def _is_unheard(call: ast.Call, name: str) -> bool:
    """Whether the words in a call are read elsewhere, or are settings that the page doesn't show."""
    is_local = any(word.arg == "local" for word in call.keywords)
    return name in COUNTS | LOGGED or (name == "setting" and is_local)


def _labelling(tree: ast.Module) -> Iterator[ast.expr]:
    """Literals that are a label or a help by the place where they stand, whatever signs are in them."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            given = [word.value for word in node.keywords if word.arg in LABELLING]
            if isinstance(node.func, ast.Name) and node.func.id == "setting":
                given = [] if _is_unheard(node, "setting") else [*given, *node.args[1:2]]
            for value in given:
                if isinstance(value, ast.JoinedStr | ast.Constant) and not isinstance(
                    getattr(value, "value", ""), int | float | bool | None
                ):
                    yield value


def _forms(node: ast.expr) -> list[str]:
    """All that a literal may say, in every form that conditions inside it give it."""
    match node:
        case ast.Constant():
            return [str(node.value)]
        case ast.JoinedStr():
            return ["".join(one) for one in product(*map(_forms, node.values))][:MOST_FORMS]
        case ast.FormattedValue():
            return _forms(node.value) if isinstance(node.value, ast.IfExp) else [f"{{{_name(node.value)}}}"]
        case ast.IfExp():
            return [*_forms(node.body), *_forms(node.orelse)]
    return [f"{{{_name(node)}}}"]


def _name(node: ast.expr) -> str:
    """The name of an expression's placeholder: the last word of what it reads, or of what it calls."""
    match node:
        case ast.Name():
            return node.id
        case ast.Attribute():
            return node.attr
        case ast.Subscript():
            return _name(node.value)
        case ast.Call(func=ast.Attribute(value=ast.Constant())) if node.args:
            return _name(node.args[0])  # ", ".join(names)
        case ast.Call(func=ast.Name(id=called)) if called in PASSED_THROUGH and node.args:
            return _name(node.args[0])
        case ast.Call(func=ast.Attribute()) if node.func.attr in {"strip", "rstrip", "get"}:
            return _name(node.func.value)
        case ast.Call():
            return _name(node.func)
        case ast.BinOp():
            return _name(node.left if not isinstance(node.left, ast.Constant) else node.right)
        case ast.BoolOp():
            return _name(node.values[0])
        case ast.IfExp():
            return _name(node.body)
        case ast.GeneratorExp() | ast.ListComp():
            return _name(node.elt)
    return "value"


def _counted(tree: ast.Module) -> Iterator[str]:
    """Both forms of a noun that `formatting.counted` puts behind a number."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in COUNTS:
            nouns = [arg.value for arg in node.args[1:] if isinstance(arg, ast.Constant)]
            if nouns:
                yield f"{{n}} {nouns[0]}"
                yield f"{{n}} {nouns[1] if len(nouns) > 1 else str(nouns[0]) + 's'}"


UNTITLED = frozenset({"Not", "Host", "Bearer", "Gradio"})


def title_messages(files: list[Path]) -> Iterator[str]:
    """Single words that begin with a capital: labels, buttons, headings."""
    for file in files:
        for node in _spoken(ast.parse(file.read_text("utf-8"))):
            for form in _forms(node):
                if TITLE.fullmatch(form) and is_message(form) and form not in UNTITLED:
                    yield form
