"""The curves of a training, for the eye and as a table."""

from __future__ import annotations

import json

import gradio as gr
import pytest

from lora_studio.events import Started, StepDone, Validated
from lora_studio.records import JobRecord
from lora_studio.store.job_lists import CurvePoint, curve_points
from lora_studio.store.job_store import JobStore
from lora_studio.studio import Studio
from lora_studio.training_request import StartTraining
from lora_studio.ui.refresh import PageRefresh
from lora_studio.ui.train import training_chart
from lora_studio.ui.upload.example_pictures import example_files
from lora_studio.ui.widgets.curves import moving_mean
from tests.support.html import parse

SKIP = gr.skip()


def points(*losses: float, memory: int = 0) -> list[CurvePoint]:
    return [
        CurvePoint(step=step, loss=loss, learning_rate=1e-4 / step, memory_bytes=memory * step)
        for step, loss in enumerate(losses, 1)
    ]


def test_the_curves_stay_within_their_frame_whatever_the_losses() -> None:
    losses = [0.1 if step != 70 else 900.0 for step in range(1, 201)]
    html = training_chart.curves(points(*losses, memory=10_000_000), 400, [])
    lines = list(parse(html).iter("polyline"))
    assert len(lines) == 4
    for line in lines:
        pairs = [tuple(map(float, pair.split(","))) for pair in str(line.get("points")).split()]
        assert len(pairs) == 200
        assert all(0 <= x <= 300.1 and 0 <= y <= 160 for x, y in pairs)
    assert "400 steps" in html
    assert training_chart.curves(points(0.5), 10, []) == ""


def test_the_losses_on_pictures_held_back_are_a_line_of_their_own() -> None:
    flat = points(*[0.1] * 100)
    measured = [
        Validated(step=step, loss=loss, base_loss=0.2) for step, loss in ((0, 0.2), (50, 0.15), (100, 0.1))
    ]
    html = training_chart.curves(flat, 100, measured)
    lines = {line.get("class"): str(line.get("points")).split() for line in parse(html).iter("polyline")}
    assert [pair.split(",")[0] for pair in lines["held-out"]] == ["0.0", "300.0", "600.0"]
    assert "pictures held back (0.1000)" in html
    assert "held-out" not in training_chart.curves(flat, 100, [])


def test_who_does_not_see_the_curves_has_a_table() -> None:
    measured = [Validated(step=0, loss=0.3), Validated(step=12, loss=0.15)]
    html = training_chart.curves(points(*[0.2] * 24, memory=1_000_000), 24, measured)
    rows = [[cell.text or "" for cell in row] for row in parse(html).findall(".//tbody/tr")]
    assert rows[0] == ["0", "", "0.3000", "", ""]
    assert ["12", "0.2000", "0.1500", "8.3e-06", "12 MB"] in rows
    assert rows[-1] == ["24", "0.2000", "", "4.2e-06", "24 MB"]
    assert len(rows) == 13
    labels = [svg.get("aria-label") for svg in parse(html).iter("svg")]
    assert labels[1:] == [
        "Learning rate: from 1.0e-04 to 4.2e-06, at most 1.0e-04",
        "Memory: from 1 MB to 24 MB, at most 24 MB",
    ]


def test_the_browser_has_what_it_needs_to_smooth_anew() -> None:
    html = training_chart.curves(points(1.0, 2.0, 3.0, 4.0), 4, [])
    (svg, *_) = parse(html).iter("svg")
    assert json.loads(svg.get("data-losses") or "") == [1.0, 2.0, 3.0, 4.0]
    low, high = json.loads(svg.get("data-limits") or "")
    assert low < high
    assert len(parse(html).findall(".//input[@type='range']")) == 1


def test_old_runs_have_no_memory_and_no_curve_of_it() -> None:
    old = [CurvePoint(step=step, loss=0.1) for step in (1, 2, 3)]
    assert len(list(parse(training_chart.curves(old, 3, [])).iter("svg"))) == 1


def test_the_moving_mean() -> None:
    assert moving_mean([2.0, 4.0, 6.0, 8.0], 2) == [2.0, 3.0, 5.0, 7.0]
    assert moving_mean([1.0, 1.0], 5) == [1.0, 1.0]


@pytest.fixture
def job(studio: Studio) -> JobRecord:
    dataset = studio.datasets.create("Ink", example_files("ink"))
    overrides = {"max_train_steps": 1000}
    wanted = StartTraining(dataset_id=dataset.id, name="Ink", kind="style", overrides=overrides)
    made = studio.trainings.start(wanted)
    store = JobStore(studio.database)
    store.claim(made.id, "test")
    store.append(made.id, Started(total_steps=1000, phases=("train",), device="cpu", dtype="fp32"))
    return made


def walk(studio: Studio, job: JobRecord, *steps: int) -> None:
    for step in steps:
        done = StepDone(
            step=step,
            total_steps=1000,
            loss=step / 10,
            average_loss=0.5,
            learning_rate=1 / step,
            seconds=1.0,
            memory_bytes=step,
        )
        JobStore(studio.database).append(job.id, done)


def test_a_point_is_the_last_of_its_steps(studio: Studio, job: JobRecord) -> None:
    walk(studio, job, *range(1, 101))
    few = curve_points(studio.database, job.id, points=10)
    assert [point.step for point in few] == list(range(10, 101, 10))
    assert few[0] == CurvePoint(step=10, loss=pytest.approx(0.55), learning_rate=0.1, memory_bytes=10)
    studio.database.change("UPDATE events SET json = '{}' WHERE kind = 'StepDone'")
    assert curve_points(studio.database, job.id, points=10)[0].learning_rate is None


def test_the_curves_are_sent_when_there_is_a_new_point_only(
    studio: Studio, job: JobRecord, live: PageRefresh
) -> None:
    given = (job.id, "", "", "", *("", "", "", "1", "newest", "", "", "1", ""), "", [])
    walk(studio, job, *range(1, 7))
    first = live.look(None, *given)
    assert "polyline" in first[live.train.chart]
    walk(studio, job, 7)
    second = live.look(first[live.seen], *given)
    assert "7 / 1000" in second[live.train.card]
    assert second[live.train.chart] == SKIP, "of a thousand steps each fifth is a point"
    walk(studio, job, 8, 9, 10)
    third = live.look(second[live.seen], *given)
    assert "at step 10" in third[live.train.chart]
