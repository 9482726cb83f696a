"""`lora-studio train --resume`: a training that was stopped goes on where it was."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from lora_studio.cli.train import find_job
from lora_studio.events import Finished
from lora_studio.lora.file.lora_files import find_file, read_header
from lora_studio.records import JobStatus
from lora_studio.studio import open_studio
from lora_studio.training_request import StartTraining
from tests.support.command import Command, stored_job
from tests.support.waiting import PATIENCE

STEPS = 30


@pytest.fixture
def stopped(tiny_base: Path, pictures: Path) -> str:
    """The id of a training that was stopped in the middle."""
    studio = open_studio()
    try:
        dataset = studio.datasets.create("Disc", sorted(pictures.iterdir()))
        quick = {
            **{"resolution": 64, "min_bucket_reso": 32, "max_bucket_reso": 128, "train_batch_size": 1},
            **{
                "network_dim": 2,
                "max_train_steps": STEPS,
                "sample_every_n_steps": 0,
                "save_state_every_n_steps": 2,
            },
        }
        job = studio.trainings.start(
            StartTraining(
                dataset_id=dataset.id, name="Disc", kind="object", base=str(tiny_base), overrides=quick
            )
        )
        give_up = time.monotonic() + PATIENCE
        while studio.jobs.get(job.id).step < 3 and time.monotonic() < give_up:
            time.sleep(0.02)
        studio.jobs.stop(job.id)
        assert studio.jobs.wait(job.id, timeout=PATIENCE).status == JobStatus.STOPPED
        return job.id
    finally:
        studio.close()


def test_a_stopped_training_goes_on(command: Command, stopped: str) -> None:
    (before,) = command("status", "--json").json["jobs"]
    assert 3 <= before["step"] < STEPS
    studio = open_studio(start_worker=False)
    assert {find_job(studio, name).id for name in (stopped, "Disc", "disc", before["result"])} == {stopped}
    studio.close()
    outcome = command("train", "--resume", "Disc", "--json")
    assert outcome.code == 0, outcome.err
    assert (outcome.json["id"], outcome.json["status"], outcome.json["step"]) == (stopped, "finished", STEPS)
    assert read_header(find_file(outcome.json["result"])).metadata["ss_steps"] == str(STEPS)
    again = command("train", "--resume", stopped)
    assert again.code == 2
    assert "can't be resumed" in again.err


def test_what_can_not_be_resumed_is_a_sentence(command: Command) -> None:
    outcome = command("train", "--resume", "nothing")
    assert outcome.code == 2
    assert "There is no training 'nothing' to resume." in outcome.err
    store, job = stored_job()
    store.append(job.id, Finished(path="x", steps=40, seconds=1.0))
    outcome = command("train", "--resume", job.id)
    assert outcome.code == 2
    assert len(outcome.err.splitlines()) == 1
