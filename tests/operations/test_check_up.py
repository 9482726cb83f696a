"""The check-up runs in the background, for admins alone."""

from __future__ import annotations

import os
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from lora_studio.access.roles import Role
from lora_studio.access.visitor import NOBODY, Visitor, acting
from lora_studio.errors import NotAllowed
from lora_studio.operations import check_up as module
from lora_studio.operations.check_up import CheckUp
from lora_studio.operations.findings import Finding
from lora_studio.settings import Settings
from lora_studio.store.database import Database
from tests.support.waiting import until

DISK = Finding(what="disk", said="0 kB free", advice="Free some.")


@pytest.fixture
def check_up(settings: Settings, database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[CheckUp]:
    """One whose checks are a single finding: each has tests of its own."""
    monkeypatch.setattr(module, "examine", lambda settings, draws: iter([DISK]))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(settings.home / "hub"))
    with closing(CheckUp(settings, database)) as made:
        yield made


@pytest.mark.parametrize(
    "act",
    [
        lambda one: one.state,
        lambda one: one.begin(),
        lambda one: one.findings(),
        lambda one: one.storage(),
        lambda one: one.clean_up("trash"),
        lambda one: one.pack_logs(),
    ],
)
def test_only_an_admin_may(act: Callable[[CheckUp], object], check_up: CheckUp) -> None:
    for present in (NOBODY, Visitor(name="ada", role=Role.TRAINER)):
        with acting(present), pytest.raises(NotAllowed):
            act(check_up)


def test_a_look_is_made_in_the_background_and_seen_as_it_goes(
    check_up: CheckUp, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen_running = threading.Event()  # the look is held at its first check until this test saw it run

    def held(settings: Settings, draws: bool) -> Iterator[Finding]:
        assert seen_running.wait(60)
        yield DISK

    monkeypatch.setattr(module, "examine", held)
    assert check_up.revision == 0
    assert check_up.begin().running
    assert check_up.begin().running, "a second look began beside the first"
    until(lambda: len(check_up.state.storage) == len(module.storage_use.KINDS))
    assert check_up.state.running
    assert check_up.state.findings == ()
    seen_running.set()
    until(lambda: not check_up.state.running)
    state, seen = check_up.state, check_up.revision
    assert state.findings == (DISK,)
    assert [use.kind.name for use in state.storage] == [kind.name for kind in module.storage_use.KINDS]
    assert time.time() - state.at < 60
    assert seen > len(state.storage)
    assert check_up.findings() == [DISK]


def test_a_clean_up_counts_anew(check_up: CheckUp, settings: Settings) -> None:
    cached = settings.cache / "latents" / "a.npz"
    cached.parent.mkdir(parents=True)
    cached.write_bytes(b"x" * 7)
    check_up.begin()
    until(lambda: not check_up.state.running)
    assert check_up.clean_up("caches") == (1, 7)
    until(lambda: not check_up.state.running)
    assert {use.kind.name: use.bytes for use in check_up.state.storage}["caches"] == 0


def test_the_logs_lie_among_the_uploads_with_the_last_findings(check_up: CheckUp, settings: Settings) -> None:
    check_up.begin()
    until(lambda: not check_up.state.running)
    packed = check_up.pack_logs()
    assert packed.is_relative_to(settings.uploads)
    with zipfile.ZipFile(packed) as archive:
        assert b"0 kB free" in archive.read("check-up.json")
    assert os.listdir(packed.parent) == [packed.name]


def test_a_studio_that_closes_ends_a_look(check_up: CheckUp) -> None:
    check_up.begin()
    check_up.close()
    assert not check_up.state.running
    assert not check_up.begin().running
