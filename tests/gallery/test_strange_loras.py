"""A file that says strange things of itself is one line in the log, and never the end of a library."""

from __future__ import annotations

import json
import logging
import os
import shutil
from dataclasses import asdict
from pathlib import Path

import pytest

from lora_studio.errors import ModelFileError, StoreError
from lora_studio.gallery import Gallery
from lora_studio.lora.file.lora_files import LONGEST_TITLE, LONGEST_TRIGGER, read_header
from lora_studio.parsing.plain_text import LONGEST_KEPT_TABLE
from lora_studio.settings import Settings
from lora_studio.store.database import Database
from lora_studio.store.library import Library
from lora_studio.store.migrations import MIGRATIONS
from tests.support.strange_loras import HALF, REFUSED, STRANGE, strange_lora, write_header


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("what", REFUSED)
def test_what_no_library_opens_is_refused_and_leaves_nothing(
    gallery: Gallery, settings: Settings, tmp_path: Path, what: str
) -> None:
    file = strange_lora(tmp_path / "strange.safetensors", REFUSED[what])
    with pytest.raises(ModelFileError, match=r"strange\.safetensors is damaged"):
        gallery.import_lora(file)
    assert list(settings.loras.iterdir()) == []
    assert gallery.loras() == []


@pytest.mark.parametrize("what", STRANGE)
def test_nonsense_is_left_out_and_the_file_used(gallery: Gallery, tmp_path: Path, what: str) -> None:
    file = strange_lora(tmp_path / "strange.safetensors", STRANGE[what])
    record = gallery.import_lora(file)
    assert record.title
    assert record.title.isprintable()
    assert len(record.title) <= LONGEST_TITLE
    assert len(record.trigger_word) <= LONGEST_TRIGGER
    assert (record.network_dim, record.network_alpha, record.steps) == (4, 4.0, 0)
    (listed,) = gallery.loras()
    assert listed.metadata == {}
    assert len(json.dumps(asdict(listed))) < 3000
    assert sum(map(len, gallery.lora("strange").metadata.values())) <= LONGEST_KEPT_TABLE
    token = gallery.delete_lora("strange")
    assert gallery.loras() == []
    gallery.undo(token)
    assert [record.slug for record in gallery.loras()] == ["strange"]


def test_a_long_trigger_ends_between_two_words(tmp_path: Path) -> None:
    header = read_header(strange_lora(tmp_path / "a.safetensors", STRANGE["a long trigger"]))
    assert header.trigger_word == ("word, " * 50).strip(" ,")


