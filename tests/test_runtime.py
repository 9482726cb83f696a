"""The device lease: who gets the device, and when."""

from __future__ import annotations

import gc
import platform
import subprocess
import sys
import threading
import time

import pytest

from lora_studio.errors import DeviceBusy
from lora_studio.runtime import (
    COMPACT,
    SOON_ASLEEP,
    TUNABLES,
    DeviceLease,
    cpu_environment,
    lost_device,
    without_collections,
)
from tests.support.serving import CHECKOUT
from tests.support.waiting import PATIENCE, until


class User(threading.Thread):
    """Takes the lease, says so in `order`, and keeps it until told to go on."""

    def __init__(self, lease: DeviceLease, name: str, order: list[str]) -> None:
        super().__init__(daemon=True)
        self.lease, self.who, self.order = lease, name, order
        self.may_end = threading.Event()
        self.start()

    def run(self) -> None:
        with self.lease.hold(self.who):
            self.order.append(self.who)
            self.may_end.wait(PATIENCE)


def test_a_free_device_is_taken_and_given_back() -> None:
    lease = DeviceLease()
    assert lease.holder == ""
    with lease.hold("training"):
        assert lease.holder == "training"
    assert lease.holder == ""
    with lease.hold("generation"):
        assert lease.holder == "generation"


def test_an_exception_gives_the_device_back() -> None:
    lease = DeviceLease()
    with pytest.raises(ValueError, match="broken"), lease.hold("training"):
        raise ValueError("broken")
    assert lease.holder == ""


def test_one_at_a_time_and_first_come_first_served() -> None:
    lease, order = DeviceLease(), list[str]()
    with lease.hold("first"):
        users = []
        for number in range(4):
            users.append(User(lease, f"user {number}", order))
            until(lambda number=number: lease.waiting == number + 1)
        assert order == []
    for number, user in enumerate(users):
        until(lambda number=number: len(order) == number + 1)
        time.sleep(0.02)
        assert order == [f"user {n}" for n in range(number + 1)]
        user.may_end.set()
    for user in users:
        user.join(PATIENCE)
    assert lease.holder == ""


def test_giving_way_to_nobody_is_immediate() -> None:
    lease = DeviceLease()
    with lease.hold("training"):
        begun = time.thread_time()
        for _ in range(10_000):
            lease.give_way("training")
        assert time.thread_time() - begun < 1
        assert lease.holder == "training"


def test_giving_way_lets_all_who_wait_go_first_and_comes_back() -> None:
    lease, order = DeviceLease(), list[str]()
    with lease.hold("training"):
        users = [User(lease, "one", order)]
        until(lambda: lease.waiting == 1)
        users.append(User(lease, "two", order))
        until(lambda: lease.waiting == 2)
        for user in users:
            user.may_end.set()
        lease.give_way("training")
        assert order == ["one", "two"]
        assert lease.holder == "training"
    for user in users:
        user.join(PATIENCE)


def test_who_comes_after_the_giver_waits_for_the_next_time() -> None:
    """Training that gave way is not starved by generations that keep coming."""
    lease, order = DeviceLease(), list[str]()
    with lease.hold("training"):
        first = User(lease, "first", order)
        until(lambda: lease.waiting == 1)

        def come_later() -> None:
            until(lambda: order == ["first"] and lease.waiting == 1)  # training waits to come back
            later.append(User(lease, "later", order))
            until(lambda: lease.waiting == 2)
            first.may_end.set()

        later: list[User] = []
        crowd = threading.Thread(target=come_later)
        crowd.start()
        lease.give_way("training")
        assert order == ["first"]
        crowd.join(PATIENCE)
    until(lambda: order == ["first", "later"])
    later[0].may_end.set()
    later[0].join(PATIENCE)


def test_waiting_can_be_given_up() -> None:
    lease = DeviceLease()
    with lease.hold("training"):
        begun = time.monotonic()
        with (
            pytest.raises(DeviceBusy, match="still busy with training"),
            lease.hold("generation", give_up=lambda: time.monotonic() - begun > 0.1),
        ):
            pytest.fail("the device was taken")
        assert lease.waiting == 0
        assert lease.holder == "training"
    with lease.hold("generation", give_up=lambda: False):
        assert lease.holder == "generation"


def test_who_gives_up_does_not_block_those_behind() -> None:
    lease, order = DeviceLease(), list[str]()
    gone = threading.Event()

    def leave() -> None:
        with pytest.raises(DeviceBusy), lease.hold("leaving", give_up=gone.is_set):
            pytest.fail("the device was taken")

    with lease.hold("training"):
        leaving = threading.Thread(target=leave)
        leaving.start()
        until(lambda: lease.waiting == 1)
        behind = User(lease, "behind", order)
        until(lambda: lease.waiting == 2)
        gone.set()
        leaving.join(PATIENCE)
    until(lambda: order == ["behind"])
    behind.may_end.set()
    behind.join(PATIENCE)


