from __future__ import annotations

import os
import subprocess
import sys
import time

import psutil

from lora_studio.store.process_owner import SILENCE_SECONDS, has_restarted, is_alive, this_process
from tests.support.waiting import PATIENCE


def test_this_process_is_alive_and_keeps_its_name() -> None:
    assert this_process() == this_process()
    assert this_process().split(":")[1] == str(os.getpid())
    assert is_alive(this_process(), silence=1e9)


def test_a_process_is_alive_until_it_ends_even_if_nobody_fetches_its_exit_status() -> None:
    program = (
        "from lora_studio.store.process_owner import this_process; print(this_process(), flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        owner = child.stdout.readline().strip()
        assert owner != this_process()
        assert is_alive(owner, silence=1e9)
        child.kill()
        give_up = time.monotonic() + PATIENCE
        while is_alive(owner, silence=0) and time.monotonic() < give_up:
            time.sleep(0.01)  # no wait() yet: the system still lists the process
        assert not is_alive(owner, silence=0)
    assert not is_alive(owner, silence=0)


def test_a_later_process_with_the_same_number_is_another_one() -> None:
    host, pid, _ = this_process().rsplit(":", 2)
    assert not is_alive(f"{host}:{pid}:long-ago", silence=0)


def test_processes_of_another_host_are_judged_by_their_silence() -> None:
    assert is_alive("elsewhere:1:5", silence=SILENCE_SECONDS / 2)
    assert not is_alive("elsewhere:1:5", silence=SILENCE_SECONDS * 2)


def test_a_start_time_of_a_former_version_is_judged_by_the_silence() -> None:
    host, pid, _ = this_process().rsplit(":", 2)
    assert is_alive(f"{host}:{pid}:cd485360-2069661", silence=SILENCE_SECONDS / 2)
    assert not is_alive(f"{host}:{pid}:cd485360-2069661", silence=SILENCE_SECONDS * 2)


def test_names_that_are_none_are_dead() -> None:
    for name in ("", "x", "a:b:c", f"{this_process().split(':')[0]}:99999999999999999999:1"):
        assert not is_alive(name, silence=0)


def test_a_restart_of_the_machine_is_known() -> None:
    booted = psutil.boot_time()
    assert has_restarted(booted - 3600)
    assert not has_restarted(time.time())
