"""Repairs that go on by themselves: who began one may look away, come back, and stop it."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from lora_studio.access.roles import Role
from lora_studio.access.visitor import Visitor, acting, visitor
from lora_studio.errors import BrokenFile, StoreError
from lora_studio.events import Emit, Noted, PhaseAdvanced, ShouldStop
from lora_studio.jobs.lora_files.repair_jobs import NewLora, RepairJobs, RepairState
from lora_studio.lora.repair.repair_request import RepairRequest
from lora_studio.studio import Studio
from tests.support.strange_loras import strange_lora
from tests.support.waiting import PATIENCE, until

ADA, EVE = (Visitor(name=name, role=Role.CREATOR) for name in ("ada", "eve"))


@pytest.fixture
def jobs() -> RepairJobs:
    return RepairJobs()


def until_stopped(emit: Emit, should_stop: ShouldStop) -> None:
    emit(Noted(message="This takes long."))
    emit(PhaseAdvanced(phase="repair", done=250, total=1000))
    until(should_stop)


def test_whoever_comes_back_finds_it_and_may_stop_it(jobs: RepairJobs) -> None:
    before = jobs.revision
    job = jobs.start("ink", until_stopped, session="a page")
    seen = until(lambda: next((one for one in jobs.jobs() if one.percent), None))
    assert (seen.id, seen.percent, seen.note, seen.active) == (job.id, 25, "This takes long.", True)
    assert jobs.revision > before
    assert not jobs.stop_all_of("another page")
    assert jobs.stop_all_of("a page")
    ended = jobs.wait(job.id, PATIENCE)
    assert (ended.state, ended.lora, ended.stop_asked) == (RepairState.STOPPED, None, True)
    jobs.stop(job.id)  # it has ended: nothing happens
    assert not jobs.stop_all_of("a page")


def test_nobody_sees_or_stops_what_is_anothers(jobs: RepairJobs) -> None:
    names: list[str] = []
    go_on = threading.Event()

    def work(emit: Emit, should_stop: ShouldStop) -> None:
        names.append(visitor().name)
        go_on.wait(PATIENCE)

    with acting(ADA):
        job = jobs.start("ink", work, session="s")
    with acting(EVE):
        assert jobs.jobs() == []
        assert not jobs.stop_all_of("s")
        for act in (jobs.stop, jobs.wait):
            with pytest.raises(StoreError):
                act(job.id)
    go_on.set()
    with acting(ADA):
        assert not jobs.wait(job.id, PATIENCE).active
    assert names == ["ada"]


def test_a_failure_is_kept_with_its_kind_and_a_bug_without_its_text(jobs: RepairJobs) -> None:
    def broken(emit: Emit, should_stop: ShouldStop) -> NewLora:
        raise BrokenFile("It is broken.", "Get it again.")

    def bug(emit: Emit, should_stop: ShouldStop) -> NewLora:
        raise ZeroDivisionError("secret")

    ended = jobs.wait(jobs.start("ink", broken).id, PATIENCE)
    assert ended.state is RepairState.FAILED
    assert isinstance(ended.error, BrokenFile)
    ended = jobs.wait(jobs.start("ink", bug).id, PATIENCE)
    assert "inside LoRA Studio" in str(ended.error)
    assert "secret" not in str(ended.error)


def test_a_stopped_repair_leaves_nothing_behind(studio: Studio, tmp_path: Path) -> None:
    slug = studio.gallery.import_lora(strange_lora(tmp_path / "x.safetensors")).slug
    with studio.turns.take("repair"):  # it waits for its turn
        job = studio.inspector.repair(slug, RepairRequest(save_precision="float"))
        studio.inspector.jobs.stop(job.id)
        assert studio.inspector.jobs.wait(job.id, PATIENCE).state is RepairState.STOPPED
    assert studio.inspector.result_of(job) is None
    assert [one.slug for one in studio.gallery.loras()] == [slug]
    assert not list(studio.settings.uploads.glob("link-*"))
