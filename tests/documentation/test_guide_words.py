"""What the guide says of the page and of the catalog is what they say: words in bold, memory of bases."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lora_studio.catalog import BASES
from lora_studio.ui.languages.message_table import read_table
from tests.support.markdown import CODE, name_of, prose, rows
from tests.support.serving import CHECKOUT

BOLD = re.compile(r"\*\*(.+?)\*\*", re.DOTALL)
WORDS = set(read_table("de"))
"""All that the page says in English: the keys of any of its tables."""
EMPHASIS = {
    *("LoRA", "zwx", "Licence", "Distilled", "Flow matching", "Shift", "shift", "Text encoder"),
    *("How many", "What they show", "Formats", "sentences", "tags", "name", "×", "Ctrl+Enter"),
    *("Studio", "in another program", "same seed gives the same picture"),
    *("The loss", "Pictures of which much less was learned", "History"),
}
"""Bold for another reason: words that are explained, beginnings of paragraphs, headings with a number."""
PAGES = [CHECKOUT / "docs" / "guide.md", *sorted((CHECKOUT / "docs" / "guide").glob("*.md"))]


def bold_in(text: str) -> set[str]:
    return {" ".join(phrase.split()).rstrip(".:") for phrase in BOLD.findall(text)}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_what_is_bold_is_on_the_page(page: Path) -> None:
    assert bold_in(prose(page)) - WORDS - EMPHASIS == set()


def test_no_exception_is_left_over() -> None:
    bold = {phrase for page in PAGES for phrase in bold_in(prose(page))}
    assert EMPHASIS - bold == set()
    assert {"Train my LoRA", "Draw with it", "Compare with the base"} <= bold & WORDS


def test_the_memory_and_licence_of_bases_are_the_catalogs() -> None:
    told = [cells for cells in rows(CHECKOUT / "docs" / "guide" / "bases.md") if len(cells) == 4]
    named = {name: cells for cells in told for name in CODE.findall(cells[1])}
    assert len(named) > 10
    for name, (_, _, card, for_money) in named.items():
        assert (f"{BASES[name].card_gb} GB" == card) == bool(BASES[name].card_gb), name
        assert (for_money == "no") == ("Non-Commercial" in BASES[name].licence), name
