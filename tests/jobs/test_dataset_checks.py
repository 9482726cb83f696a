"""Checks of a set that go on by themselves: found again, stopped, and mended with a way back."""

from __future__ import annotations

import errno
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lora_studio.access.roles import Role
from lora_studio.access.visitor import Visitor, acting
from lora_studio.data.checks import checked_set, picture_measures
from lora_studio.data.edits.picture_edits import CropPicture, FlipPicture, SetCaption
from lora_studio.errors import ConfigError, DatasetError, DeviceBusy, ModelFileError, NotAllowed, StoreError
from lora_studio.files import sha256
from lora_studio.jobs.checking import dataset_checks
from lora_studio.jobs.checking.dataset_checks import CheckRequest, CheckState, SetCheck
from lora_studio.records import DatasetRecord
from lora_studio.studio import Studio
from tests.support.drawn_scenes import scene
from tests.support.waiting import PATIENCE, until


@pytest.fixture
def record(studio: Studio, tmp_path: Path) -> DatasetRecord:
    """Three pictures: one in a black frame, one without a trigger word."""
    for number in range(3):
        picture = scene(number, (160, 160))
        if number == 0:
            framed = Image.new("RGB", (160, 200))
            framed.paste(picture, (0, 20))
            picture = framed
        picture.save(tmp_path / f"{number}.png")
        (tmp_path / f"{number}.txt").write_text("zwx one thing" if number < 2 else "another thing", "utf-8")
    return studio.datasets.create("Three", sorted(tmp_path.iterdir()))


@pytest.fixture
def request_of(record: DatasetRecord) -> CheckRequest:
    return CheckRequest(dataset_id=record.id, base="starter", kind="object", trigger="zwx")


@pytest.fixture
def held(studio: Studio) -> Iterator[None]:
    """The one turn of the checks is somebody else's: whoever comes waits."""
    with studio.turns.take("check"):
        yield


def ended(studio: Studio, request: CheckRequest) -> SetCheck:
    return studio.checks.wait(studio.checks.begin(request, anew=True).id, PATIENCE)


def hashes(record: DatasetRecord) -> dict[str, str]:
    files = (path for path in Path(record.path).rglob("*") if path.is_file() and path.name != "edits.jsonl")
    return {path.name: sha256(path) for path in files}


