"""What takes minutes is done once at a time, and few wait for it."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from lora_studio.errors import DeviceBusy
from lora_studio.jobs import action_locks
from lora_studio.jobs.action_locks import KINDS, ActionLocks
from tests.support.waiting import PATIENCE


@pytest.mark.parametrize("name", KINDS)
def test_of_fifty_at_once_one_is_at_it_and_few_wait(name: str) -> None:
    turns, go, lock = ActionLocks(), threading.Event(), threading.Lock()
    inside, most = 0, 0
    asked = threading.Semaphore(0)

    def work(_: int) -> str:
        nonlocal inside, most
        try:
            with turns.take(name):
                with lock:
                    inside += 1
                    most = max(most, inside)
                go.wait(PATIENCE)
                with lock:
                    inside -= 1
                return "done"
        except DeviceBusy:
            asked.release()
            return "busy"

    with ThreadPoolExecutor(50) as pool:
        said = [pool.submit(work, number) for number in range(50)]
        for _ in range(50 - 1 - KINDS[name].waiting):
            assert asked.acquire(timeout=PATIENCE)
        go.set()
        answers = [one.result() for one in said]
    assert answers.count("done") == 1 + KINDS[name].waiting
    assert most == 1


def test_a_failure_lets_the_next_one_in() -> None:
    turns = ActionLocks()
    for _ in range(3):
        with pytest.raises(ValueError, match="x"), turns.take("plan"):
            raise ValueError("x")
    with turns.take("plan"), turns.take("upload"), pytest.raises(DeviceBusy), turns.take("plan"):
        pass


def test_who_has_worked_for_it_waits_as_long_as_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(action_locks, "SECONDS", 0.01)
    turns, order = ActionLocks(), []

    def patient() -> None:
        with turns.take("inspect"), turns.take("import", gives_up=False):
            order.append("patient")

    with ThreadPoolExecutor(1) as pool:
        with turns.take("import"):
            waiting = pool.submit(patient)
            for _ in range(3):  # its place is not one of those who may wait
                with pytest.raises(DeviceBusy), turns.take("import"):
                    pass
            order.append("first")
        waiting.result(PATIENCE)
    assert order == ["first", "patient"]
