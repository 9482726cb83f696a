"""A button is called by what it shows, in each language: who speaks to the page says what is there to see
(WCAG 2.2, 2.5.3)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from lora_studio.ui.languages.language import ENGLISH, LANGUAGES
from lora_studio.ui.languages.message_table import read_table
from scripts.list_words.page_words import TEMPLATES

CALLED = {"a", "button", "summary"}
JINJA = re.compile(r"\{[%#].*?[%#]\}", re.DOTALL)
VALUE = re.compile(r"\{\{.*?\}\}", re.DOTALL)
PLACEHOLDER = re.compile(r"\{[^}]*\}")


class Buttons(HTMLParser):
    """What each button of a template shows, and the name it has besides."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str]] = []
        self.label, self.shown = "", ""

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag in CALLED:
            self.label, self.shown = dict(attributes).get("aria-label") or "", ""

    def handle_data(self, data: str) -> None:
        self.shown += data

    def handle_endtag(self, tag: str) -> None:
        if tag in CALLED and self.label and re.search(r"[^\W\d]", PLACEHOLDER.sub("", self.shown)):
            self.found.append((" ".join(self.shown.split()), self.label))


def buttons_of(template: Path) -> list[tuple[str, str]]:
    parser = Buttons()
    parser.feed(VALUE.sub("{}", JINJA.sub("", template.read_text("utf-8"))))
    return parser.found


def spoken(text: str) -> str:
    """A text as it is compared: without placeholders, signs and capitals."""
    return " ".join(re.findall(r"\w+", PLACEHOLDER.sub(" ", text))).lower()


def without_names(text: str) -> str:
    return PLACEHOLDER.sub("{}", text)


def named_buttons() -> Iterator[tuple[str, str, str]]:
    for template in sorted(TEMPLATES.glob("*.html")):
        for shown, label in buttons_of(template):
            yield template.name, shown, label


@pytest.mark.parametrize("tag", LANGUAGES)
def test_a_button_is_called_by_what_it_shows(tag: str) -> None:
    table = {} if tag == ENGLISH else {without_names(key): text for key, text in read_table(tag).items()}
    named = list(named_buttons())
    assert len(named) > 20
    others = [
        (template, *words)
        for template, *pair in named
        if spoken((words := [table.get(text, text) for text in pair])[0]) not in spoken(words[1])
    ]
    assert others == []


def test_another_name_is_seen(tmp_path: Path) -> None:
    template = tmp_path / "one.html"
    template.write_text(
        '<button aria-label="Keep the caption of {{ file }}">Keep <b>it</b></button>', "utf-8"
    )
    assert buttons_of(template) == [("Keep it", "Keep the caption of {}")]
    assert spoken("Keep it") not in spoken("Keep the caption of {}")
