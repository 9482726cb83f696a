"""Messages of the Jinja templates: each text between two tags in every form that its conditions give it, and
the attributes that are read out."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator
from itertools import product
from pathlib import Path

from jinja2 import Environment, nodes

from lora_studio.ui.languages.inline_marks import INLINE
from lora_studio.ui.languages.translated_html import ATTRIBUTE, TAG, pieces
from scripts.list_words.message_names import is_message, squeezed

CODE = re.compile(r"<style>[^<]*</style>|<script>[^<]*</script>")
MOST_FORMS = 64
"""Forms of one text, and of one tag."""


def template_messages(folder: Path) -> Iterator[str]:
    """The messages of all templates of a folder."""
    environment = Environment(trim_blocks=True, lstrip_blocks=True)
    environment.filters["url"] = str
    for file in sorted(folder.glob("*.html")):
        yield from _messages(environment.parse(CODE.sub("", file.read_text("utf-8"))))


def _messages(template: nodes.Template) -> Iterator[str]:
    found: dict[str, None] = {}
    macros = list(template.find_all(nodes.Macro))
    for body in (template.body, *(macro.body for macro in macros)):
        for left in _run(body, {""}, found):
            _cut(left + "<p>", found)
    yield from found


def _run(body: Iterable[nodes.Node], begun: set[str], found: dict[str, None]) -> set[str]:
    """The texts that may be open after a body, from those open before; whole ones go into `found`."""
    for node in body:
        if isinstance(node, nodes.Output):
            for part in node.nodes:
                _note_arguments(part, found)
                begun = {_cut(left + form, found) for left in begun for form in forms(part)}
        elif isinstance(node, nodes.If):
            ways = [node.body, *(other.body for other in node.elif_), node.else_]
            begun = set().union(*(_run(way, begun, found) for way in ways))
        elif isinstance(node, nodes.For):
            begun = begun | _run(node.body, begun, found) | _run(node.else_, begun, found)
    return set(sorted(begun)[:MOST_FORMS])


def _note_arguments(part: nodes.Node, found: dict[str, None]) -> None:
    """Note the messages that are put together for a macro."""
    calls = [part] if isinstance(part, nodes.Call) else []
    for call in (*calls, *part.find_all(nodes.Call)):
        for argument in call.args:
            if isinstance(argument, nodes.Concat | nodes.CondExpr):
                for form in forms(argument):
                    _note(html.escape(form), found)


def _cut(text: str, found: dict[str, None]) -> str:
    """Note the messages of all that is whole, and return what isn't: a sentence may go on."""
    end = 0
    run: list[str] = []
    for kind, piece, is_typed in pieces(text):
        if kind == "text" and piece.startswith("<"):
            break  # a tag that is not ended yet
        if kind == "tag" or (kind == "inline" and not is_typed):
            for _, value in ATTRIBUTE.findall(piece) if not is_typed else ():
                _note(html.unescape(value), found)
        if kind == "tag":
            _note("".join(run), found)
            run, end = [], end + len("".join(run)) + len(piece)
        else:
            run.append(piece)
    return text[end:]


def _note(run: str, found: dict[str, None]) -> None:
    message = ""
    for kind, piece, _ in pieces(run):
        tag = TAG.match(piece) if kind == "inline" else None
        message += (
            (f"</{tag[1]}>" if piece.startswith("</") else f"<{tag[1]}>") if tag else html.unescape(piece)
        )
    message = squeezed(message)
    whole = message
    for name in INLINE:  # what is one element from end to end is looked up without it
        if whole.startswith(f"<{name}>") and whole.endswith(f"</{name}>") and whole.count(f"<{name}>") == 1:
            whole = whole.removeprefix(f"<{name}>").removesuffix(f"</{name}>").strip()
    if is_message(whole):
        found[whole] = None


def forms(part: nodes.Node | None) -> list[str]:
    """All that an expression may put into a text: constants as they are, placeholders for all else."""
    match part:
        case None:
            return [""]
        case nodes.TemplateData():
            return [part.data]
        case nodes.Const():
            return [str(part.value)]
        case nodes.CondExpr():
            return [*forms(part.expr1), *forms(part.expr2)]
        case nodes.Or():
            return [*forms(part.left), *forms(part.right)]
        case nodes.And():
            return ["", *forms(part.right)]
        case nodes.Concat():
            return _joined(part.nodes)
        case nodes.Add():
            return _joined([part.left, part.right])
        case nodes.Getitem(node=nodes.Dict()):
            return [form for pair in part.node.items for form in forms(pair.value)]
        case nodes.Filter(name="format"):
            return [_formatted(form, part.args) for form in forms(part.node)]
    return [f"{{{name_of(part)}}}"]


def _joined(parts: list[nodes.Expr]) -> list[str]:
    return ["".join(one) for one in product(*map(forms, parts))][:MOST_FORMS]


def _formatted(text: str, arguments: list[nodes.Expr]) -> str:
    for argument in arguments:
        text = text.replace("%s", f"{{{name_of(argument)}}}", 1)
    return text


def name_of(part: nodes.Node) -> str:
    """The name of an expression's placeholder: the last word of what it reads."""
    match part:
        case nodes.Name():
            return str(part.name)
        case nodes.Getattr():
            return str(part.attr)
        case nodes.Getitem():
            return name_of(part.node)
        case nodes.Filter() if part.node is not None:
            return name_of(part.node)
        case nodes.Call() if isinstance(part.node, nodes.Getattr) and isinstance(part.node.node, nodes.Const):
            return "n"  # "{:,}".format(number)
        case nodes.Call():
            return name_of(part.node)
    return "value"
