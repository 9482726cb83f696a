"""From a name in any script to a slug, and back to the LoRA."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lora_studio.errors import StoreError
from lora_studio.lora.names import as_slug, find_slug, slugs_named
from tests.support.strange_loras import strange_lora


@pytest.fixture
def loras(tmp_path: Path) -> Path:
    for number, (slug, title) in enumerate(
        (
            ("cat", "猫の絵"),
            ("groe", "Größe 猫"),
            ("mao-no-hui", "Another"),
            ("one", "Twice: again"),
            ("two", "TWICE:  again"),
            ("another", "cat"),
            ("accent", "caf\u00e9"),
        )
    ):
        strange_lora(tmp_path / slug / f"{slug}.safetensors", {"modelspec.title": title}, value=float(number))
    (tmp_path / "still-training").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "broken.safetensors").write_bytes(b"x")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("cat", "cat"),  # the slug comes before another's title
        ("猫の絵", "cat"),  # and a title before what a file of that name would be called
        ("Größe 猫", "groe"),
        ("GRÖSSE 猫", "groe"),
        ("grösse  猫.safetensors", "groe"),
        ("cafe\u0301", "accent"),
        ("Ｃａｆé", "accent"),
        ("ANOTHER", "mao-no-hui"),
        ("Mao No Hui", "mao-no-hui"),
        ("Broken", "broken"),
    ],
)
def test_a_lora_is_found_by_slug_and_title(loras: Path, name: str, slug: str) -> None:
    assert find_slug(name, loras) == as_slug(name, loras) == slug


def test_a_title_that_several_have_names_both(loras: Path) -> None:
    for find in (find_slug, as_slug):
        with pytest.raises(StoreError, match="title of several LoRAs: one, two"):
            find("twice: AGAIN", loras)
    assert slugs_named("twice: AGAIN", loras) == ["one", "two"]


def test_what_is_not_there_is_said_with_the_name_that_was_given(loras: Path) -> None:
    with pytest.raises(StoreError, match="no LoRA “犬” in the library"):
        as_slug("犬", loras)
    with pytest.raises(StoreError, match="no LoRA “dog”"):
        find_slug("dog", loras)
    assert as_slug("dog", loras) == "dog"  # whoever looks for it says so
    assert as_slug("", loras) == ""
    for name in ("../cat", "x" * 10_000, "\ud800", "still training"):
        assert len(slugs_named(name, loras)) <= 1
    assert find_slug("cat", loras) == "cat"
    assert slugs_named("anything at all", loras / "missing") == []


def test_a_new_title_is_found_at_once(loras: Path) -> None:
    (loras / "one" / "training.json").write_text(json.dumps({"title": "Ganz neu"}), "utf-8")
    assert find_slug("ganz neu", loras) == "one"
    assert find_slug("Twice: again", loras) == "two"