@pytest.mark.parametrize(
    "what",
    [
        pytest.param(what, marks=pytest.mark.slow) if what == "20 MB of tags" else what
        for what in (*REFUSED, *STRANGE)
    ],
)
def test_dropped_into_the_folder_it_hurts_no_start(
    gallery: Gallery, settings: Settings, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    strange_lora(settings.loras / "good" / "good.safetensors", {"modelspec.title": "Good"}, value=2.0)
    metadata = {**REFUSED, **STRANGE}[what]
    strange_lora(settings.loras / "Dropped File.safetensors", metadata)
    strange_lora(settings.loras / "a-folder" / "x.safetensors", metadata, value=3.0)
    strange_lora(settings.loras / "A Folder" / "x.safetensors", metadata, value=4.0)
    for _ in range(2):
        gallery.scan()
    listed = {record.slug for record in gallery.loras()}
    if what in REFUSED:
        assert listed == {"good"}
        assert len(told(caplog)) == 3
        gallery.delete_lora("a-folder")
        assert not (settings.loras / "a-folder").exists()
    else:
        assert listed == {"good", "dropped-file", "a-folder", "a-folder-2"}
        assert told(caplog) == []


@pytest.mark.skipif(os.name == "nt", reason="names there are always text")
def test_names_on_disk_that_are_no_text_are_left_out(
    gallery: Gallery, settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    odd = os.fsdecode(b"caf\xe9")
    strange_lora(settings.loras / "good" / f"{odd}.safetensors")
    strange_lora(settings.loras / "other" / "other.safetensors", value=2.0)
    (settings.loras / "other" / "previews").mkdir()
    (settings.loras / "other" / "previews" / f"{odd}.png").write_bytes(b"x")
    strange_lora(settings.loras / f"{odd}.safetensors", value=3.0)
    strange_lora(settings.loras / odd / "x.safetensors", value=4.0)
    (settings.images / f"{odd}.png").write_bytes(b"x")
    gallery.scan()
    assert sorted(record.slug for record in gallery.loras()) == ["caf", "caf-2", "other"]
    for line in told(caplog):
        line.encode()
    record = gallery.import_lora(strange_lora(tmp_path / f"{odd} 2.safetensors", value=5.0))
    assert (record.slug, record.title) == ("caf-2-2", "caf? 2")


def test_what_can_not_be_stored_goes_back_to_where_it_lay(
    gallery: Gallery, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = strange_lora(settings.loras / "dropped.safetensors")

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("lora_studio.gallery.read_record", fail)
    gallery.scan()
    assert [path.name for path in settings.loras.iterdir()] == ["dropped.safetensors"]
    with pytest.raises(StoreError, match="can't be brought"):
        gallery.import_lora(file)
    assert [path.name for path in settings.loras.iterdir()] == ["dropped.safetensors"]


def test_notes_of_strangers_are_plain_too(gallery: Gallery, settings: Settings) -> None:
    folder = settings.loras / "x"
    strange_lora(folder / "x.safetensors")
    notes = {"title": f"A\n{HALF}", "config": {"dataset": {"kind": HALF * 100}}, "other": HALF}
    (folder / "training.json").write_text(json.dumps(notes))
    gallery.scan()
    assert gallery.lora("x").title == "A a ? b"
    assert gallery.rename_lora("x", "Renamed").title == "Renamed"
    kept = json.loads((folder / "training.json").read_text("utf-8"))
    assert kept == {**notes, "title": "Renamed"}
    (folder / "training.json").write_text("[" * 100_000)
    gallery.scan()
    assert gallery.lora("x").title == "x"
    with (folder / "training.json").open("wb") as file:
        file.truncate(1 << 30)
    gallery.scan()
    assert gallery.lora("x").title == "x"


def test_a_database_of_before_is_healed(settings: Settings, tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    before = MIGRATIONS.index(next(step for step in MIGRATIONS if step.__name__ == "_light_lists"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lora_studio.store.database.MIGRATIONS", MIGRATIONS[:before])
        old = Database(path)
    whole = {"id": "0", "title": "x", "path": "x", "family": "", "base": "", "network_dim": 10**30}
    with old.write() as connection:
        for slug, text in (
            ("huge", json.dumps({**whole, "slug": "huge"})),
            ("big", json.dumps({**whole, "slug": "big", "metadata": {"a": "x" * 1_000_000}})),
            ("cut", '{"id": "0", "slug": "cut'),
        ):
            values = (slug, "0", 0.0, "", "", text)
            connection.execute(
                "INSERT INTO loras(slug, id, created_at, search, fingerprint, record)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                values,
            )
    old.close()
    strange_lora(settings.loras / "huge" / "huge.safetensors", {"ss_network_dim": "1e30"})
    database = Database(path)
    gallery = Gallery(settings, Library(database))
    gallery.scan()
    assert [(record.slug, record.network_dim) for record in gallery.loras()] == [("huge", 4)]
    database.close()


def test_a_row_that_can_not_be_read_is_left_out_of_the_list(
    gallery: Gallery, settings: Settings, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    for number, slug in enumerate(("one", "two", "three", "four")):
        strange_lora(settings.loras / slug / f"{slug}.safetensors", value=float(number))
    gallery.scan()
    with database.write() as connection:
        for slug, record in (("one", "{"), ("two", "[]"), ("three", '{"id": "x"}')):
            connection.execute("UPDATE loras SET record = ? WHERE slug = ?", (record, slug))
    for _ in range(3):
        assert [record.slug for record in gallery.loras()] == ["four"]
    assert len(told(caplog)) == 3
    gallery.delete_lora("one")
    assert not (settings.loras / "one").exists()


def test_a_list_reads_no_metadata(gallery: Gallery, settings: Settings, database: Database) -> None:
    metadata = {f"ss_{number}": "x" * 1000 for number in range(30)}
    for number in range(20):
        strange_lora(settings.loras / f"l{number}" / f"l{number}.safetensors", metadata, value=float(number))
    gallery.scan()
    rows = database.read("SELECT length(record) AS light, length(metadata) AS heavy FROM loras")
    assert all(row["light"] < 2000 < 20_000 < row["heavy"] for row in rows)
    assert [lora.slug for lora in gallery.listed_loras()] == [record.slug for record in gallery.loras()]
    assert len(gallery.lora("l3").metadata) == 30


def test_a_failed_import_leaves_an_existing_one_alone(
    gallery: Gallery, settings: Settings, tmp_path: Path
) -> None:
    gallery.import_lora(strange_lora(tmp_path / "a.safetensors"))
    bad = write_header(tmp_path / "b" / "a.safetensors", b'{"x":')
    with pytest.raises(ModelFileError):
        gallery.import_lora(bad)
    assert [path.name for path in settings.loras.iterdir()] == ["a"]
    shutil.rmtree(settings.loras / "a")
    gallery.scan()
    assert gallery.loras() == []
