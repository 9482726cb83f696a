"""The card of a LoRA of the library: what people write for it stays through names, trainings and hands."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from lora_studio.errors import ConfigError
from lora_studio.gallery import Gallery
from lora_studio.lora.card_fields import (
    CARD,
    LONGEST_DESCRIPTION,
    MOST_PROMPTS,
    CardWords,
    given_words,
    read_words,
    words_of_people,
)
from lora_studio.lora.library_card import BY_HAND, README, card_of
from lora_studio.settings import Settings
from tests.support.library_entries import write_result

WORDS = CardWords(description="Draws a *good* cat.", trigger="", prompts=("a zwx in snow",))


@pytest.fixture
def folder(gallery: Gallery, settings: Settings) -> Path:
    made = write_result(settings, "carded")
    gallery.scan()
    return made


def front_of(text: str) -> dict[str, object]:
    return dict(yaml.safe_load(re.split(r"^---$", text, maxsplit=2, flags=re.MULTILINE)[1]))


def test_a_strangers_lora_gets_a_card_by_what_its_file_says(gallery: Gallery, folder: Path) -> None:
    assert not (folder / README).exists()
    gallery.say_of_lora("carded", "model card", {CARD: WORDS.as_notes()})
    text = (folder / README).read_text("utf-8")
    front = front_of(text)
    assert (front["title"], front["instance_prompt"], front["license"]) == ("My Cat", "zwx", "apache-2.0")
    assert "Draws a *good* cat." in text
    assert "- `a zwx in snow`" in text
    assert "Any use is allowed" in text


def test_a_name_and_tags_change_the_card(gallery: Gallery, folder: Path) -> None:
    gallery.say_of_lora("carded", "model card", {CARD: WORDS.as_notes()})
    gallery.rename_lora("carded", "Other")
    gallery.describe_lora("carded", tags="ink, cats", note="")
    text = (folder / README).read_text("utf-8")
    assert "# Other\n" in text
    assert {"ink", "cats"} < set(front_of(text)["tags"])  # type: ignore[call-overload]
    assert "Draws a *good* cat." in text


def test_a_card_by_hand_is_left_alone_and_kept_beside_ours(gallery: Gallery, folder: Path) -> None:
    (folder / README).write_text("# By hand\n")
    gallery.mark_lora("carded", True)
    assert (folder / README).read_text() == "# By hand\n"
    for _ in range(2):
        gallery.say_of_lora("carded", "model card", {CARD: WORDS.as_notes()})
    assert (folder / BY_HAND).read_text() == "# By hand\n"
    assert "Draws a *good* cat." in (folder / README).read_text("utf-8")


HOSTILE = (
    *({}, {CARD: 7}, {CARD: []}, {CARD: {"description": ["x"], "trigger": {}, "prompts": "x"}}),
    {
        CARD: {
            "description": "x" * 10**6,
            "trigger": "\0" * 999,
            "prompts": [None, 7, "\ud800", "y" * 10**5] * 99,
        }
    },
    {
        "title": float("nan"),
        "tags": [float("nan"), {}],
        "note": [],
        "favourite": "yes",
        CARD: {"prompts": [1e999]},
    },
    {"config": {"version": 1, "model": {}}, "result": {"images": "many", "previews": [{"step": "x"}, 7]}},
    {"config": [], "result": {"previews": [{"step": 9, "path": "../../x", "base_path": "/etc/passwd"}]}},
)


@pytest.mark.parametrize("notes", HOSTILE)
def test_a_strangers_notes_make_a_card_that_holds(folder: Path, notes: dict[str, object]) -> None:
    (folder / "training.json").write_text(json.dumps(notes))
    words = read_words(json.loads(json.dumps(notes)))
    assert len(words.description) <= LONGEST_DESCRIPTION
    assert len(words.prompts) <= MOST_PROMPTS
    text = card_of(folder)
    text.encode("utf-8")
    assert front_of(text)["tags"]
    assert "passwd" not in text
    json.dumps(words_of_people(notes), allow_nan=False).encode("utf-8")


def test_what_people_said_outlives_another_training() -> None:
    notes = {
        "title": "Mine",
        "tags": ["a"],
        "note": "n",
        "favourite": True,
        CARD: WORDS.as_notes(),
        "config": {},
    }
    kept = json.loads(json.dumps(words_of_people(notes)))
    assert kept.keys() == {"title", "tags", "note", "favourite", CARD}
    assert read_words(kept) == WORDS
    assert words_of_people({"config": {}}) == {}


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"description": "x" * (LONGEST_DESCRIPTION + 1)}, "description"),
        ({"trigger": "x" * 201}, "trigger"),
        ({"prompts": "x\n" * (MOST_PROMPTS + 1)}, "prompts"),
        ({"prompts": "x" * 501}, "prompts"),
    ],
)
def test_what_is_too_long_is_said_not_cut(given: dict[str, str], field: str) -> None:
    with pytest.raises(ConfigError) as failure:
        given_words(**{"description": "", "trigger": "", "prompts": "", **given})
    assert failure.value.field == field
