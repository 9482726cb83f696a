"""Markdown that people wrote, shown: as words and simple markup, whatever they wrote."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import pytest

from lora_studio.ui.widgets.markdown_view import LONGEST_SHOWN, markdown_html
from tests.support.pace import seconds_of, stretched

ALLOWED = {
    *("p", "em", "strong", "ul", "ol", "li", "code", "pre", "blockquote", "hr", "br", "a", "img"),
    *("h3", "h4", "h5", "h6", "table", "thead", "tbody", "tr", "th", "td"),
}
OURS = "gradio_api/file="
HOSTILE = (
    "<script>alert(1)</script><img src=x onerror=alert(1)><iframe src=//e.org>",
    "[x](javascript:alert(1)) [y](data:text/html,<b>) [z](vbscript:x) [f](file:///etc/passwd)",
    "![x](https://example.org/x.png) ![y](//example.org/y.png) ![z](../../x.png)",
    '[x](https://e.org "on\\"mouseover=alert(1)") <a href="javascript:x">',
    "a${alert(1)}b {{ 7*7 }} `<b>` &lt;script&gt;",
    "---\ntitle: <b>\n---\n# Head\n<b>bold</b>",
    '![" onerror=alert(1)](previews/a.png)',
)


class Found(HTMLParser):
    """The tags of some HTML, each with its attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_of_a_strangers_runs_or_asks_another_host(text: str) -> None:
    found = Found()
    found.feed(markdown_html(text, pictures={"previews/a.png": Path("/x/previews/a.png")}))
    assert {tag for tag, _ in found.tags} <= ALLOWED
    for tag, attributes in found.tags:
        assert set(attributes) <= {"href", "src", "alt", "title", "rel", "target", "loading", "style"}
        assert attributes.get("href", "https://").startswith("https://")
        assert attributes.get("src", OURS).startswith(OURS)
        assert tag in {"a", "img"} or not {"href", "src"} & set(attributes)


def test_simple_markup_and_own_pictures_are_shown() -> None:
    lines = ("---", "title: x", "---", "# One", "", "**two** [three](https://example.org)", "")
    text = "\n".join((*lines, "![four](previews/a.png)", "", "| a |", "|---|", "| b |"))
    html = markdown_html(text, pictures={"previews/a.png": Path("/x/a b.png")})
    assert "title: x" not in html
    assert "<h3>One</h3>" in html
    assert "<strong>two</strong>" in html
    assert 'rel="noopener noreferrer nofollow"' in html
    assert 'src="gradio_api/file=/x/a%20b.png"' in html
    assert "<td>b</td>" in html


@pytest.mark.parametrize(
    "text", ["[" * 9**5, "*a_" * 9**5, "`" * 9**5, "> " * 9**5, "|" * 9**5, "![](" * 9**5, "---\n" * 9**5]
)
def test_the_worst_text_takes_no_time(text: str) -> None:
    assert len(text) > LONGEST_SHOWN
    assert seconds_of(lambda: markdown_html(text, pictures={})) < stretched(2.0)
