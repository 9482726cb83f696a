"""Captionings of several processes on a home: one a set at a time, alive while silent, stopped from afar."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from lora_studio.captioning.captioner import ENGINES
from lora_studio.dataset import Datasets
from lora_studio.errors import DeviceBusy
from lora_studio.jobs.captioning import captioning_jobs
from lora_studio.jobs.captioning.captioning_jobs import CaptioningJobs
from lora_studio.jobs.captioning.captioning_request import CaptioningRequest
from lora_studio.jobs.captioning.captioning_rows import CaptioningRow, CaptioningRows
from lora_studio.jobs.captioning.captioning_state import CaptioningState
from lora_studio.runtime import DeviceLease
from lora_studio.store.database import Database
from tests.support.serving import DRAWN
from tests.support.waiting import PATIENCE, until

FAR, FARTHER = "far:1:1", "farther:1:1"
"""Processes on hosts that this one sees by their heartbeats alone."""


@pytest.fixture
def dataset_id(datasets: Datasets) -> str:
    return datasets.create("Things", [DRAWN / "01.png"]).id


def asked(dataset_id: str) -> CaptioningRequest:
    return CaptioningRequest(dataset_id=dataset_id, engine=ENGINES["starter"])


def test_of_two_that_begin_at_once_one_runs(
    datasets: Datasets, database: Database, dataset_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    both_looked, read = threading.Barrier(2), CaptioningRows.get

    def get(self: CaptioningRows, set_id: str) -> CaptioningRow | None:
        found = read(self, set_id)
        both_looked.wait(PATIENCE)
        return found

    lease, said = DeviceLease(), list[Any]()
    both = [CaptioningJobs(datasets, lease, database, owner=owner) for owner in (FAR, FARTHER)]

    def begin(jobs: CaptioningJobs) -> None:
        try:
            said.append(jobs.begin(asked(dataset_id)).state)
        except DeviceBusy:
            said.append(DeviceBusy)

    with monkeypatch.context() as patch, lease.hold("training"):
        patch.setattr(CaptioningRows, "get", get)
        threads = [threading.Thread(target=begin, args=(jobs,)) for jobs in both]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
    assert set(said) == {CaptioningState.RUNNING, DeviceBusy}
    for jobs in both:
        assert jobs.wait(dataset_id, PATIENCE).total == 1
    assert both[0].get(dataset_id).state is both[1].get(dataset_id).state is CaptioningState.FINISHED


def test_one_of_a_newer_version_is_not_begun_over(
    datasets: Datasets, database: Database, dataset_id: str
) -> None:
    rows, jobs = CaptioningRows(database), CaptioningJobs(datasets, DeviceLease(), database)
    rows.put(dataset_id, FAR, {"state": "dreaming"})
    with pytest.raises(DeviceBusy):
        jobs.begin(asked(dataset_id))
    assert jobs.stop(dataset_id)
    assert rows.all()[0].is_to_stop


def test_a_silent_one_sends_heartbeats_and_hears_a_stop(
    datasets: Datasets, database: Database, dataset_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(captioning_jobs, "HEARTBEAT_SECONDS", 0.02)
    lease, rows = DeviceLease(), CaptioningRows(database)
    far = CaptioningJobs(datasets, lease, database, owner=FAR)
    here = CaptioningJobs(datasets, lease, database)
    with lease.hold("training"):
        far.begin(asked(dataset_id))
        begun = time.time()
        until(lambda: rows.all()[0].at > begun)
        assert here.stop(dataset_id)
        assert far.wait(dataset_id, PATIENCE).state is CaptioningState.STOPPED
    assert not here.stop(dataset_id)


def test_one_that_was_taken_for_dead_ends(
    datasets: Datasets, database: Database, dataset_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(captioning_jobs, "HEARTBEAT_SECONDS", 0.02)
    lease, rows = DeviceLease(), CaptioningRows(database)
    slept = CaptioningJobs(datasets, lease, database, owner=FAR)
    with lease.hold("training"):
        job = slept.begin(asked(dataset_id))
        rows.put(dataset_id, FARTHER, job.to_json())
        slept.wait(dataset_id, PATIENCE)
        assert not slept._jobs
    assert rows.all()[0].owner == FARTHER
