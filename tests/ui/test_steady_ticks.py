"""What a step of a training costs an open page, whatever else there is: counted in SQLite's instructions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from lora_studio.config import TrainConfig
from lora_studio.events import Started, Stopped
from lora_studio.records import ImageRecord, LoraRecord
from lora_studio.store.job_store import JobStore
from lora_studio.store.library import Library
from lora_studio.studio import Studio
from lora_studio.ui.page_revision import Revisions
from lora_studio.ui.refresh import PageRefresh
from scripts.bench.parts.page_tick import looks_at_a_step, step_done, training_config
from tests.support.configs import NEEDED

FEW, MANY = 60, 400


def trainings(studio: Studio, running: str, first: int, last: int) -> None:
    store = JobStore(studio.database)
    for number in range(first, last):
        values = {**NEEDED, "output_name": f"t-{number}", "output_dir": f"t-{number}"}
        job = store.create(TrainConfig.from_values(values))
        store.append(job.id, Started(total_steps=9, phases=("train",), device="cpu", dtype="fp32"))
        store.append(job.id, Stopped(step=0))


def loras(studio: Studio, running: str, first: int, last: int) -> None:
    rows = [
        LoraRecord(id=f"{n}", slug=f"l-{n}", title="L", path="", family="", base="b", created_at=n)
        for n in range(first, last)
    ]
    Library(studio.database).put_loras([(row, "", "") for row in rows])


def pictures(studio: Studio, running: str, first: int, last: int) -> None:
    facts: dict[str, Any] = {"thumbnail": "", "prompt": "a fox", "seed": 1, "width": 64, "height": 64}
    rows = [ImageRecord(id=f"{n}", path=f"/{n}.png", created_at=n, **facts) for n in range(first, last)]
    Library(studio.database).put_images([(row, "") for row in rows])


def steps(studio: Studio, running: str, first: int, last: int) -> None:
    for number in range(first, last):
        JobStore(studio.database).append(running, step_done(number + 1, 100_000))


def instructions(studio: Studio, call: Callable[[], Any]) -> int:
    """The instructions that SQLite carries out for what a call reads."""
    counted = 0

    def count() -> None:
        nonlocal counted
        counted += 1

    studio.database._reader.set_progress_handler(count, 1)
    call()
    studio.database._reader.set_progress_handler(None, 1)
    return counted


@pytest.mark.parametrize("more", [trainings, loras, pictures, steps])
def test_a_step_costs_the_page_the_same_with_more_of_anything(
    studio: Studio, live: PageRefresh, more: Callable[[Studio, str, int, int], None]
) -> None:
    store = JobStore(studio.database)
    job = store.create(training_config(studio, 100_000))
    store.claim(job.id, "test")
    spent = []
    for first, last in ((0, FEW), (FEW, MANY)):
        more(studio, job.id, first, last)
        step = looks_at_a_step(live, job.id).usual
        spent.append((instructions(studio, Revisions(studio).now), instructions(studio, step)))
        assert live.train.card in step(), "it paints something"
    (asked, painted), after = spent
    assert after[0] == asked > 0
    assert after[1] == pytest.approx(painted, rel=0.02)
