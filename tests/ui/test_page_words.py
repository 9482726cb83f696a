"""Words that people who tried the page did not understand are gone from it, and plain ones stand there."""

from __future__ import annotations

import re

import pytest

from scripts.list_words.page_words import page_messages

JARGON = (
    "Freedom",
    "Only around the mask",
    "New run from these weights",
    "leak",
    "Empty all fields",
    "by itself when it is missing",
    "Worth a look",
    "Its name",
)
PLAIN = (
    "How much may change",
    "Draw only the painted part",
    "Train on from these weights",
    "Start over",
    "Go on",
    "changes other pictures",
    "Back to the defaults",
    "if you forget it, it is added",
)


@pytest.fixture(scope="module")
def words() -> str:
    return "\n".join(page_messages())


@pytest.mark.parametrize("jargon", JARGON)
def test_jargon_is_gone(words: str, jargon: str) -> None:
    assert not re.search(rf"\b{re.escape(jargon)}\b", words)


@pytest.mark.parametrize("plain", PLAIN)
def test_plain_words_stand_in_its_place(words: str, plain: str) -> None:
    assert plain in words
