"""The folder between the two ends of a run, on a disk without room and with what nobody can read."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lora_studio.events import Failed, Paused
from lora_studio.jobs.processes.run_files import LONGEST_LINE, SPOKEN, RunFiles
from tests.support.stepping_worker import step_done


@pytest.mark.parametrize("length", [LONGEST_LINE - 1, LONGEST_LINE, 2 * LONGEST_LINE, 2 * LONGEST_LINE + 7])
def test_a_line_that_is_too_long_holds_nothing_up(tmp_path: Path, length: int) -> None:
    far, near = RunFiles(tmp_path), RunFiles(tmp_path)
    far.add(step_done(1))
    events = tmp_path / "events.jsonl"
    with events.open("ab") as file:
        file.write(b"x" * length)
    assert list(near.events()) == [step_done(1)]
    with events.open("ab") as file:
        file.write(b"x\n")
    far.add(step_done(2))
    assert list(near.events()) == [step_done(2)]
    far.add(step_done(3))
    assert list(near.events()) == [step_done(3)]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason=f"no /dev/full on {sys.platform}")
def test_what_a_full_disk_does_not_take_is_printed_and_heard(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    far, near = RunFiles(tmp_path), RunFiles(tmp_path)
    far.add(step_done(1))
    assert list(near.events()) == [step_done(1)]
    (tmp_path / "events.jsonl").rename(tmp_path / "kept")
    for name in ("events.jsonl", "failures.jsonl"):
        (tmp_path / name).symlink_to("/dev/full")
    paused = Paused(step=1, message="Paused: the disk is full.", hint="Make room.")
    far.add(paused)
    far.fail(Failed(message="It fell.", hint="Stand up."), "DiskFull", "at line 1")
    printed = capsys.readouterr().out.splitlines()
    assert all(line.startswith(SPOKEN) for line in printed)
    assert [event for line in printed for event in near.spoken(line)] == [paused]
    for name in ("events.jsonl", "failures.jsonl"):
        (tmp_path / name).unlink()
    assert near.failure() == (Failed(message="It fell.", hint="Stand up."), "DiskFull", "at line 1")
    (tmp_path / "kept").rename(tmp_path / "events.jsonl")
    far.add(step_done(2))
    assert list(near.events()) == [step_done(2)]
