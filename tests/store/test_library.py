from __future__ import annotations

import dataclasses
import json

import pytest

from lora_studio.errors import StoreError
from lora_studio.records import ImageRecord, LoraRecord
from lora_studio.store.database import Database
from lora_studio.store.library import Library


def lora(slug: str, title: str = "", age: float = 0.0, trigger: str = "") -> LoraRecord:
    return LoraRecord(
        id=slug * 3, slug=slug, title=title or slug, path=f"/m/{slug}", family="f", base="starter",
        trigger_word=trigger, created_at=100.0 - age, previews=("a.png", "b.png"), metadata={"ss_steps": "7"},
    )  # fmt: skip


def image(
    path: str, prompt: str = "", age: float = 0.0, digest: str = "", slugs: tuple[str, ...] = ()
) -> ImageRecord:
    return ImageRecord(
        id=digest or path, path=path, thumbnail="", prompt=prompt, seed=1, width=64, height=64,
        created_at=100.0 - age, lora_slugs=slugs, request={"prompt": prompt, "loras": []},
    )  # fmt: skip


@pytest.fixture
def library(database: Database) -> Library:
    return Library(database)


def test_records_come_back_as_they_were_put(library: Library) -> None:
    one, two = lora("cat", "Kätzchen", trigger="zwx"), image("/i/a.png", "a cat", slugs=("cat",))
    library.put_lora(one, "state 1")
    library.put_image(two, "state 2")
    assert library.lora("cat") == one
    assert library.image("/i/a.png") == two
    assert library.lora_fingerprints() == {"cat": "state 1"}
    assert library.image_fingerprints() == {"/i/a.png": "state 2"}


def test_loras_are_found_by_title_slug_and_trigger(library: Library) -> None:
    for record in (
        lora("cat", "Kätzchen ROT", 1, "zwx"),
        lora("dog", "Big Dog", 2),
        lora("x-1", "100%_x", 3),
    ):
        library.put_lora(record)
    found = lambda text: [record.slug for record in library.loras(text)]  # noqa: E731
    assert found("") == ["cat", "dog", "x-1"]
    assert found("KÄTZ rot") == ["cat"]
    assert found("zwx") == ["cat"]
    assert found("dog") == ["dog"]
    assert found("%") == ["x-1"]
    assert found("cat dog") == []
    assert found("'; DROP TABLE loras; --") == []


def test_images_are_listed_once_newest_first_in_pages(library: Library) -> None:
    for number in range(5):
        library.put_image(
            image(f"/i/{number}.png", f"a cat {number}", age=number, slugs=("ink",) if number == 3 else ())
        )
    library.put_image(image("/i/copy.png", "a cat 4", age=-1, digest="/i/4.png"))
    listed = [record.path for record in library.images()]
    assert listed == ["/i/copy.png", "/i/0.png", "/i/1.png", "/i/2.png", "/i/3.png"]
    assert [record.path for record in library.images(limit=2, offset=1)] == ["/i/0.png", "/i/1.png"]
    assert [record.path for record in library.images("INK cat")] == ["/i/3.png"]
    assert library.image_paths("/i/4.png") == ["/i/4.png", "/i/copy.png"]
    assert library.image("/i/4.png").path == "/i/copy.png"
    assert len(library.images()) == 5
    library.remove_images(["/i/copy.png", "/i/0.png"])
    assert library.image("/i/4.png").path == "/i/4.png"
    assert len(library.images()) == 4


def test_putting_again_replaces(library: Library) -> None:
    library.put_lora(lora("cat", "Old"))
    library.put_lora(lora("cat", "New"))
    assert [record.title for record in library.loras()] == ["New"]
    assert library.loras("old") == []
    library.remove_lora("cat")
    assert library.loras() == []


def test_what_is_missing_is_named(library: Library) -> None:
    for call in (library.lora, library.image, library.dataset):
        with pytest.raises(StoreError, match="There is no"):
            call("nothing")


def test_rows_of_a_later_version_are_read(library: Library, database: Database) -> None:
    record = lora("cat")
    library.put_lora(record)
    with database.write() as connection:
        text = json.dumps({**dataclasses.asdict(record), "stars": 5})
        connection.execute("UPDATE loras SET record = ?", (text,))
    assert library.lora("cat") == record
