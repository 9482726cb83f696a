"""Favourites, tags and notes: they stand beside the LoRA's file and outlive its row."""

from __future__ import annotations

from pathlib import Path

import pytest

from lora_studio.access.roles import Role
from lora_studio.access.visitor import Kind, Visitor, acting
from lora_studio.errors import ConfigError, NotAllowed
from lora_studio.gallery import Gallery
from lora_studio.lora.lora_folder import LONGEST_NOTE, LONGEST_TAG, MOST_TAGS
from lora_studio.settings import Settings
from lora_studio.store.database import Database
from lora_studio.store.people.ownership import Owners
from tests.support.library_entries import slugs, write_result


@pytest.fixture
def cat(gallery: Gallery, settings: Settings) -> str:
    write_result(settings, "my-cat")
    gallery.scan()
    return "my-cat"


def test_what_is_said_of_a_lora_outlives_its_row(gallery: Gallery, cat: str) -> None:
    file = Path(gallery.lora(cat).path).read_bytes()
    gallery.mark_lora(cat, True)
    gallery.describe_lora(cat, tags=" Ink,  portraits , Ink,,", note="for\nthe  poster")
    gallery.rename_lora(cat, "Mimi")
    gallery._library.remove_lora(cat)
    gallery.scan()
    record = gallery.lora(cat)
    assert (record.favourite, record.tags, record.note) == (True, ("Ink", "portraits"), "for the poster")
    assert (record.title, record.kind, Path(record.path).read_bytes()) == ("Mimi", "object", file)
    assert slugs(gallery, "INK poster") == [cat]
    gallery.mark_lora(cat, False)
    gallery.describe_lora(cat, tags="", note="")
    assert slugs(gallery, "poster") == []
    assert not gallery.lora(cat).favourite


@pytest.mark.parametrize(
    ("tags", "note", "field"),
    [
        (",".join(map(str, range(MOST_TAGS + 1))), "", "tags"),
        ("x" * (LONGEST_TAG + 1), "", "tags"),
        ("", "x" * (LONGEST_NOTE + 1), "note"),
    ],
)
def test_nothing_that_is_said_is_cut(gallery: Gallery, cat: str, tags: str, note: str, field: str) -> None:
    with pytest.raises(ConfigError) as refused:
        gallery.describe_lora(cat, tags=tags, note=note)
    assert refused.value.field == field
    assert gallery.lora(cat).tags == ()


def test_strange_words_in_the_file_are_made_plain(gallery: Gallery, settings: Settings, cat: str) -> None:
    (settings.loras / cat / "training.json").write_text(
        '{"tags": ["a\\u0000b", 7, null, "' + "x" * 99 + '"], "note": ["no text"], "favourite": "yes"}'
    )
    record = gallery.lora(cat)
    assert (record.tags, record.note, record.favourite) == (("a b", "x" * LONGEST_TAG), "", False)


def test_only_who_owns_a_lora_describes_it(gallery: Gallery, database: Database, cat: str) -> None:
    owners = Owners(database)
    ada = Visitor(name="ada", role=Role.TRAINER, kept=owners)
    owners.claim(Kind.LORA, cat, "bea")
    owners.share(Kind.LORA, cat, True)
    with acting(ada):
        assert gallery.lora(cat)
        for call in (
            lambda: gallery.mark_lora(cat, True),
            lambda: gallery.describe_lora(cat, tags="x", note=""),
        ):
            with pytest.raises(NotAllowed):
                call()
