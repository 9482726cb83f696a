"""The page's prompts by purpose: those of the documentation, with a LoRA's own trigger word."""

from __future__ import annotations

import re

import pytest

from lora_studio.catalog.purpose_prompts import OF_LARGE_BASES, OF_STARTER, purpose_prompts
from lora_studio.settings import CHECKOUT
from lora_studio.ui.generate.generate_requests import shown_ideas
from tests.support.html import parse

PAGE = (CHECKOUT / "docs" / "sample-prompts.md").read_text("utf-8")
ROW = re.compile(r"^\| \d+ \| [^|]* \| ([^|]+?) \|", re.MULTILINE)
HEADINGS = {
    "The base alone": OF_STARTER[""],
    "Your object": OF_STARTER["object"],
    "Your style": OF_STARTER["style"],
    "A person": OF_LARGE_BASES["person"],
    "A style": OF_LARGE_BASES["style"],
    "An object": OF_LARGE_BASES["object"],
    "A character": OF_LARGE_BASES["character"],
}


@pytest.mark.parametrize("heading", HEADINGS)
def test_they_are_those_of_the_documentation(heading: str) -> None:
    """But for the word for its kind, which is the example set's own."""
    part = PAGE.partition(f"\n### {heading}\n")[2].partition("\n#")[0]
    documented = [re.sub(r"\*\*zwx\*\*( creature)?", "{trigger}", prompt) for prompt in ROW.findall(part)]
    assert documented
    assert documented == list(HEADINGS[heading])


def test_there_are_forty_for_the_embedded_base_and_forty_for_large_ones() -> None:
    assert [sum(map(len, kinds.values())) for kinds in (OF_STARTER, OF_LARGE_BASES)] == [40, 40]


@pytest.mark.parametrize(
    ("base", "kind", "trigger", "first"),
    [
        ("starter", "style", "mimi", "rocket, mimi style"),
        ("starter", "character", "mimi", "a mimi"),
        ("starter", "object", "", "rocket"),
        (
            "someone/else",
            "person",
            "mimi",
            "portrait photo of mimi, soft window light, 85mm, shallow depth of field",
        ),
        ("someone/else", "", "{trigger}", "{trigger} on a white table, softbox light, product photo"),
        ("someone/else", "object", "", None),
        ("starter-flow", "object", "mimi", None),
    ],
)
def test_they_fit_base_kind_and_trigger(base: str, kind: str, trigger: str, first: str | None) -> None:
    assert next(iter(purpose_prompts(base, kind, trigger)), None) == first


def test_the_page_lists_them() -> None:
    options = [option.get("value") for option in parse(shown_ideas("starter")).iter("option")]
    assert options == ["", *OF_STARTER[""]]
    assert not list(parse(shown_ideas("someone/else")).iter("option"))
