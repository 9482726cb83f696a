"""Captionings in the background: never over what somebody wrote, between trainings, stopped, gone on with."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lora_studio.captioning import caption_engines, caption_run
from lora_studio.captioning.caption_template import CaptionTemplate
from lora_studio.captioning.captioner import ENGINES, Captioner
from lora_studio.captioning.starter_captioner import StarterCaptioner
from lora_studio.data.edits.overlay import Overlay
from lora_studio.data.edits.picture_edits import FlipPicture, RemovePicture, SetCaption
from lora_studio.data.edits.rendering import PictureFiles
from lora_studio.dataset import Datasets
from lora_studio.errors import DatasetError, DeviceBusy, DiskFull, StoreError
from lora_studio.jobs.captioning.captioning_jobs import CaptioningJobs
from lora_studio.jobs.captioning.captioning_request import CaptioningRequest
from lora_studio.jobs.captioning.captioning_state import CaptioningState
from lora_studio.runtime import DeviceLease
from lora_studio.store.database import Database
from tests.support.serving import DRAWN
from tests.support.waiting import PATIENCE


def asked(dataset_id: str, **changes: Any) -> CaptioningRequest:
    values = {"engine": ENGINES["starter"], "template": CaptionTemplate(trigger="zwx"), **changes}
    return CaptioningRequest(dataset_id=dataset_id, **values)


@pytest.fixture
def dataset_id(datasets: Datasets, tmp_path: Path) -> str:
    files = [DRAWN / f"{name}.png" for name in ("01", "02", "03")]
    caption = tmp_path / "03.txt"
    caption.write_text("mine", "utf-8")
    return datasets.create("Things", [*files, caption]).id


def test_pictures_without_a_caption_get_one(datasets: Datasets, database: Database, dataset_id: str) -> None:
    jobs = CaptioningJobs(datasets, DeviceLease(), database)
    with pytest.raises(StoreError, match="were not captioned"):
        jobs.get(dataset_id)
    assert jobs.begin(asked(dataset_id)).total == 2
    ended = jobs.wait(dataset_id, 60)
    assert (ended.state, ended.done, ended.captioned, ended.failed) == (CaptioningState.FINISHED, 2, 2, {})
    said = {"01.png": "zwx, lemon, 3d style", "02.png": "zwx, cherries, 3d style", "03.png": "mine"}
    assert datasets.captions(dataset_id) == said
    datasets.set_caption(dataset_id, "01.png", "by hand")
    jobs.begin(asked(dataset_id, template=CaptionTemplate(), again=True))
    assert jobs.wait(dataset_id, 60).captioned == 1
    assert datasets.captions(dataset_id) == {
        **said,
        "01.png": "by hand",
        "02.png": "cherries, 3d style",
    }
    for _ in range(3):
        datasets.undo_edit(dataset_id)
    assert datasets.captions(dataset_id) == {"01.png": "", "02.png": "", "03.png": "mine"}


def test_it_waits_for_the_device_and_keeps_what_came_meanwhile(
    datasets: Datasets, database: Database, dataset_id: str
) -> None:
    lease = DeviceLease()
    jobs = CaptioningJobs(datasets, lease, database)
    with lease.hold("training"):
        jobs.begin(asked(dataset_id))
        with pytest.raises(DeviceBusy):
            jobs.begin(asked(dataset_id))
        datasets.set_caption(dataset_id, "02.png", "faster")
        assert jobs.get(dataset_id).state is CaptioningState.RUNNING
    assert jobs.wait(dataset_id, 60).captioned == 1
    assert datasets.captions(dataset_id)["02.png"] == "faster"


def test_a_stopped_one_goes_on_with_the_rest(datasets: Datasets, database: Database, dataset_id: str) -> None:
    lease = DeviceLease()
    jobs = CaptioningJobs(datasets, lease, database)
    with lease.hold("training"):
        jobs.begin(asked(dataset_id))
        assert jobs.stop(dataset_id)
        ended = jobs.wait(dataset_id, 60)
    assert (ended.state, ended.captioned, ended.error) == (CaptioningState.STOPPED, 0, None)
    assert not jobs.stop(dataset_id)
    assert jobs.begin(asked(dataset_id)).total == 2
    assert jobs.wait(dataset_id, 60).captioned == 2


def test_a_model_that_is_not_here_is_said(datasets: Datasets, database: Database, dataset_id: str) -> None:
    jobs = CaptioningJobs(datasets, DeviceLease(), database)
    jobs.begin(asked(dataset_id, engine=ENGINES["blip"]))
    ended = jobs.wait(dataset_id, 60)
    assert (ended.state, "isn't on this machine" in str(ended.error)) == (CaptioningState.FAILED, True)


@pytest.fixture
def one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Captions that are kept after each picture, as after each 200 of a large set."""
    monkeypatch.setattr(caption_run, "KEPT_AT_ONCE", 1)
    monkeypatch.setattr(StarterCaptioner, "batch", 1)
    monkeypatch.setattr(StarterCaptioner, "captions", lambda self, images: ["thing"] * len(images))


@pytest.mark.usefixtures("one_by_one")
def test_one_undo_takes_a_whole_run_back(datasets: Datasets, database: Database, dataset_id: str) -> None:
    jobs = CaptioningJobs(datasets, DeviceLease(), database)
    jobs.begin(asked(dataset_id, template=CaptionTemplate()))
    assert jobs.wait(dataset_id, 60).captioned == 2
    assert len(datasets.edits(dataset_id).line()) == 2
    datasets.undo_edit(dataset_id)
    assert datasets.captions(dataset_id) == {"01.png": "", "02.png": "", "03.png": "mine"}
    datasets.redo_edit(dataset_id)
    assert datasets.captions(dataset_id) == {"01.png": "thing", "02.png": "thing", "03.png": "mine"}


