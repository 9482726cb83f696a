from __future__ import annotations

import json
import os
import stat
import threading
from pathlib import Path

import pytest

from lora_studio.store.people.audit_log import KEPT, LONGEST, AuditEntry, AuditLog


def test_entries_are_added_and_read_in_order(tmp_path: Path) -> None:
    log = AuditLog(tmp_path)
    for number in range(5):
        log.add(AuditEntry(deed="delete", who="ada", source="::1", thing=f"ink-{number}"))
    assert [entry.thing for entry in log.newest(3)] == ["ink-2", "ink-3", "ink-4"]
    assert log.newest(0) == []
    (entry,) = log.newest(1)
    assert (entry.who, entry.source, entry.deed, entry.result) == ("ada", "::1", "delete", "ok")
    assert entry.at > 0


@pytest.mark.skipif(os.name == "nt", reason="Windows has other rights")
def test_only_the_owner_reads_it(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        AuditLog(tmp_path).add(AuditEntry(deed="login"))
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "audit.jsonl").stat().st_mode) == 0o600


def test_strangers_words_are_one_plain_line(tmp_path: Path) -> None:
    log = AuditLog(tmp_path)
    log.add(AuditEntry(deed="login", who='a\n{"deed": "x"}\x1b[31m\u202e\ud800', thing="x" * 100_000))
    assert len((tmp_path / "audit.jsonl").read_bytes().splitlines()) == 1
    (entry,) = log.newest(10)
    assert entry.who.isprintable()
    assert len(entry.thing) == LONGEST


def test_files_are_turned_and_the_oldest_goes(tmp_path: Path) -> None:
    log = AuditLog(tmp_path, largest=1000)
    for number in range(100):
        log.add(AuditEntry(deed="stop", thing=str(number)))
    files = list(tmp_path.glob("audit*.jsonl"))
    assert len(files) == KEPT
    assert all(path.stat().st_size < 1200 for path in files)
    things = [int(entry.thing) for entry in log.newest(1000)]
    assert things == [*range(things[0], 100)]
    assert things[0] > 0


def test_many_at_once_lose_nothing(tmp_path: Path) -> None:
    logs = [AuditLog(tmp_path) for _ in range(4)]

    def write(log: AuditLog) -> None:
        for _ in range(50):
            log.add(AuditEntry(deed="rename"))

    threads = [threading.Thread(target=write, args=[log]) for log in logs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(logs[0].newest(1000)) == 200


def test_broken_lines_and_a_home_that_is_gone_are_passed_over(tmp_path: Path) -> None:
    log = AuditLog(tmp_path)
    log.add(AuditEntry(deed="start"))
    with (tmp_path / "audit.jsonl").open("a") as file:
        file.write('{"at": "x"}\n[1]\nhalf a li' + json.dumps({"deed": 7})[:5] + "\n")
    log.add(AuditEntry(deed="stop"))
    assert [entry.deed for entry in log.newest(10)] == ["start", "stop"]
    AuditLog(tmp_path / "nowhere").add(AuditEntry(deed="start"))
    assert AuditLog(tmp_path / "nowhere").newest(5) == []


def test_what_was_refused_pushes_out_nothing_that_was_done(tmp_path: Path) -> None:
    log = AuditLog(tmp_path, largest=1000)
    for number in range(5):
        log.add(AuditEntry(deed="delete", who="ada", thing=f"ink-{number}"))
    for _ in range(200):
        log.add(AuditEntry(deed="failed login", who="unknown", result="429"))
    log.add(AuditEntry(deed="delete", who="eve", thing="ink", result="refused: NotAllowed"))
    entries = log.newest(10_000)
    assert [entry.thing for entry in entries if entry.was_done] == [f"ink-{number}" for number in range(5)]
    assert entries[-1].who == "eve"
    assert [entry.at for entry in entries] == sorted(entry.at for entry in entries)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 2 * KEPT * 1200
