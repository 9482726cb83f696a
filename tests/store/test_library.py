from __future__ import annotations

import dataclasses
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from lora_studio.errors import StoreError
from lora_studio.records import ImageRecord, LoraRecord
from lora_studio.store.database import Database
from lora_studio.store.library import Library
from lora_studio.store.migrations import MIGRATIONS


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


def test_loras_are_sorted_and_kept_to_what_they_are(library: Library) -> None:
    for record in (
        dataclasses.replace(lora("one", "Zebra", 1), kind="style", tags=("Ink", "old")),
        dataclasses.replace(lora("two", "apple", 2), favourite=True, base="other", tags=("Ink",)),
        dataclasses.replace(lora("three", "Moon", 3), kind="style", note="for the old tram"),
    ):
        library.put_lora(record)
    for number, slugs in enumerate((("two",), ("two", "three"), ("three",), ("two",))):
        library.put_image(image(f"/i/{number}.png", slugs=slugs))
    library.put_image(image("/i/3.png", slugs=("three", "three")))  # the same file, drawn anew
    library.remove_images(["/i/0.png"])

    def slugs(**asked: str) -> list[str]:
        return [record.slug for record in library.loras(**asked)]  # type: ignore[arg-type]

    assert slugs() == slugs(order="nonsense") == ["one", "two", "three"]
    assert slugs(order="name") == ["two", "three", "one"]
    assert slugs(order="used") == ["three", "two", "one"]
    assert slugs(only="kind=style", order="name") == ["three", "one"]
    assert (slugs(only="favourite"), slugs(only="base=other")) == (["two"], ["two"])
    assert slugs(only="tag=Ink", search="old") == ["one"]
    assert slugs(only="title=Moon") == slugs(only="tag=ink' OR 1 --") == []
    assert library.count_loras("old") == 2
    assert library.count_loras("", "tag=Ink") == 2
    assert library.lora_choices() == {
        "kind": ["style"],
        "base": ["other", "starter"],
        "family": ["f"],
        "tag": ["Ink", "old"],
    }
    assert [one.path for one in library.images_with("three", 2)] == ["/i/1.png", "/i/2.png"]
    assert (library.count_images_with("three"), library.count_images_with("two")) == (3, 1)


def test_pictures_that_were_there_before_count_for_their_loras(tmp_path: Path) -> None:
    path, before = (
        tmp_path / "old.db",
        next(i for i, step in enumerate(MIGRATIONS) if "image_loras" in step.__name__),
    )
    with closing(sqlite3.connect(path, isolation_level=None)) as old:
        for step in MIGRATIONS[:before]:
            step(old)
        old.execute(f"PRAGMA user_version = {before}")
        for name, record in (
            ("a", json.dumps({"lora_slugs": ["ink", "ink"]})),
            ("b", "no JSON"),
            ("c", "{}"),
        ):
            old.execute("INSERT INTO images VALUES (?, ?, 1, '', '', ?)", (f"/{name}.png", name, record))
    with closing(Database(path)) as database:
        rows = database.read("SELECT slug, path FROM image_loras")
    assert [tuple(row) for row in rows] == [("ink", "/a.png")]


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
