"""The log of edits: entries, undo and redo, versions, and what a damaged or hostile file gives."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from lora_studio.data.edits import edit_log
from lora_studio.data.edits.edit_log import FILE, ORIGINALS, EditHistory, EditLog
from lora_studio.data.edits.picture_edits import FlipPicture, RemovePicture, SetCaption
from lora_studio.errors import DatasetError


@pytest.fixture
def log(tmp_path: Path) -> EditLog:
    return EditLog(tmp_path)


def pictures(log: EditLog, version: str = "") -> list[str]:
    return [edit.picture for edit in log.read().edits(version)]


def test_entries_are_text_and_come_back(log: EditLog) -> None:
    entry = log.append([RemovePicture("a.png"), SetCaption("b.png", "ä dog")], why="  near\nduplicate ")
    first = json.loads(log.path.read_text("utf-8"))
    assert first == {
        "id": entry.id, "after": ORIGINALS, "time": first["time"], "why": "near duplicate",
        "edits": [{"edit": "remove", "picture": "a.png"},
                  {"edit": "caption", "picture": "b.png", "caption": "ä dog"}],
    }  # fmt: skip
    read = log.read()
    assert read.line() == [read.entries[entry.id]]
    assert read.entries[entry.id].edits == entry.edits
    assert first["time"].startswith("20")


def test_undo_and_redo_walk_the_line(log: EditLog) -> None:
    for name in "abc":
        log.append([FlipPicture(f"{name}.png")])
    assert [log.undo().edits[0].picture for _ in "123"] == ["c.png", "b.png", "a.png"]
    assert pictures(log) == []
    with pytest.raises(DatasetError, match="nothing to undo"):
        log.undo()
    assert [log.redo().edits[0].picture for _ in "12"] == ["a.png", "b.png"]
    log.append([FlipPicture("d.png")])
    assert pictures(log) == ["a.png", "b.png", "d.png"]
    with pytest.raises(DatasetError, match="nothing to redo"):
        log.redo()
    assert len(log.path.read_text("utf-8").splitlines()) == 9


def test_entries_of_a_run_go_and_come_back_together(log: EditLog) -> None:
    for name, run in (("a", ""), ("b", "r1"), ("c", "r1"), ("d", ""), ("e", "r1"), ("f", "r2")):
        log.append([FlipPicture(f"{name}.png")], run=run)
    undone = [[edit.picture[0] for edit in log.undo().edits] for _ in range(5)]
    assert undone == [["f"], ["e"], ["d"], ["b", "c"], ["a"]]
    redone = [[edit.picture[0] for edit in log.redo().edits] for _ in range(5)]
    assert redone == undone[::-1]
    assert [picture[0] for picture in pictures(log)] == [*"abcdef"]


def test_a_version_is_named_and_gone_back_to(log: EditLog) -> None:
    first = log.append([FlipPicture("a.png")])
    log.name_version("first look")
    log.append([FlipPicture("b.png")])
    log.undo()
    log.append([FlipPicture("c.png")])
    for version, expected in (("first look", ["a.png"]), (first.id, ["a.png"]), (ORIGINALS, [])):
        assert pictures(log, version) == expected
        log.go_to(version)
        assert pictures(log) == expected
    assert [log.redo().edits[0].picture for _ in "12"] == ["a.png", "c.png"]
    log.name_version("first look")
    assert pictures(log, "first look") == ["a.png", "c.png"]
    for name in ("", ORIGINALS, first.id, " \0 "):
        with pytest.raises(DatasetError, match="can't be a version's name"):
            log.name_version(name)
    with pytest.raises(DatasetError, match="There is no version 'second'") as refused:
        log.go_to("second")
    assert refused.value.hint == "Take first look, originals."


def test_ends_without_a_name_are_found_again(log: EditLog) -> None:
    log.append([FlipPicture("a.png")])
    log.name_version("first")
    log.append([FlipPicture("b.png")])
    log.undo()
    hours = log.append([FlipPicture("c.png")])
    log.go_to("first", log.read().head)
    lost = log.read().unnamed
    assert [entry.edits[0].picture for entry in lost] == ["b.png"]
    log.go_to(lost[0].id)
    assert pictures(log) == ["a.png", "b.png"]
    assert [entry.edits[0].picture for entry in log.read().unnamed] == ["c.png"]
    log.name_version("second")
    log.go_to(ORIGINALS)
    assert [entry.edits[0].picture for entry in log.read().unnamed] == ["c.png"]
    for change in (log.go_to, log.name_version):
        with pytest.raises(DatasetError, match="The pictures were edited elsewhere"):
            change("first", hours.id)
    assert (log.read().head, log.read().at("first")) == (ORIGINALS, hours.after)


def test_another_branch_ends_what_can_be_redone(log: EditLog) -> None:
    log.append([FlipPicture("a.png")])
    branch = log.append([FlipPicture("b.png")])
    log.undo()
    log.append([FlipPicture("c.png")])
    log.undo()
    assert log.read().redoable is not None
    log.go_to(branch.id)
    assert (pictures(log), log.read().redoable) == (["a.png", "b.png"], None)


def test_a_line_torn_by_a_power_cut_is_passed_over(log: EditLog) -> None:
    log.append([FlipPicture("a.png")])
    log.append([FlipPicture("b.png")])
    log.path.write_bytes(log.path.read_bytes()[:-20])
    assert (pictures(log), log.read().unread) == (["a.png"], 1)
    log.append([FlipPicture("c.png")])
    assert (pictures(log), log.read().unread) == (["a.png", "c.png"], 1)


@pytest.mark.parametrize(
    "line",
    [
        "[]", "7", "{}", "null", "{", "[" * 100_000, '{"head": "gone"}', '{"head": 1}', '{"head": ""}',
        '{"version": "x", "at": "gone"}', '{"version": "originals", "at": "originals"}', '{"version": {}}',
        '{"id": "b", "after": "gone", "time": "2026-01-01", "edits": []}',
        '{"id": "b", "after": "b", "time": "2026-01-01", "edits": []}',
        '{"id": "originals", "after": "originals", "time": "2026-01-01", "edits": []}',
        '{"id": "b", "after": "originals", "time": "2026-01-01", "edits": [{"edit": "remove"}]}',
        '{"id": "b", "after": "originals", "time": "2026-01-01", "edits": 5}',
        '{"id": "b", "after": "originals", "time": "0001-01-01", "edits": []}',
        '{"id": "b", "after": "originals", "time": 5, "edits": []}',
        '{"id": "b", "after": "originals", "time": "9999-12-31T23:59:59-23:59", "edits": []}',
        '{"id": "b", "after": "originals", "edits": []}',
    ],
)  # fmt: skip
def test_a_strangers_line_says_nothing(log: EditLog, line: str) -> None:
    log.path.write_text(f"{line}\n", "utf-8")
    entry = log.append([FlipPicture("a.png")])
    history = log.read()
    assert (history.unread, history.head, list(history.entries)) == (1, entry.id, [entry.id])


@pytest.mark.parametrize("letter", "\u2028\u2029\x85\x0b\x0c\x1c\x1d\x1e\r")
def test_what_unicode_takes_for_the_end_of_a_line_ends_none(log: EditLog, letter: str) -> None:
    log.append([SetCaption("a.png", f"x{letter}y")])
    log.append([SetCaption("b.png", f"x{letter}y")])
    assert (pictures(log), log.read().unread) == (["a.png", "b.png"], 0)


def test_an_edit_follows_what_another_process_wrote_meanwhile(log: EditLog) -> None:
    """What is added between reading and writing is seen, and the new line comes after it."""
    asked = []

    def check(history: EditHistory) -> None:
        asked.append(history.head)
        if len(asked) == 1:
            EditLog(log.path.parent).append([FlipPicture("b.png")])

    log.append([FlipPicture("a.png")], check=check)
    assert pictures(log) == ["b.png", "a.png"]
    assert asked == [ORIGINALS, log.read().line()[0].id]


def test_a_log_may_begin_while_it_is_read(log: EditLog) -> None:
    """Whoever reads at the moment of the first edit sees all of the log or none."""
    entry = log.append([FlipPicture("a.png")])
    aside = log.path.with_name("aside")
    stopped = threading.Event()

    def come_and_go() -> None:
        while not stopped.is_set():
            log.path.rename(aside)
            aside.rename(log.path)

    writer = threading.Thread(target=come_and_go)
    writer.start()
    try:
        heads = {log.read().head for _ in range(1000)}
    finally:
        stopped.set()
        writer.join()
    assert heads <= {ORIGINALS, entry.id}


def test_two_processes_write_one_line_after_the_other(log: EditLog) -> None:
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from lora_studio.data.edits.edit_log import EditLog\n"
        "from lora_studio.data.edits.picture_edits import FlipPicture\n"
        "print(flush=True)\n"
        "sys.stdin.readline()\n"
        "for number in range(50):\n"
        "    EditLog(Path(sys.argv[1])).append([FlipPicture(f'{number}.png')])\n"
    )
    command = [sys.executable, "-c", code, str(log.path.parent)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    writers = [subprocess.Popen(command, **pipes) for _ in "12"]
    for writer in writers:
        assert writer.stdout
        writer.stdout.readline()
    for writer in writers:
        assert writer.stdin
        writer.stdin.write("\n")
        writer.stdin.flush()
    for writer in writers:
        writer.communicate()
        assert writer.returncode == 0
    history = log.read()
    assert (len(history.line()), len(history.entries), history.unread) == (100, 100, 0)


def test_a_full_log_can_still_be_read(log: EditLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edit_log, "MOST_LINES", 2)
    for name in "ab":
        log.append([FlipPicture(f"{name}.png")])
    for more in (lambda: log.append([FlipPicture("c.png")]), log.undo, lambda: log.name_version("last")):
        with pytest.raises(DatasetError, match="has no room for more edits"):
            more()
    assert pictures(log) == ["a.png", "b.png"]


def test_a_log_has_an_end(log: EditLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edit_log, "LONGEST_LINE", 300)
    with pytest.raises(DatasetError, match="too many edits at once"):
        log.append([SetCaption("a.png", "a" * 300)])
    assert pictures(log) == []
    monkeypatch.setattr(edit_log, "MOST_BYTES", 400)
    log.append([SetCaption("a.png", "a" * 100)])
    with pytest.raises(DatasetError, match="has no room for more edits"):
        log.append([SetCaption("a.png", "a" * 100)])
    assert len(pictures(log)) == 1
    monkeypatch.setattr(edit_log, "MOST_LINES", 0)
    with pytest.raises(DatasetError, match="is too long to be read") as refused:
        log.read()
    assert refused.value.hint.startswith("Move it out of the folder")


def test_a_log_that_is_no_file_is_named(tmp_path: Path) -> None:
    (tmp_path / FILE).mkdir()
    with pytest.raises(DatasetError, match=r"edits\.jsonl can't be read"):
        EditLog(tmp_path).read()


def test_many_edits_at_once_are_several_lines_and_one_undo(
    log: EditLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edit_log, "LONGEST_LINE", 4000)
    log.append([FlipPicture("a.png")])
    made = log.append([SetCaption(f"{number}.png", "ä" * 300) for number in range(9)], why="add “ä”")
    assert [len(entry.edits) for entry in log.read().line()] == [1, 3, 3, 3]
    assert [edit.picture for edit in made.edits] == [f"{number}.png" for number in range(9)]
    assert log.undo(made.id).edits == made.edits
    assert pictures(log) == ["a.png"]
    log.redo()
    assert log.read().head == made.id
    monkeypatch.setattr(edit_log, "MOST_LINES", 8)
    with pytest.raises(DatasetError, match="no room for more edits"):
        log.append([SetCaption(f"{number}.png", "ä" * 300) for number in range(9)])
