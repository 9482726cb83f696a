from __future__ import annotations

import importlib
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest

from lora_studio.config import TrainConfig
from lora_studio.errors import DeviceBusy
from lora_studio.events import Event, Stopped
from lora_studio.jobs.thread_worker import ThreadWorker
from lora_studio.runtime import DeviceLease
from lora_studio.training_request import RunRequest
from tests.support.serving import CHECKOUT
from tests.support.waiting import PATIENCE


@pytest.fixture(scope="module", autouse=True)
def _loaded() -> None:
    """Loading torch can take a minute on a busy machine; no clock of a test shall run meanwhile."""
    importlib.import_module("lora_studio.training.start.start_run")


def test_a_stop_while_the_device_is_taken_ends_before_the_first_step(
    config_named: Callable[..., TrainConfig],
) -> None:
    lease, said, stop = DeviceLease(), list[Event](), threading.Event()
    with lease.hold("generation"):
        request = RunRequest(config=config_named())
        run = threading.Thread(target=ThreadWorker(lease).run, args=(request, said.append, stop.is_set))
        run.start()
        give_up = time.monotonic() + PATIENCE
        while not lease.waiting and time.monotonic() < give_up:
            time.sleep(0.01)
        assert said == []
        stop.set()
        run.join(PATIENCE)
    assert said == [Stopped(step=0)]
    assert lease.holder == ""


WAITING = """
import sys, threading
from lora_studio.config import TrainConfig
from lora_studio.jobs.thread_worker import ThreadWorker
from lora_studio.runtime import DeviceLease
from lora_studio.training_request import RunRequest

lease, stop = DeviceLease(), threading.Event()
request = RunRequest(config=TrainConfig.from_json(__import__("json").loads(sys.argv[1])))
run = threading.Thread(target=ThreadWorker(lease).run, args=(request, lambda event: None, stop.is_set))
with lease.hold("generation"):
    run.start()
    while not lease.waiting:
        pass
    loaded = "torch" in sys.modules
    stop.set()
    run.join()
print(loaded)
"""


def test_a_training_loads_no_libraries_while_a_generation_may_do_so(
    config_named: Callable[..., TrainConfig],
) -> None:
    """Two threads that load them at once find them half there."""
    command = [sys.executable, "-c", WAITING, config_named().model_dump_json()]
    done = subprocess.run(command, capture_output=True, text=True, cwd=CHECKOUT, check=True, timeout=PATIENCE)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("stopped", [True, False])
def test_a_training_gives_way_between_steps(
    config_named: Callable[..., TrainConfig], monkeypatch: pytest.MonkeyPatch, stopped: bool
) -> None:
    """The trainer's side of the bargain is to ask `should_stop` once a step; here a loop does so."""
    lease, order = DeviceLease(), list[str]()
    begun, waits = threading.Event(), threading.Event()

    def train(
        config: TrainConfig, emit: Callable[[Event], None], should_stop: Callable[[], bool], **more: object
    ) -> None:
        for number in range(3):
            order.append(f"step {number}, held by {lease.holder}")
            begun.set()
            assert waits.wait(PATIENCE)
            if should_stop():
                order.append("stopped")
                return

    def generate() -> None:
        assert begun.wait(PATIENCE)
        with lease.hold("generation", give_up=lambda: waits.set() or False):  # asked while it waits
            order.append("generated")

    monkeypatch.setattr("lora_studio.trainer.train", train)
    generation = threading.Thread(target=generate)
    generation.start()
    request = RunRequest(config=config_named())
    ThreadWorker(lease).run(request, order.append, lambda: stopped)  # type: ignore[arg-type]
    generation.join(PATIENCE)
    rest = ["stopped"] if stopped else ["step 1, held by training", "step 2, held by training"]
    assert order == ["step 0, held by training", "generated", *rest]
    assert lease.holder == ""


def test_a_device_that_refuses_for_another_reason_is_an_error(
    config_named: Callable[..., TrainConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(*arguments: object, **more: object) -> None:
        raise DeviceBusy("The card is used by another program.")

    monkeypatch.setattr("lora_studio.trainer.train", train)
    with pytest.raises(DeviceBusy, match="another program"):
        ThreadWorker(DeviceLease()).run(RunRequest(config=config_named()), lambda event: None, lambda: False)