def test_errors_of_a_device_that_failed_are_told_from_others() -> None:
    lost = lost_device(RuntimeError("CUDA error: device-side assert triggered\nCompile with ..."))
    assert lost is not None
    assert lost.message.endswith("CUDA error: device-side assert triggered")
    assert lost_device(RuntimeError("mat1 and mat2 shapes cannot be multiplied")) is None


COUNT_FAULTS = """
import resource, torch
from lora_studio.runtime import give_memory_back, memory_kept_at_hand

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        torch.ones(10_000_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096

outside = faults()
with memory_kept_at_hand():
    faults()
    inside, kept = faults(), resident()
    give_memory_back()
    between = kept - resident()
    faults()
    kept = resident()
print(outside, inside, between, kept - resident())
"""


def test_nobody_looks_for_garbage_among_modules_that_were_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    gc.unfreeze()
    with without_collections():
        assert not gc.isenabled()
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0  # nothing was imported, so what is there may be garbage
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    with without_collections():
        import colorsys  # noqa: F401
    assert gc.get_freeze_count() > 0
    gc.unfreeze()


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="about glibc")
def test_memory_that_is_freed_stays_at_hand_inside_the_block_until_it_is_given_back() -> None:
    run = subprocess.run(
        [sys.executable, "-c", COUNT_FAULTS], capture_output=True, text=True, check=True, cwd=CHECKOUT
    )
    outside, inside, *given_back = map(int, run.stdout.split())
    assert inside < outside / 10
    assert min(given_back) > 30_000_000


def test_a_process_that_computes_keeps_no_small_pieces_and_its_threads_soon_sleep(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("platform.libc_ver", lambda: ("glibc", "2.36"))
    assert cpu_environment({"A": "1"}) == {"A": "1", TUNABLES: COMPACT, **SOON_ASLEEP}
    assert cpu_environment({TUNABLES: "glibc.malloc.perturb=1"}) == {
        TUNABLES: f"glibc.malloc.perturb=1:{COMPACT}",
        **SOON_ASLEEP,
    }
    decided = {TUNABLES: "glibc.malloc.tcache_count=7", "OMP_WAIT_POLICY": "ACTIVE"}
    assert cpu_environment(decided) == decided
    assert cpu_environment(cpu_environment({})) == cpu_environment({})
    monkeypatch.setattr("platform.libc_ver", lambda: ("", ""))
    assert cpu_environment({"A": "1"}) == {"A": "1"}


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another allocator")
def test_a_command_begins_anew_once_in_that_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(TUNABLES, raising=False)
    begun = subprocess.run(
        [sys.executable, "-c", AGAIN, "train"], cwd=CHECKOUT, capture_output=True, text=True, check=True
    )
    assert begun.stdout.split() == ["before", "before", "after", COMPACT, "train"]


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another allocator")
@pytest.mark.parametrize("theirs", ["sys.modules['IPython'] = sys", "sys.settrace(lambda *given: None)"])
def test_a_notebook_and_a_debugger_keep_their_process(monkeypatch: pytest.MonkeyPatch, theirs: str) -> None:
    monkeypatch.setenv(TUNABLES, "glibc.malloc.perturb=0")
    program = f"import sys\n{theirs}\n{AGAIN}"
    begun = subprocess.run(
        [sys.executable, "-c", program, "train"], cwd=CHECKOUT, capture_output=True, text=True, check=True
    )
    assert begun.stdout.split() == ["before", "after", "glibc.malloc.perturb=0", "train"]


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another allocator")
def test_where_the_environment_is_not_taken_a_command_begins_anew_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As with a Python that has capabilities: glibc takes the variable out of its environment."""
    monkeypatch.delenv(TUNABLES, raising=False)
    program = AGAIN.replace("print(", "os.environ.pop('GLIBC_TUNABLES', None)\nprint(", 1)
    program = program.replace('os.environ["GLIBC_TUNABLES"]', "os.environ.get('BEGUN_BY_LORA_STUDIO')")
    begun = subprocess.run(
        [sys.executable, "-c", program, "train"], cwd=CHECKOUT, capture_output=True, text=True, check=True
    )
    assert begun.stdout.split() == ["before", "before", "after", "None", "train"]


AGAIN = """
import os, sys
from lora_studio.runtime import begin_in_cpu_environment
print("before", flush=True)
begin_in_cpu_environment()
print("after", os.environ["GLIBC_TUNABLES"], sys.argv[1])
"""
