from __future__ import annotations

import unicodedata

import pytest

from lora_studio.parsing.slugs import MOST_LETTERS, SLUG, free_slug, slug_from


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("Größe 猫", "groesse-mao"),
        ("猫の絵", "mao-no-hui"),
        ("Ёлка", "elka"),
        ("한국어", "hangugeo"),
        ("हिन्दी", "hindi"),
        ("Łódź", "lodz"),
        ("Some Löra v2", "some-lora-v2"),
        ("STRAẞE", "strasse"),
        (unicodedata.normalize("NFD", "Größe Ünï"), "groesse-ueni"),
        ("c\u0301ut", "cut"),
        ("My LoRA (v2)", "my-lora-v2"),
        ("🐱", "cat"),
        ("CON", "con-lora"),
        ("lpt1", "lpt1"),
        ("LPT1", "lpt1-lora"),
        ("...hidden", "hidden"),
        ("../../etc", "etc"),
        ("a" * 200, "a" * 60),
        ("x" * 59 + " y", "x" * 59),
        ("a\x00b\ud800", "a-b"),
        ("my-cat", "my-cat"),
        ("!?", ""),
        ("", ""),
    ],
)
def test_slugs_in_every_script(name: str, slug: str) -> None:
    assert slug_from(name) == slug
    assert not slug or SLUG.fullmatch(slug)


def test_a_slug_that_is_taken_gets_the_first_free_number() -> None:
    taken = {"cat", "cat-2", "x" * MOST_LETTERS}
    assert free_slug("dog", taken.__contains__) == "dog"
    assert free_slug("cat", taken.__contains__) == "cat-3"
    long = free_slug("x" * MOST_LETTERS, taken.__contains__)
    assert long == "x" * (MOST_LETTERS - 2) + "-2"
    assert SLUG.fullmatch(long)