def test_a_set_is_checked_once_and_mended_with_a_way_back(
    studio: Studio, record: DatasetRecord, request_of: CheckRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, revision = hashes(record), studio.checks.revision
    check = ended(studio, request_of)
    assert (check.state, check.done, check.total) == (CheckState.FINISHED, 3, 3)
    assert studio.checks.revision > revision
    assert check.report
    assert check.shown
    found = {finding.check: finding for finding in check.report.findings}
    assert found["borders"].pictures == ("0.png",)
    assert found["no_trigger"].pictures == ("2.png",)
    assert set(check.shown.thumbnails) >= {"0.png", "2.png"}
    [preview] = check.shown.previews["borders"]
    assert preview.name == "0.png"
    shapes = []
    for path in (preview.before, preview.after):
        with Image.open(path) as small:
            shapes.append(small.width / small.height)
    assert shapes == [0.8, 1.0]

    monkeypatch.setattr(picture_measures, "measure_picture", None)  # from now on all facts are there
    assert ended(studio, replace(request_of, trigger="")).state is CheckState.FINISHED
    monkeypatch.undo()
    studio.checks.fix(check.id)
    entry = studio.datasets.edits(record.id).undoable
    assert entry
    assert entry.why == "Border around the picture, Caption without the trigger word"
    assert {type(edit) for edit in entry.edits} == {CropPicture, SetCaption}
    mended = ended(studio, request_of)
    assert mended.id != check.id
    assert mended.report
    assert mended.report.points > check.report.points
    assert not {"borders", "no_trigger"} & {finding.check for finding in mended.report.findings}

    studio.datasets.undo_edit(record.id)
    assert studio.checks.begin(request_of) is studio.checks.get(check.id)  # as it was: nothing to measure
    assert hashes(record) == before
    assert [path.parent for path, _ in studio.datasets.pictures(record.id)] == 3 * [Path(record.path)]


def test_one_check_or_one_picture_is_mended_alone(
    studio: Studio, record: DatasetRecord, request_of: CheckRequest
) -> None:
    check = ended(studio, request_of)
    with pytest.raises(DatasetError, match="nothing to mend"):
        studio.checks.fix(check.id, ["borders"], ["2.png"])
    studio.checks.fix(check.id, ["borders", "no_trigger"], ["2.png"])
    [entry] = studio.datasets.edits(record.id).line()
    assert [edit.picture for edit in entry.edits] == ["2.png"]
    assert entry.why == "Caption without the trigger word"


def test_what_was_edited_since_is_not_mended(
    studio: Studio, record: DatasetRecord, request_of: CheckRequest
) -> None:
    check = ended(studio, request_of)
    studio.datasets.edit(record.id, [FlipPicture("0.png")])
    with pytest.raises(DatasetError, match="edited elsewhere"):
        studio.checks.fix(check.id, ["borders"])
    studio.checks.fix(check.id, ["no_trigger"])  # another picture


def test_one_that_waits_is_stopped_and_begun_again(
    studio: Studio, request_of: CheckRequest, held: None
) -> None:
    check = studio.checks.begin(request_of)
    assert studio.checks.begin(request_of).id == check.id
    assert studio.checks.stop(check.id)
    stopped = studio.checks.wait(check.id, PATIENCE)
    assert (stopped.state, stopped.stop_asked) == (CheckState.STOPPED, True)
    assert not studio.checks.stop(check.id)
    assert studio.checks.begin(request_of).state is CheckState.STOPPED
    with pytest.raises(DatasetError, match="stopped"):
        studio.checks.fix(check.id)
    assert studio.checks.begin(request_of, anew=True).active


def test_one_that_waits_gives_way_to_a_newer_one(
    studio: Studio, request_of: CheckRequest, held: None
) -> None:
    old = studio.checks.begin(request_of)
    new = studio.checks.begin(replace(request_of, trigger="zwy"))
    assert studio.checks.get(new.id).active
    with pytest.raises(StoreError, match="no such check"):
        studio.checks.get(old.id)


def test_one_that_gave_way_is_begun_again_before_its_thread_has_noticed(
    studio: Studio, request_of: CheckRequest
) -> None:
    with studio.turns.take("check"):
        for trigger in ("zwx", "zwy", "zwx"):
            check = studio.checks.begin(replace(request_of, trigger=trigger))
    assert studio.checks.wait(check.id, PATIENCE).state is CheckState.FINISHED


def test_one_that_is_stopping_is_begun_again(studio: Studio, request_of: CheckRequest) -> None:
    with studio.turns.take("check"):
        check = studio.checks.begin(request_of)
        assert studio.checks.stop(check.id)
        assert studio.checks.begin(request_of).stop_asked
        assert not studio.checks.begin(request_of, anew=True).stop_asked
    assert studio.checks.wait(check.id, PATIENCE).state is CheckState.FINISHED


def test_two_who_ask_in_turns_let_go_none_that_has_its_turn(
    studio: Studio, request_of: CheckRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads, go_on = threading.Event(), threading.Event()
    pictures = checked_set.pictures_of

    def slow(*given: Any) -> Any:
        reads.set()
        assert go_on.wait(PATIENCE)
        return pictures(*given)

    monkeypatch.setattr(checked_set, "pictures_of", slow)
    one, other = request_of, replace(request_of, trigger="zwy")
    first = studio.checks.begin(one)
    assert reads.wait(PATIENCE)
    for request in (other, one, other):
        studio.checks.begin(request)
    assert (studio.checks.get(first.id).has_turn, studio.checks.get(first.id).total) == (True, 0)
    go_on.set()
    assert studio.checks.wait(first.id, PATIENCE).state is CheckState.FINISHED
    assert studio.checks.wait(studio.checks.begin(other).id, PATIENCE).state is CheckState.FINISHED


def test_pictures_in_folders_are_mended_by_file_name(
    studio: Studio, record: DatasetRecord, request_of: CheckRequest
) -> None:
    folder = Path(record.path) / "10_dog"
    folder.mkdir()
    for name in ("0.png", "0.txt", "1.png", "1.txt", "2.png", "2.txt"):
        (Path(record.path) / name).rename(folder / name)
    check = ended(studio, request_of)
    with pytest.raises(DatasetError, match="nothing to mend"):
        studio.checks.fix(check.id, ["borders"], ["9.png"])
    studio.checks.fix(check.id, ["borders", "no_trigger"], ["2.png"])
    [entry] = studio.datasets.edits(record.id).line()
    assert [edit.picture for edit in entry.edits] == ["10_dog/2.png"]


def test_a_trigger_is_typed_while_another_set_is_checked(
    studio: Studio, request_of: CheckRequest, held: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset_checks, "MOST_ACTIVE", 2)
    typed = [studio.checks.begin(replace(request_of, trigger="zwyxw"[:end])) for end in range(1, 6)]
    assert studio.checks.get(typed[-1].id).active


def test_no_more_than_some_wait(
    studio: Studio, request_of: CheckRequest, held: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset_checks, "MOST_ACTIVE", 1)
    studio.checks.begin(request_of)
    with acting(Visitor(name="ada", role=Role.ADMIN)), pytest.raises(DeviceBusy, match="being checked"):
        studio.checks.begin(replace(request_of, kind="style"))


def test_nobody_waits_for_a_report(studio: Studio, request_of: CheckRequest, held: None) -> None:
    check = studio.checks.begin(request_of)
    for ask in (studio.checks.fix, lambda check_id: studio.checks.write_report(check_id, "json")):
        with pytest.raises(DeviceBusy, match="still being checked"):
            ask(check.id)


def test_those_who_only_look_begin_none_and_see_none(studio: Studio, request_of: CheckRequest) -> None:
    check = ended(studio, request_of)
    with acting(Visitor(name="eve", role=Role.VIEWER)), pytest.raises(NotAllowed, match="viewer"):
        studio.checks.begin(request_of)
    with acting(Visitor(name="eve", role=Role.TRAINER)):
        for ask in (studio.checks.get, studio.checks.stop, studio.checks.fix):
            with pytest.raises(StoreError):
                ask(check.id)


def test_what_is_wrong_with_the_training_is_said_at_once(studio: Studio, request_of: CheckRequest) -> None:
    with pytest.raises(ModelFileError, match="nowhere"):
        studio.checks.begin(replace(request_of, base="nowhere"))
    with pytest.raises(ConfigError, match="max_train_steps"):
        studio.checks.begin(replace(request_of, values={"max_train_steps": 0}))


def test_a_folder_that_is_gone_is_said_and_looked_for_again(
    studio: Studio, record: DatasetRecord, request_of: CheckRequest
) -> None:
    Path(record.path).rename(f"{record.path}.away")
    check = ended(studio, request_of)
    assert check.state is CheckState.FAILED
    with pytest.raises(DatasetError):
        studio.checks.fix(check.id)
    Path(f"{record.path}.away").rename(record.path)
    assert ended(studio, request_of).state is CheckState.FINISHED


def fails_to_give(monkeypatch: pytest.MonkeyPatch, *lost: Path) -> None:
    """Let the disk give none of these files, though they are there."""
    found = Path.open

    def opened(path: Path, *args: Any, **named: Any) -> Any:
        if path in lost:
            raise OSError(errno.EIO, "Input/output error")
        return found(path, *args, **named)

    monkeypatch.setattr(Path, "open", opened)


@pytest.mark.parametrize(("name", "shown"), [("1.png", "1.png"), ("1.txt", "The caption 1.txt")])
def test_what_the_disk_does_not_give_is_a_finding_and_the_others_are_checked(
    studio: Studio,
    record: DatasetRecord,
    request_of: CheckRequest,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    shown: str,
) -> None:
    fails_to_give(monkeypatch, Path(record.path) / name)
    check = ended(studio, request_of)
    assert check.report
    found = {one.check: one for one in check.report.findings}
    assert {"unread", "borders", "no_trigger"} <= found.keys()
    assert not {"unreadable", "encoding"} & found.keys()
    assert found["unread"].pictures == ("1.png",)
    assert f"{shown} can't be read: Input/output error" in found["unread"].reason
    studio.checks.fix(check.id)  # the safe ones: a picture that may be good is not among them
    assert len(studio.datasets.pictures(record.id)) == 3
    studio.datasets.undo_edit(record.id)
    assert studio.checks.begin(request_of) is studio.checks.get(check.id)
    monkeypatch.undo()
    report = ended(studio, request_of).report
    assert report
    assert report.is_whole


def test_a_picture_that_the_disk_does_not_give_is_left_out_and_put_back(
    studio: Studio, record: DatasetRecord, request_of: CheckRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    fails_to_give(monkeypatch, Path(record.path) / "1.png")
    studio.checks.fix(ended(studio, request_of).id, ["unread"])
    monkeypatch.undo()
    assert [path.name for path, _ in studio.datasets.pictures(record.id)] == ["0.png", "2.png"]
    studio.datasets.undo_edit(record.id)
    assert len(studio.datasets.pictures(record.id)) == 3


def test_a_picture_that_vanishes_meanwhile_is_named_and_the_others_are_checked(
    studio: Studio, record: DatasetRecord, request_of: CheckRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = checked_set.pictures_of

    def then_gone(*given: Any) -> Any:
        pictures = list(listed(*given))
        (Path(record.path) / "1.png").unlink()
        return pictures

    monkeypatch.setattr(checked_set, "pictures_of", then_gone)
    report = ended(studio, request_of).report
    assert report
    [finding] = [one for one in report.findings if one.check == "unread"]
    assert (finding.pictures, finding.fix) == (("1.png",), None)
    assert "No such file" in finding.reason
    assert any(one.check == "borders" for one in report.findings)


def test_a_disk_that_gives_no_picture_at_all_makes_no_report(
    studio: Studio, record: DatasetRecord, request_of: CheckRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    fails_to_give(monkeypatch, *Path(record.path).glob("*.png"))
    check = ended(studio, request_of)
    assert check.state is CheckState.FAILED
    assert "No picture can be read from the disk. 0.png can't be read" in str(check.error)
    monkeypatch.undo()
    assert ended(studio, request_of).state is CheckState.FINISHED


def test_a_picture_that_is_none_fails_no_check(
    studio: Studio, record: DatasetRecord, request_of: CheckRequest
) -> None:
    (Path(record.path) / "1.png").write_bytes(b"no picture")
    report = ended(studio, request_of).report
    assert report
    assert [one.pictures for one in report.findings if one.check == "unreadable"] == [("1.png",)]


def test_a_set_that_was_deleted_meanwhile_is_checked_once_it_is_back(
    studio: Studio, record: DatasetRecord, request_of: CheckRequest
) -> None:
    with studio.turns.take("check"):
        check = studio.checks.begin(request_of)
        undo = studio.datasets.delete(record.id)
    until(lambda: check.id not in studio.checks._checks)
    studio.datasets.undo(undo)
    report = studio.checks.wait(studio.checks.begin(request_of).id, PATIENCE).report
    assert report
    assert not [one for one in report.findings if one.check == "unreadable"]


def test_the_report_is_written_as_a_page_and_as_json(
    studio: Studio, request_of: CheckRequest, record: DatasetRecord
) -> None:
    check = ended(studio, request_of)
    page, data = (studio.checks.write_report(check.id, form) for form in ("html", "json"))
    assert page.name == "three-report.html"
    assert "Border around the picture" in page.read_text("utf-8")
    assert check.report
    assert json.loads(data.read_text("utf-8")) == json.loads(json.dumps(check.report.to_json()))
    assert page.is_relative_to(studio.settings.uploads)
