"""The outbox takes each change in its own transaction, and forgets nothing before it is acknowledged."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lora_studio.config import TrainConfig
from lora_studio.events import Finished, Noted, Paused, Started
from lora_studio.records import ImageRecord, LoraRecord
from lora_studio.store import outbox as module
from lora_studio.store.database import Database
from lora_studio.store.job_store import JobStore
from lora_studio.store.library import Library
from lora_studio.store.migrations import MIGRATIONS
from lora_studio.store.outbox import FILES, Outbox, Waiting
from lora_studio.store.process_owner import this_process
from tests.support.stepping_worker import step_done as step

Build = Callable[..., TrainConfig]


@pytest.fixture
def outbox(database: Database) -> Outbox:
    return Outbox(database)


@pytest.fixture
def library(database: Database) -> Library:
    return Library(database)


def lora(slug: str = "cat") -> LoraRecord:
    return LoraRecord(id="ab" * 32, slug=slug, title="Cat", path=f"{slug}.safetensors", family="x", base="y")


def image(path: str = "a.png", digest: str = "cd" * 32) -> ImageRecord:
    return ImageRecord(
        id=digest, path=path, thumbnail="", prompt="p", seed=1, width=8, height=8, created_at=1.0
    )


def only(outbox: Outbox, kind: str) -> Waiting:
    (item,) = outbox.waiting(kind)
    return item


def test_a_new_job_waits_with_its_lora_and_its_first_event(
    store: JobStore, outbox: Outbox, config_named: Build
) -> None:
    job = store.create(config_named("cat"))
    assert [only(outbox, kind).key for kind in ("lora", "job", "events")] == ["cat", job.id, job.id]
    assert only(outbox, "events").version == 1
    assert outbox.count() == 3


def test_a_change_that_is_undone_leaves_nothing_to_send(
    store: JobStore, outbox: Outbox, database: Database, config_named: Build
) -> None:
    job = store.create(config_named())
    before = [only(outbox, kind) for kind in ("job", "events")]

    def change_and_fail() -> None:
        with database.write() as connection:
            connection.execute("UPDATE jobs SET revision = revision + 1 WHERE id = ?", (job.id,))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        change_and_fail()
    assert [only(outbox, kind) for kind in ("job", "events")] == before


def test_statuses_are_one_row_and_events_are_counted(
    store: JobStore, outbox: Outbox, config_named: Build
) -> None:
    job = store.create(config_named())
    for number in range(1, 101):
        store.append(job.id, step(number, 200))
    assert len(outbox.waiting("job")) == len(outbox.waiting("events")) == 1
    assert only(outbox, "events").version - only(outbox, "events").sent == 101
    assert outbox.count(("events",)) == 101


def test_what_changes_while_it_is_sent_still_waits(
    store: JobStore, outbox: Outbox, config_named: Build
) -> None:
    job = store.create(config_named())
    sent = only(outbox, "job")
    store.append(job.id, Noted(message="meanwhile"))
    outbox.acknowledge([(sent.kind, sent.key, sent.version)])
    late = only(outbox, "job")
    assert late.sent == sent.version < late.version
    outbox.acknowledge([(late.kind, late.key, late.version)])
    outbox.acknowledge([(sent.kind, sent.key, sent.version)])  # the answer to an earlier request
    assert outbox.waiting("job") == []


def test_events_come_oldest_first_from_where_the_mirror_is(
    store: JobStore, outbox: Outbox, config_named: Build
) -> None:
    job = store.create(config_named())
    for number in range(1, 8):
        store.append(job.id, step(number))
    outbox.acknowledge([("events", job.id, 3)])
    found = outbox.events(job.id, only(outbox, "events").sent, 2)
    assert [(sequence, data["step"]) for sequence, _, data in found] == [(4, 3), (5, 4)]


def test_a_heartbeat_alone_waits_at_most_every_ten_seconds(
    store: JobStore, outbox: Outbox, config_named: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = store.create(config_named(), owner="me")
    outbox.acknowledge([("job", job.id, only(outbox, "job").version)])
    now = time.time() // 10 * 10 + 1000
    marks = []
    for seconds in (0, 2, 4, 6, 8, 10):
        monkeypatch.setattr("lora_studio.store.job_store.time.time", lambda at=now + seconds: at)
        store.heartbeat("me")
        marks.append(bool(outbox.waiting("job")))
        outbox.acknowledge([(item.kind, item.key, item.version) for item in outbox.waiting("job")])
    assert marks == [True, False, False, False, False, True]


def test_rows_of_the_library_wait_when_put_again_and_when_removed(library: Library, outbox: Outbox) -> None:
    """INSERT OR REPLACE must not forget what the mirror has."""
    for version in (1, 2):
        library.put_lora(lora())
        item = only(outbox, "lora")
        assert (item.sent, item.version) == (version - 1, version)
        outbox.acknowledge([("lora", "cat", version)])
    library.remove_lora("cat")
    assert only(outbox, "lora").version == 3
    library.put_image(image())
    outbox.acknowledge([("image", "cd" * 32, 1)])
    library.put_image(image(digest="ef" * 32))  # another picture under the same name
    assert {item.key for item in outbox.waiting("image")} == {"cd" * 32, "ef" * 32}
    library.remove_images(["a.png"])
    assert len(outbox.waiting("image")) == 2


def test_files_are_counted_only_where_they_are_sent(library: Library, outbox: Outbox) -> None:
    library.put_lora(lora())
    library.put_image(image())
    assert (outbox.count(), outbox.count(FILES)) == (2, 2)


def test_a_row_put_off_does_not_keep_the_others(library: Library, outbox: Outbox) -> None:
    for slug in ("a", "b"):
        library.put_lora(lora(slug))
    outbox.postpone(outbox.waiting("lora")[0], "not now", 60)
    assert [item.key for item in outbox.waiting("lora")] == ["b"]
    assert outbox.count(("lora",)) == 2
    assert outbox.trouble() == "not now"
    outbox.postpone(only(outbox, "lora"), "not now", -1)
    assert only(outbox, "lora").attempts == 1


def test_what_is_refused_is_told_and_a_later_version_tried(library: Library, outbox: Outbox) -> None:
    library.put_lora(lora())
    outbox.bury("lora", "cat", 1, "too large")
    assert outbox.waiting("lora") == []
    (letter,) = outbox.dead_letters()
    assert (letter.key, letter.version, letter.error) == ("cat", 1, "too large")
    library.put_lora(lora())
    assert only(outbox, "lora").version == 2


def test_touching_makes_it_wait_once(library: Library, outbox: Outbox) -> None:
    library.put_lora(lora())
    outbox.touch("lora", "cat")
    assert only(outbox, "lora").version == 1  # it waits already
    outbox.acknowledge([("lora", "cat", 1)])
    outbox.touch("lora", "cat")
    assert only(outbox, "lora").version == 2
    outbox.bury("lora", "cat", 2, "no")
    outbox.touch("lora", "cat")
    assert outbox.waiting("lora") == []  # it would be refused again


def test_another_project_has_nothing_yet(library: Library, outbox: Outbox) -> None:
    library.put_lora(lora())
    outbox.aim_at("one")
    outbox.acknowledge([("lora", "cat", 1)])
    outbox.bury("file", "cat", 1, "no")
    outbox.aim_at("one")
    assert outbox.count((*module.ROWS, *FILES)) == 0
    outbox.aim_at("two")
    assert outbox.count((*module.ROWS, *FILES)) == 2
    assert outbox.dead_letters() == []


def test_one_process_sends_at_a_time(outbox: Outbox) -> None:
    me, other = this_process(), "elsewhere:1:then"
    assert outbox.take_turn(me, 60)
    assert outbox.take_turn(me, 60)
    assert not outbox.take_turn(other, 60)
    outbox.end_turn(other)
    assert not outbox.take_turn(other, 60)
    outbox.end_turn(me)
    assert outbox.take_turn(other, -1)
    assert outbox.take_turn(me, 60)  # the other one has not been heard of


def test_the_turn_of_a_killed_process_is_over(outbox: Outbox) -> None:
    host, pid, _ = this_process().rsplit(":", 2)
    assert outbox.take_turn(f"{host}:{pid}:before", 60)
    assert outbox.take_turn(this_process(), 60)


def test_word_of_how_it_goes(outbox: Outbox) -> None:
    assert outbox.state() == ("", "")
    outbox.set_state("paused", "The key | is wrong.")
    assert outbox.state() == ("paused", "The key | is wrong.")
    outbox.set_state("")
    assert outbox.state() == ("", "")


def test_a_database_from_before_is_mirrored_whole(tmp_path: Path, config_named: Build) -> None:
    """What was there when the outbox came waits too: a mirror that is switched on later catches up."""
    path = tmp_path / "old.db"
    connection = sqlite3.connect(path)
    connection.row_factory = sqlite3.Row
    for migrate in MIGRATIONS[:2]:
        migrate(connection)
    connection.execute("PRAGMA user_version = 2")
    text = config_named("dog").model_dump_json()
    sql = "INSERT INTO jobs(id, name, status, config, created_at) VALUES (?, 'Dog', 'finished', ?, 1)"
    connection.executemany(sql, [("j1", text), ("j2", text)])
    event = "INSERT INTO events(job_id, sequence, at, kind, json) VALUES ('j1', ?, 1, 'Noted', '{}')"
    connection.executemany(event, [(1,), (2,)])
    connection.execute("INSERT INTO loras VALUES ('cat', 'x', 1, '', '', '{}')")
    connection.execute("INSERT INTO images VALUES ('a.png', 'i', 1, '', '', '{}')")
    connection.commit()
    connection.close()
    database = Database(path)
    outbox = Outbox(database)
    waiting = {kind: [i.key for i in outbox.waiting(kind)] for kind in (*module.ROWS, *FILES)}
    versions = only(outbox, "events").version
    runs = {job.run for job in JobStore(database).jobs()}
    database.close()
    assert waiting == {
        **{"lora": ["cat", "dog"], "job": ["j1", "j2"], "events": ["j1"], "image": ["i"]},
        **{"file": ["cat"], "picture": ["i"]},
    }
    assert (versions, runs) == (2, {1})


def test_a_resumed_job_is_another_run(store: JobStore, config_named: Build) -> None:
    job = store.create(config_named())
    store.append(job.id, Started(total_steps=10, phases=("train",), device="cpu", dtype="f", images=1))
    assert store.get(job.id).run == 1
    store.append(job.id, Paused(step=3))
    assert store.resume(job.id).run == 2
    store.append(job.id, Finished(path="x", steps=10, seconds=1.0))
    assert store.get(job.id).run == 2
