"""Texts that people typed, told from ours: in a template the name of an expression says which it is.

While a page is put together in another language, what was typed stands between two marks, so that a LoRA
called “Undo” keeps its name. `translated_html` takes the marks out again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from jinja2.ext import Extension
from jinja2.lexer import Token, TokenStream
from markupsafe import Markup, escape

from lora_studio.ui.languages.language import ENGLISH, language

TYPED = frozenset(
    {"title", "name", "slug", "prompt", "prompts", "query", "search", "file", "path", "caption", "shown"}
    | {"tag", "tags", "username", "given", "trigger", "trigger_word", "infotext", "lora"}
)
"""Last words of expressions for what people typed, and for names."""
OURS = frozenset(
    {
        "card",
        "chart",
        "column",
        "phase",
        "style",
        "section",
        "row",
        "preset",
        "kind",
        "axis",
        "option",
        "group",
        "leaf",
    }
)
"""Things whose title and name are ours."""
BEGINS, ENDS = frozenset({"lparen", "lbracket", "lbrace"}), frozenset({"rparen", "rbracket", "rbrace"})
BETWEEN = frozenset({"or", "if", "else", "~"})
OPEN, CLOSE = "\uf8f0", "\uf8f1"
SPAN = re.compile(f"{OPEN}[^{OPEN}{CLOSE}]*{CLOSE}")


def typed(value: Any) -> Any:
    """The value that somebody typed, marked while it could be taken for a text of ours."""
    if language() == ENGLISH or value is None or value == "":
        return value
    inner = escape(value).replace(OPEN, "").replace(CLOSE, "")
    return Markup(OPEN) + inner + Markup(CLOSE)


class TypedText(Extension):
    """Jinja's expressions for what people typed, each passed through `typed`."""

    def __init__(self, environment: Any) -> None:
        super().__init__(environment)
        environment.filters["typed"] = typed

    def filter_stream(self, stream: TokenStream) -> Iterator[Token]:
        expression: list[Token] | None = None
        for token in stream:
            if token.type == "variable_begin":
                expression = []
                yield token
            elif expression is None:
                yield token
            elif token.type == "variable_end":
                yield from _marked(expression)
                yield token
                expression = None
            else:
                expression.append(token)


def _marked(expression: list[Token]) -> list[Token]:
    """An expression with each operand of `or`, `~` and `if else` marked by itself; conditions stay."""
    made, operand, in_condition, depth = list[Token](), list[Token](), False, 0
    for token in expression:
        depth += (token.type in BEGINS) - (token.type in ENDS)
        if depth or token.value not in BETWEEN:
            operand.append(token)
            continue
        made += [*(operand if in_condition else _operand(operand)), token]
        operand, in_condition = [], token.value == "if"
    return [*made, *(operand if in_condition else _operand(operand))]


def _operand(tokens: list[Token]) -> list[Token]:
    if not is_typed([token.value for token in tokens if token.type in ("name", "pipe", "lparen")]):
        return tokens
    line = tokens[0].lineno
    brackets = [Token(line, "lparen", "("), *tokens, Token(line, "rparen", ")")]
    return [*brackets, Token(line, "pipe", "|"), Token(line, "name", "typed")]


def is_typed(words: list[str]) -> bool:
    """Whether an expression, by its words, reads what people typed: by the last one before a filter."""
    read = words[: words.index("|")] if "|" in words else words
    if not read or read[-1] not in TYPED or "(" in read:
        return False
    return len(read) < 2 or read[-2] not in OURS
