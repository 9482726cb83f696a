"""Ends that nobody chose: a pause with its reason where the cause can go away, a failure otherwise."""

from __future__ import annotations

import threading

import pytest

from lora_studio.errors import DatasetError, DeviceLost, DiskFull, NetworkLost
from lora_studio.events import Event, Failed, Paused, StepDone, Stopped
from lora_studio.jobs.early_endings import last_word, leaves_a_lora, paused_by_closing
from lora_studio.jobs.training_queue import TrainingQueue
from lora_studio.records import JobStatus
from lora_studio.store.job_store import JobStore
from tests.support.stepping_worker import SteppingWorker
from tests.support.waiting import PATIENCE, until


@pytest.mark.parametrize("kind", [DeviceLost, DiskFull, NetworkLost])
def test_what_goes_away_is_a_pause(kind: type[DeviceLost]) -> None:
    word = last_word(kind("It is gone.", "Fetch it."), step=7, resumes=True)
    assert isinstance(word, Paused)
    assert word.step == 7
    assert "It is gone." in word.message
    assert word.hint.startswith("Fetch it.")
    assert isinstance(last_word(kind("x"), step=7, resumes=False), Failed)


@pytest.mark.parametrize("error", [DatasetError("x"), ValueError("x"), SystemExit(1)])
def test_what_does_not_is_a_failure(error: BaseException) -> None:
    assert isinstance(last_word(error, step=7, resumes=True), Failed)


def test_only_closing_turns_a_stop_into_a_pause() -> None:
    closing, heard = threading.Event(), list[Event]()
    step = StepDone(step=3, total_steps=5, loss=1.0, average_loss=1.0, learning_rate=1.0, seconds=1.0)
    for is_stopped, is_closing in ((False, False), (True, True), (False, True)):
        closing.clear()
        if is_closing:
            closing.set()
        emit = paused_by_closing(heard.append, closing, lambda asked=is_stopped: asked)
        emit(step)
        emit(Stopped(step=3, path="/m/ink"))
    assert [type(event) for event in heard] == [StepDone, Stopped, StepDone, Stopped, StepDone, Paused]
    assert isinstance(paused := heard[-1], Paused)
    assert (paused.step, paused.path) == (3, "/m/ink")
    assert leaves_a_lora(paused)
    assert not leaves_a_lora(Paused(step=3))


class Unlucky(SteppingWorker):
    """A worker whose runs break off once, as if the network were gone."""

    luck = False

    def run(self, request, emit, should_stop):  # type: ignore[no-untyped-def]
        if not self.luck:
            raise NetworkLost("The connection broke off.", "Check it.")
        super().run(request, emit, should_stop)


def test_a_lost_network_pauses_the_job_and_it_goes_on(  # type: ignore[no-untyped-def]
    open_queue, store: JobStore, config_named
) -> None:
    worker = Unlucky()
    queue: TrainingQueue = open_queue(worker=worker)
    job = queue.submit(config_named())
    paused = queue.wait(job.id, timeout=PATIENCE)
    assert paused.status == JobStatus.PAUSED
    assert paused.message == "Paused: The connection broke off."
    assert paused.resumable
    worker.luck = True
    worker.go()
    queue.resume(job.id)
    until(lambda: queue.get(job.id).status == JobStatus.FINISHED)
    assert queue.get(job.id).message == ""
