from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest

from lora_studio.errors import StoreError
from lora_studio.store import database as module
from lora_studio.store.database import Database
from lora_studio.store.migrations import MIGRATIONS
from tests.support.waiting import PATIENCE


def count(database: Database) -> int:
    return int(database.read("SELECT count(*) FROM datasets")[0][0])


def add(database: Database, name: str) -> None:
    database.change("INSERT INTO datasets VALUES (?, 0, '{}')", (name,))


def test_a_new_file_gets_the_whole_schema_and_wal(tmp_path: Path) -> None:
    with closing(Database(tmp_path / "home" / "studio.db")) as database:
        tables = {row["name"] for row in database.read("SELECT name FROM sqlite_master WHERE type = 'table'")}
        assert {"jobs", "events", "loras", "images", "datasets"} <= tables
        assert database.read("PRAGMA user_version")[0][0] == len(MIGRATIONS)
        assert database.read("PRAGMA journal_mode")[0][0] == "wal"


def test_rows_survive_closing(tmp_path: Path) -> None:
    with closing(Database(tmp_path / "a.db")) as database:
        add(database, "kept")
    with closing(Database(tmp_path / "a.db")) as database:
        assert count(database) == 1
        assert database.notice == ""


def test_an_exception_undoes_the_whole_block(database: Database) -> None:
    def begin_and_fail() -> None:
        with database.write() as connection:
            connection.execute("INSERT INTO datasets VALUES ('a', 0, '{}')")
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        begin_and_fail()
    assert count(database) == 0
    add(database, "b")
    assert count(database) == 1


def test_an_sqlite_error_becomes_a_sentence_and_undoes_the_block(database: Database) -> None:
    add(database, "a")
    two = "INSERT INTO datasets SELECT 'b', 0, '{}' UNION ALL SELECT 'a', 0, '{}'"
    with pytest.raises(StoreError, match="refused"), database.write() as connection:
        connection.execute(two)
    assert count(database) == 1
    with pytest.raises(StoreError, match="no such table"):
        database.read("SELECT * FROM absent")


def test_a_write_inside_a_write_is_part_of_it(database: Database) -> None:
    with database.write():
        add(database, "a")
        assert count(database) == 0
    assert count(database) == 1

    def add_two() -> None:
        with database.write():
            add(database, "b")
            add(database, "a")

    with pytest.raises(StoreError):
        add_two()
    assert count(database) == 1


def test_readers_do_not_see_or_wait_for_an_open_transaction(database: Database) -> None:
    with database.write() as connection:
        connection.execute("INSERT INTO datasets VALUES ('a', 0, '{}')")
        seen: list[int] = []
        reader = threading.Thread(target=lambda: seen.append(count(database)))
        reader.start()
        reader.join(PATIENCE)
        assert seen == [0]
    assert count(database) == 1


def test_many_threads_write_without_losing_anything(database: Database) -> None:
    threads = [
        threading.Thread(target=lambda n=n: [add(database, f"{n}-{i}") for i in range(25)]) for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert count(database) == 200


def test_several_processes_may_open_a_new_file_at_once(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from lora_studio.store.database import Database\n"
        "database = Database(Path(sys.argv[1]))\n"
        "for i in range(20):\n"
        "    with database.write() as connection:\n"
        "        connection.execute('INSERT INTO datasets VALUES (?, 0, ?)', (sys.argv[2] + str(i), ''))"
    )
    path = str(tmp_path / "shared.db")
    runs = [subprocess.Popen([sys.executable, "-c", program, path, name]) for name in "abc"]
    assert [run.wait(PATIENCE) for run in runs] == [0, 0, 0]
    with closing(Database(Path(path))) as database:
        assert count(database) == 60


def test_a_lock_held_by_another_program_is_named(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    database.read("SELECT 1")
    with closing(sqlite3.connect(database.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        database._writer.execute("PRAGMA busy_timeout = 50")
        with pytest.raises(StoreError, match="locked by another program"):
            add(database, "a")
        other.execute("ROLLBACK")
    add(database, "a")
    assert count(database) == 1


def test_a_full_disk_is_named(database: Database) -> None:
    pages = database._writer.execute("PRAGMA page_count").fetchone()[0]
    database._writer.execute(f"PRAGMA max_page_count = {pages + 1}")
    with pytest.raises(StoreError, match="disk is full"), database.write() as connection:
        connection.execute("INSERT INTO datasets VALUES ('big', 0, ?)", ("x" * 1_000_000,))
    assert count(database) == 0


def test_a_database_of_a_later_version_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "later.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 3}")
    before = path.read_bytes()
    with pytest.raises(StoreError, match="later version") as caught:
        Database(path)
    assert "Update LoRA Studio" in caught.value.hint
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone()[0] == len(MIGRATIONS) + 3
        assert connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
    assert before


def test_a_migration_that_fails_leaves_the_old_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.db"
    with closing(Database(path)) as database:
        add(database, "kept")

    def half(connection: sqlite3.Connection) -> None:
        connection.execute("CREATE TABLE half_done (x)")
        connection.execute("SELECT * FROM absent")

    def whole(connection: sqlite3.Connection) -> None:
        connection.execute("ALTER TABLE datasets ADD COLUMN note TEXT NOT NULL DEFAULT 'new'")

    monkeypatch.setattr(module, "MIGRATIONS", (*MIGRATIONS, half))
    with pytest.raises(StoreError):
        Database(path)
    monkeypatch.setattr(module, "MIGRATIONS", (*MIGRATIONS, whole))
    with closing(Database(path)) as database:
        assert database.read("SELECT id, note FROM datasets")[0]["note"] == "new"
        assert not database.read("SELECT 1 FROM sqlite_master WHERE name = 'half_done'")


@pytest.mark.parametrize("damage", ["not a database", "cut in the middle"])
def test_a_damaged_file_is_moved_aside_and_kept(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "studio.db"
    with closing(Database(path)) as database:
        for number in range(300):
            add(database, f"{number}-{'x' * 100}")
    whole = path.read_bytes()
    broken = b"hello" * 1000 if damage == "not a database" else whole[: len(whole) // 2]
    path.write_bytes(broken)
    with closing(Database(path)) as database:
        assert count(database) == 0
        assert "moved to studio.db.damaged-" in database.notice
        add(database, "works")
    (aside,) = tmp_path.glob("studio.db.damaged-*[0-9]")
    assert aside.read_bytes() == broken


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="needs rights that can be taken away")
def test_a_folder_without_write_rights_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StoreError, match="can't be opened for writing"):
        Database(tmp_path / "studio.db")


def test_a_home_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("in the way")
    with pytest.raises(StoreError, match="can't be made"):
        Database(tmp_path / "home" / "studio.db")
    with pytest.raises(StoreError, match="can't be opened"):
        Database(tmp_path)


def test_after_closing_there_is_a_sentence(tmp_path: Path) -> None:
    database = Database(tmp_path / "a.db")
    database.close()
    with pytest.raises(StoreError, match="studio is closed"):
        database.read("SELECT 1")
    with pytest.raises(StoreError, match="studio is closed"), database.write():
        pass
