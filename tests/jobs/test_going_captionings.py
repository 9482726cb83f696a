"""Captionings that a studio's end interrupts: told, shown, gone on with, undone as one."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Sequence
from dataclasses import replace

import pytest
from PIL import Image

from lora_studio.captioning import caption_run
from lora_studio.captioning.captioner import ENGINES
from lora_studio.captioning.starter_captioner import StarterCaptioner
from lora_studio.dataset import Datasets
from lora_studio.errors import DeviceBusy, StoreError
from lora_studio.jobs.captioning import captioning_jobs
from lora_studio.jobs.captioning.captioning_jobs import CaptioningJobs
from lora_studio.jobs.captioning.captioning_request import CaptioningRequest
from lora_studio.jobs.captioning.captioning_rows import CaptioningRows
from lora_studio.jobs.captioning.captioning_state import CaptioningState
from lora_studio.runtime import DeviceLease
from lora_studio.settings import Settings
from lora_studio.store.database import Database
from tests.support import killed
from tests.support.serving import DRAWN
from tests.support.waiting import PATIENCE, until

NOBODY = "nowhere:1:1"
"""A process that has ended, on a host that nobody hears of."""


@pytest.fixture
def dataset_id(datasets: Datasets) -> str:
    return datasets.create("Things", [DRAWN / f"{name}.png" for name in ("01", "02", "03")]).id


@pytest.fixture
def one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Captions that are kept after each picture, as after each 200 of a large set."""
    monkeypatch.setattr(caption_run, "KEPT_AT_ONCE", 1)
    monkeypatch.setattr(StarterCaptioner, "batch", 1)
    monkeypatch.setattr(StarterCaptioner, "captions", lambda self, images: ["thing"] * len(images))
    monkeypatch.setattr(captioning_jobs, "CLOSING_SECONDS", 0.0)


def asked(dataset_id: str, *, again: bool = False) -> CaptioningRequest:
    return CaptioningRequest(dataset_id=dataset_id, engine=ENGINES["starter"], again=again)


def interrupted(jobs: CaptioningJobs, request: CaptioningRequest, patch: pytest.MonkeyPatch) -> None:
    """Begin a captioning of a studio that is closed while it looks at the first picture."""

    def captions(self: StarterCaptioner, images: Sequence[Image.Image]) -> list[str]:
        closing = threading.Thread(target=jobs.close)
        closing.start()
        closing.join()
        return ["first"]

    with patch.context() as closing:
        closing.setattr(StarterCaptioner, "captions", captions)
        jobs.begin(request)
        jobs.wait(request.dataset_id, PATIENCE)


