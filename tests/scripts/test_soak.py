"""A studio under many people: the short form of it, and that it tells wrong from right."""

from __future__ import annotations

import sys
from collections import Counter
from typing import Any

import pytest

from scripts.soak.__main__ import grown, main, parse, plan
from scripts.soak.observed import Queue, Watch
from scripts.soak.studio_process import Idle

SHORT = (
    *("--minutes", "0.2", "--clients", "4", "--generations", "16", "--trainings", "3", "--reloads", "3"),
    *("--steps", "6", "--no-memory"),  # of which so short a time says nothing
)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="looks inside by a signal")
def test_a_studio_under_four_people_for_a_short_time(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(SHORT)
    assert code == 0, capsys.readouterr().out


def training(**facts: Any) -> dict[str, Any]:
    start = {"job_id": "1", "name": "x", "status": "running", "progress": 50, "step": 4, "total_steps": 8}
    return {**start, **facts}


def generation(**facts: Any) -> dict[str, Any]:
    return {"ticket": "1", "prompt": "x", "state": "waiting", "progress": 0, "ahead": 2, **facts}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, {"status": "queued", "step": 3}),
        ({}, {"progress": 49}),
        ({}, {"progress": 101}),
        ({"status": "stopped"}, {"status": "running"}),
        ({"status": "stopping"}, {"status": "paused"}),
        ({}, {"status": "finished", "progress": 100}),
    ],
)
def test_wrong_trainings_are_seen(before: dict[str, Any], after: dict[str, Any]) -> None:
    watch = Watch()
    watch.see_training(training(**before))
    watch.see_training(training(**before))
    assert watch.wrong == []
    watch.see_training(training(**after))
    assert len(watch.wrong) == 1


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, {"ahead": 3}),
        ({"state": "running"}, {"state": "waiting"}),
        ({"state": "running", "progress": 40}, {"state": "running", "progress": 30}),
        ({"state": "running"}, {"state": "finished", "progress": 99}),
    ],
)
def test_wrong_generations_are_seen(before: dict[str, Any], after: dict[str, Any]) -> None:
    watch = Watch()
    watch.see_generation(generation(**before))
    watch.see_generation(generation(**before))
    assert watch.wrong == []
    watch.see_generation(generation(**after))
    assert len(watch.wrong) == 1


def test_whoever_is_overtaken_is_seen() -> None:
    queue = Queue(name="trainings")
    queue.see(["a", "b", "c"], set())
    queue.see(["b", "c"], {"a"})
    queue.see(["a", "c"], {"b"})  # resumed, at the place of its age
    assert queue.wrong == []
    queue.see(["a"], {"c"})
    assert len(queue.wrong) == 1


def test_growth_is_seen() -> None:
    before = Idle(rss=100, files=20, threads=Counter({"training": 1, "pool": 4}))
    later = Counter({"pool": 40, "generation-queue": 1})
    assert grown(before, Idle(rss=110, files=28, threads=later), memory=True) == []
    after = Idle(rss=111, files=29, threads=Counter({"training": 2, "pool": 4}))
    assert len(grown(before, after, memory=True)) == 3
    assert len(grown(before, after, memory=False)) == 2


def test_all_is_planned_once() -> None:
    options = parse([*SHORT, "--seed", "1"])
    planned = plan(options)
    kinds = Counter(deed.kind for deeds in planned for deed in deeds)
    assert kinds == {"generate": 16, "train": 3, "reload": 3}
    assert all([deed.at for deed in deeds] == sorted(deed.at for deed in deeds) for deeds in planned)
    assert plan(options) == planned