@pytest.mark.usefixtures("one_by_one")
def test_what_is_written_just_now_is_never_written_over(
    datasets: Datasets, database: Database, dataset_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    captions = Datasets.captions
    # Looked at: at the start, before each of both captions is written, and again once it was refused.
    typed = iter([[], [SetCaption("01.png", "by hand")], [], [RemovePicture("02.png")]])

    def read(self: Datasets, set_id: str) -> dict[str, str]:
        found = captions(self, set_id)
        if edits := next(typed, []):
            with monkeypatch.context() as patch:
                patch.setattr(Datasets, "captions", captions)
                self.edit(set_id, edits)  # between the look and the engine's edit
        return found

    monkeypatch.setattr(Datasets, "captions", read)
    jobs = CaptioningJobs(datasets, DeviceLease(), database)
    jobs.begin(asked(dataset_id, template=CaptionTemplate()))
    ended = jobs.wait(dataset_id, 60)
    assert (ended.state, ended.captioned) == (CaptioningState.FINISHED, 0)
    assert captions(datasets, dataset_id) == {"01.png": "by hand", "03.png": "mine"}


def test_a_caption_that_was_taken_away_stays_away(
    datasets: Datasets, database: Database, dataset_id: str
) -> None:
    datasets.edit(dataset_id, [SetCaption("03.png", "")])
    jobs = CaptioningJobs(datasets, DeviceLease(), database)
    assert jobs.begin(asked(dataset_id)).total == 2
    assert jobs.wait(dataset_id, 60).captioned == 2
    assert datasets.captions(dataset_id)["03.png"] == ""


def test_a_stop_is_heard_while_edited_pictures_are_made(
    datasets: Datasets, database: Database, dataset_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets.edit(dataset_id, [FlipPicture("01.png"), FlipPicture("02.png")])
    jobs, made = CaptioningJobs(datasets, DeviceLease(), database), []

    def make(self: Overlay, original: Path, mask: Path | None = None) -> PictureFiles:
        made.append(original.name)
        jobs.stop(dataset_id)
        return PictureFiles(original, mask)

    monkeypatch.setattr(Overlay, "files", make)
    jobs.begin(asked(dataset_id))
    assert jobs.wait(dataset_id, 60).state is CaptioningState.STOPPED
    assert made == ["01.png"]


def test_one_engine_is_in_memory_at_a_time(
    datasets: Datasets, database: Database, dataset_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = [datasets.create(name, [DRAWN / "04.png"]).id for name in ("Second", "Third")]
    begun, go, acts = threading.Event(), threading.Event(), []

    class Slow(Captioner):
        batch = 1

        def captions(self, images: Sequence[Image.Image]) -> list[str]:
            begun.set()
            assert go.wait(PATIENCE)
            acts.append("caption")
            return ["said" for _ in images]

    def load(_: object, **options: object) -> Slow:
        acts.append("load")
        return Slow()

    monkeypatch.setattr(caption_engines, "load_captioner", load)
    jobs = CaptioningJobs(datasets, DeviceLease(), database)
    jobs.begin(asked(dataset_id))
    assert begun.wait(PATIENCE)
    for other in others:
        jobs.begin(asked(other))
    assert jobs.stop(others[0])  # while it waits for its turn
    assert jobs.wait(others[0], PATIENCE).state is CaptioningState.STOPPED
    go.set()
    assert [jobs.wait(one, PATIENCE).captioned for one in (dataset_id, others[1])] == [2, 1]
    assert acts == ["load", "caption", "caption", "load", "caption"]


def test_a_yes_to_write_over_a_caption_counts_once(
    datasets: Datasets, database: Database, dataset_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: StarterCaptioner, images: Sequence[Image.Image]) -> list[str]:
        raise SystemError

    jobs = CaptioningJobs(datasets, DeviceLease(), database)
    with monkeypatch.context() as patch:
        patch.setattr(StarterCaptioner, "captions", broken)
        jobs.begin(asked(dataset_id, pictures=("03.png",), over_hand=True))
        assert jobs.wait(dataset_id, PATIENCE).state is CaptioningState.FAILED
    datasets.set_caption(dataset_id, "03.png", "mine, an hour of work")
    with pytest.raises(DatasetError, match="written by hand"):
        jobs.go_on(dataset_id)
    assert datasets.captions(dataset_id)["03.png"] == "mine, an hour of work"


def test_a_failure_after_a_stop_is_told(
    datasets: Datasets, database: Database, dataset_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = CaptioningJobs(datasets, DeviceLease(), database)

    def captions(self: StarterCaptioner, images: Sequence[Image.Image]) -> list[str]:
        jobs.stop(dataset_id)
        return ["thing"] * len(images)

    def full(*_: object, **__: object) -> None:
        raise DiskFull("No room.", "Make some.")

    monkeypatch.setattr(StarterCaptioner, "captions", captions)
    monkeypatch.setattr(datasets, "edit", full)
    jobs.begin(asked(dataset_id))
    ended = jobs.wait(dataset_id, PATIENCE)
    assert (ended.state, str(ended.error)) == (CaptioningState.FAILED, "No room. Make some.")