@pytest.mark.usefixtures("one_by_one")
def test_an_interrupted_one_goes_on_and_is_undone_as_one(
    datasets: Datasets, database: Database, dataset_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(CaptioningJobs(datasets, DeviceLease(), database), asked(dataset_id), monkeypatch)
    jobs = CaptioningJobs(datasets, DeviceLease(), database)
    job = jobs.get(dataset_id)
    assert (job.state, job.done, job.total, job.captioned) == (CaptioningState.INTERRUPTED, 1, 3, 1)
    assert [(name, one.state) for name, one in jobs.unfinished()] == [("Things", CaptioningState.INTERRUPTED)]
    assert jobs.go_on(dataset_id).total == 2
    assert jobs.wait(dataset_id, PATIENCE).captioned == 2
    assert [*datasets.captions(dataset_id).values()] == ["first", "thing", "thing"]
    assert jobs.unfinished() == []
    with pytest.raises(StoreError, match="come to its end"):
        jobs.go_on(dataset_id)
    datasets.undo_edit(dataset_id)
    assert {*datasets.captions(dataset_id).values()} == {""}


@pytest.mark.usefixtures("one_by_one")
def test_one_that_writes_anew_leaves_what_it_wrote(
    datasets: Datasets, database: Database, dataset_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = CaptioningJobs(datasets, DeviceLease(), database)
    jobs.begin(asked(dataset_id))
    jobs.wait(dataset_id, PATIENCE)
    interrupted(jobs, asked(dataset_id, again=True), monkeypatch)
    later = CaptioningJobs(datasets, DeviceLease(), database)
    assert later.go_on(dataset_id).total == 2
    assert later.wait(dataset_id, PATIENCE).captioned == 2
    assert [*datasets.captions(dataset_id).values()] == ["first", "thing", "thing"]


@pytest.mark.usefixtures("one_by_one")
def test_one_that_is_left_as_it_is_is_listed_no_more(
    datasets: Datasets, database: Database, dataset_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(CaptioningJobs(datasets, DeviceLease(), database), asked(dataset_id), monkeypatch)
    jobs = CaptioningJobs(datasets, DeviceLease(), database)
    assert not jobs.stop(dataset_id)
    assert jobs.get(dataset_id).state is CaptioningState.STOPPED
    assert jobs.unfinished() == []


def test_one_of_another_program_runs_as_long_as_that(
    datasets: Datasets, database: Database, dataset_id: str
) -> None:
    lease = DeviceLease()
    other, here = (CaptioningJobs(datasets, lease, database, owner=name) for name in ("", "here:2:2"))
    with lease.hold("training"):
        other.begin(asked(dataset_id))
        assert here.get(dataset_id).state is CaptioningState.RUNNING
        with pytest.raises(DeviceBusy):
            here.begin(asked(dataset_id))
        other.stop(dataset_id)
        other.wait(dataset_id, PATIENCE)
        # A row of a process that has ended says nothing of an end.
        facts = {**CaptioningRows(database).all()[0].facts, "state": "running"}
        CaptioningRows(database).put(dataset_id, NOBODY, facts)
        database_time = "UPDATE captionings SET at = at - 3600"
        database.change(database_time)
        assert here.get(dataset_id).state is CaptioningState.INTERRUPTED


def test_a_row_of_another_version_is_none(datasets: Datasets, database: Database, dataset_id: str) -> None:
    CaptioningRows(database).put(dataset_id, NOBODY, {"state": "dreaming"})
    jobs = CaptioningJobs(datasets, DeviceLease(), database)
    with pytest.raises(StoreError, match="were not captioned"):
        jobs.get(dataset_id)
    assert jobs.unfinished() == []


def test_a_long_wait_is_told(
    datasets: Datasets, database: Database, dataset_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(captioning_jobs, "SECONDS_BETWEEN", 0.0)
    lease, second = DeviceLease(), datasets.create("Second", [DRAWN / "04.png"]).id
    jobs = CaptioningJobs(datasets, lease, database)
    with lease.hold("training"):
        jobs.begin(asked(dataset_id))
        until(lambda: jobs.get(dataset_id).waits_for == "training")
        jobs.begin(asked(second))
        until(lambda: jobs.get(second).waits_for == "captions")
    assert jobs.wait(second, PATIENCE).waits_for == ""


@pytest.mark.slow
def test_one_that_is_killed_goes_on(
    datasets: Datasets, database: Database, dataset_id: str, settings: Settings
) -> None:
    processes = multiprocessing.get_context("spawn")
    receiver, sender = processes.Pipe(duplex=False)
    child = processes.Process(target=killed.run_captioning, args=(str(settings.home), dataset_id, sender))
    child.start()
    sender.close()
    receiver.recv()
    jobs = CaptioningJobs(datasets, DeviceLease(), database)
    assert jobs.get(dataset_id).state is CaptioningState.RUNNING
    child.kill()
    child.join(PATIENCE)
    assert jobs.get(dataset_id).state is CaptioningState.INTERRUPTED
    assert [*datasets.captions(dataset_id).values()] == ["first", "", ""]
    assert jobs.go_on(dataset_id).total == 2
    assert jobs.wait(dataset_id, PATIENCE).state is CaptioningState.FINISHED


def test_the_store_keeps_the_newest(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lora_studio.jobs.captioning.captioning_rows.MOST_KEPT", 2)
    rows = CaptioningRows(database)
    for name in ("a", "b", "a", "c"):
        rows.put(name, NOBODY, {"state": name})
    assert [row.dataset_id for row in rows.all()] == ["c", "a"]


@pytest.mark.usefixtures("one_by_one")
def test_single_pictures_leave_an_interrupted_one_to_go_on(
    datasets: Datasets, database: Database, dataset_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = CaptioningJobs(datasets, DeviceLease(), database)
    first.begin(asked(dataset_id))
    first.wait(dataset_id, PATIENCE)
    interrupted(first, asked(dataset_id, again=True), monkeypatch)
    jobs = CaptioningJobs(datasets, DeviceLease(), database)
    for name in ("02.png", "03.png"):
        jobs.begin(replace(asked(dataset_id), pictures=(name,)))
        assert jobs.wait(dataset_id, PATIENCE).state is CaptioningState.FINISHED
    assert [(job.state, job.done) for _, job in jobs.unfinished()] == [(CaptioningState.INTERRUPTED, 1)]
    assert not jobs.stop(dataset_id)
    assert jobs.unfinished() == []
    assert jobs.go_on(dataset_id).request.again
    ended = jobs.wait(dataset_id, PATIENCE)
    assert (ended.state, ended.captioned, ended.rest) == (CaptioningState.FINISHED, 2, None)
