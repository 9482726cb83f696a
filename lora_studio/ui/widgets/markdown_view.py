"""Markdown that people wrote, as harmless HTML: no markup, no script, no picture of another host."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup, escape

from lora_studio.ui.widgets.html_templates import file_url

if TYPE_CHECKING:
    from markdown_it import MarkdownIt

LONGEST_SHOWN = 40_000
"""Characters of Markdown that are shown."""
FRONT_MATTER = re.compile(r"---\n(.{0,20000}?)\n---\n", re.DOTALL)
WEB = re.compile(r"https?://", re.IGNORECASE)


@cache
def _parser() -> MarkdownIt:
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark", {"html": False, "maxNesting": 20}).enable("table")
    parser.add_render_rule("image", _image)
    parser.add_render_rule("link_open", _link_open)
    parser.add_render_rule("heading_open", _heading_open)
    parser.add_render_rule("heading_close", _heading_close)
    return parser


def markdown_html(text: str, *, pictures: Mapping[str, Path]) -> Markup:
    """HTML of Markdown without its front matter. Of its pictures only those in `pictures` are shown, by
    their address in the text; of others the words."""
    front = FRONT_MATTER.match(text)
    body = text[front.end() if front else 0 :][:LONGEST_SHOWN]
    return Markup(_parser().render(body, {"pictures": pictures}))


def _image(_: Any, tokens: Any, place: int, options: Any, env: Mapping[str, Any]) -> str:
    token = tokens[place]
    words = escape(token.content)
    file = env["pictures"].get(token.attrGet("src"))
    if file is None:
        return f"[{words}]"
    return f'<img src="{escape(file_url(file))}" alt="{words or "picture"}" loading="lazy">'


def _link_open(renderer: Any, tokens: Any, place: int, options: Any, env: Any) -> str:
    token = tokens[place]
    if not WEB.match(str(token.attrGet("href") or "")):
        token.attrs.pop("href", None)
    token.attrSet("rel", "noopener noreferrer nofollow")
    token.attrSet("target", "_blank")
    return str(renderer.renderToken(tokens, place, options, env))


def _heading_open(_: Any, tokens: Any, place: int, options: Any, env: Any) -> str:
    return f"<h{_level(tokens[place])}>"


def _heading_close(_: Any, tokens: Any, place: int, options: Any, env: Any) -> str:
    return f"</h{_level(tokens[place])}>\n"


def _level(token: Any) -> int:
    """The page has one h1, and the details an h2."""
    return min(6, int(token.tag[1:]) + 2)
