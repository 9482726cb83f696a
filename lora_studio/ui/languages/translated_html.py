"""HTML of ours in the language of who reads it: its texts, and the attributes that are read out.

A sentence with `<b>`, `<code>` and the like inside is one message. What people typed stands in elements with
`translate="no"`, which are left alone with all their attributes.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

from lora_studio.ui.languages.inline_marks import INLINE, MARK_OF, MARKED
from lora_studio.ui.languages.message_table import MessageTable
from lora_studio.ui.languages.typed_text import CLOSE, OPEN, SPAN

PIECE = re.compile(r"<[^<>]+>|[^<]+|<")
TAG = re.compile(r"</?([a-zA-Z][a-zA-Z0-9-]*)")
ATTRIBUTE = re.compile(
    r'( (?:title|aria-label|alt|placeholder|aria-valuetext|data-sure|data-label)=")([^"]*)"'
)
TYPED = re.compile(r' translate="no"| class="[^"]*notranslate')
VOID = {
    "img",
    "input",
    "br",
    "hr",
    "meta",
    "link",
    "source",
    "wbr",
    "path",
    "line",
    "polyline",
    "circle",
    "rect",
}
FIRST_PART, MOST_PARTS = 0xF000, 1024
PART = re.compile(f"[{chr(FIRST_PART)}-{chr(FIRST_PART + MOST_PARTS - 1)}]")
AS_IT_IS = {"script", "style", "textarea", "pre"}


def pieces(markup: str) -> Iterator[tuple[str, str, bool]]:
    """Pieces of HTML: `("text", …)`, `("inline", …)` for a tag inside a sentence, `("tag", …)` for another
    one, each with whether it belongs to something typed."""
    typed, depth = "", 0
    for piece in PIECE.findall(markup):
        tag = TAG.match(piece)
        if tag is None:  # a comment, or `<!doctype html>`
            yield "tag" if len(piece) > 1 and piece.startswith("<") else "text", piece, bool(typed)
            continue
        name, closes = tag[1].lower(), piece.startswith("</")
        inside = bool(typed)
        if typed and name == typed:
            depth += -1 if closes else 1
            typed = typed if depth else ""
        elif not typed and not closes and (name in AS_IT_IS or TYPED.search(piece)):
            inside = True
            if name not in VOID and not piece.endswith("/>"):
                typed, depth = name, 1
        yield "inline" if name in INLINE else "tag", piece, inside


def translated_html(markup: str, table: MessageTable) -> str:
    """Markup with its texts translated; what the table doesn't have stays as it is."""
    made: list[str] = []
    run: list[tuple[str, str, bool]] = []
    for kind, piece, is_typed in pieces(markup):
        if kind == "tag":
            made += [_sentence(run, table), piece if is_typed else _attributes(piece, table)]
            run = []
        else:
            run.append((kind, piece, is_typed))
    made.append(_sentence(run, table))
    return "".join(made).replace(OPEN, "").replace(CLOSE, "")


def _attributes(tag: str, table: MessageTable) -> str:
    def put(found: re.Match[str]) -> str:
        return f'{found[1]}{html.escape(_looked_up(html.unescape(found[2]), table))}"'

    return ATTRIBUTE.sub(put, tag)


def _sentence(run: list[tuple[str, str, bool]], table: MessageTable) -> str:
    """A run of text and inline tags, as one message if the table has it so."""
    as_it_is = "".join(piece for _, piece, _ in run)
    if not any(kind == "text" and piece.strip() for kind, piece, _ in run):
        return as_it_is
    if MARKED.search(SPAN.sub("", as_it_is)):
        return as_it_is
    if len(run) > 1 and not MARKED.search(as_it_is) and (whole := _as_one(run, table)) is not None:
        return whole
    return "".join(_alone(kind, piece, is_typed, table) for kind, piece, is_typed in run)


def _looked_up(text: str, table: MessageTable) -> str:
    """A text in the language. Of each typed part the table sees one character, which fits no message."""
    if OPEN not in text:
        return table.translated(text)
    if PART.search(SPAN.sub("", text)):
        return text
    parts = SPAN.findall(text)
    places = iter(range(len(parts)))
    found = table.translated(SPAN.sub(lambda _: chr(FIRST_PART + next(places) % MOST_PARTS), text))
    return PART.sub(lambda part: parts[ord(part[0]) - FIRST_PART], found)


def _alone(kind: str, piece: str, is_typed: bool, table: MessageTable) -> str:
    if is_typed:
        return piece
    if kind == "inline":
        return _attributes(piece, table)
    return html.escape(_looked_up(html.unescape(piece), table), quote=False)


def _as_one(run: list[tuple[str, str, bool]], table: MessageTable) -> str | None:
    """The run with its tags as marks, looked up as one text, and its tags put back; None if it is unknown."""
    text, tags = "", dict[str, list[str]]()
    for kind, piece, is_typed in run:
        if kind == "text":
            shown = html.unescape(piece)
            text += f"{OPEN}{shown}{CLOSE}" if is_typed else shown
            continue
        name = piece.strip("</>").split()[0].lower()
        bare = f"</{name}>" if piece.startswith("</") else f"<{name}>"
        tags.setdefault(MARK_OF[bare], []).append(piece if is_typed else _attributes(piece, table))
        text += MARK_OF[bare]
    found = _looked_up(text, table)
    if found == text or sorted(MARKED.findall(found)) != sorted(MARKED.findall(text)):
        return None
    return MARKED.sub(lambda mark: tags[mark[0]].pop(0), html.escape(found, quote=False))
