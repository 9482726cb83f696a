"""Two trainings side by side on the page."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from lora_studio.errors import StoreError
from lora_studio.events import PreviewSaved
from lora_studio.jobs.comparison.run_comparison import Curve, RunComparison, RunFigures, SettingDifference
from lora_studio.records import JobRecord, JobStatus
from lora_studio.studio import Studio
from lora_studio.ui.comparison.comparison_panel import chosen_pair, comparison_of
from lora_studio.ui.comparison.comparison_views import chart, compared, rounds_of, shown_value, table_of
from tests.support.html import NASTY, parse

CURVE: Curve = tuple((step, 1.0 / step) for step in range(1, 31))
JOB = JobRecord(
    id="a1", name=NASTY, status=JobStatus.RUNNING, config={}, created_at=1.0, step=30, total_steps=40
)
RUN = RunFigures(
    job=JOB,
    device="CPU",
    seconds=60.0,
    seconds_per_step=2.0,
    memory_bytes=10**9,
    losses=CURVE,
    validation=((10, 0.2), (20, 0.1)),
    learning_rates=CURVE,
    previews=(),
)
OTHER = replace(RUN, job=replace(JOB, id="b2", name="Other", status=JobStatus.FAILED), losses=CURVE[:10])
DIFFERENCE = SettingDifference(name="learning_rate", values=(0.001, NASTY))


def previews(folder: Path, *steps: int, prompt: str = "a zwx") -> tuple[PreviewSaved, ...]:
    events = []
    for step in steps:
        path = folder / f"{step}.png"
        path.write_bytes(b"")
        events.append(PreviewSaved(step=step, path=str(path), base_path="", prompt=prompt, seed=1))
    return tuple(events)


def test_it_shows_what_differs_and_both_curves() -> None:
    html = compared(RunComparison(runs=(RUN, OTHER), differences=(DIFFERENCE,), same=99))
    root = parse(html)  # what people wrote breaks out of nothing
    assert "Learning rate" in html
    assert "learning_rate" in html
    assert "The other 99 settings are the same." in html
    charts = list(root.iter("svg"))
    assert len(charts) == 3
    lines = [line.get("points", "").split() for line in charts[0].iter("polyline")]
    assert [len(line) for line in lines] == [30, 10]
    assert lines[1][-1].startswith("200.0,")  # the tenth of thirty steps
    assert [one.get("data-id") for one in root.iter("button") if one.get("data-action") == "show"] == [
        "a1",
        "b2",
    ]
    assert "0.1000 at step 20" in html


def test_the_chart_has_words_and_a_table() -> None:
    html = compared(RunComparison(runs=(RUN, OTHER), differences=(), same=7))
    label = next(svg.get("aria-label") for svg in parse(html).iter("svg"))
    assert label is not None
    assert label.startswith("Loss. A: from 1.0")
    assert "All 7 settings are the same." in html
    rows = table_of((RUN, OTHER))
    assert rows[0][0] == 1
    assert rows[-1][0] == 30
    assert rows[-1][1][1] == "–"  # the other one has not come so far
    assert len(rows) <= 11


@pytest.mark.parametrize(("value", "limits"), [(1e-4, ("0", "0.0002")), (3.0, ("0", "6"))])
def test_a_straight_line_lies_in_the_middle_of_its_chart(value: float, limits: tuple[str, str]) -> None:
    facts = chart("Learning rate", [[(0, value), (9, value)], []], show="{:.2g}".format)
    assert (facts["low"], facts["high"]) == limits


def test_a_curve_of_one_point_is_none() -> None:
    assert chart("Loss", [((1, 0.5),), ()]) == {}


def test_previews_stand_beside_each_other_by_step(tmp_path: Path) -> None:
    runs = [replace(RUN, previews=previews(tmp_path, *steps)) for steps in ((10, 20, 30), (10, 30))]
    assert [one.steps for one in rounds_of(runs)] == [(30, 30), (10, 10)]
    assert [one.captions for one in rounds_of(runs)[0].pairs] == [("a zwx",)]
    apart = [RUN, replace(RUN, previews=previews(tmp_path, 5))]
    assert rounds_of(apart) == []
    apart = [replace(RUN, previews=previews(tmp_path, 7, prompt="other")), apart[1]]
    assert [one.steps for one in rounds_of(apart)] == [(7, 5)]
    assert rounds_of(apart)[0].pairs[0].captions == ("other", "a zwx")


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), ("", "–"), (True, "yes"), (False, "no"), (0.001, "0.001"), ([1, "a"], "1, a"), (8, "8")],
)
def test_values_are_written_for_people(value: object, text: str) -> None:
    assert shown_value(value) == text


def test_a_pair_is_two_trainings_that_are_there(studio: Studio) -> None:
    for wrong, error in ((["x"], StoreError), ("../x", StoreError), ("none", StoreError)):
        with pytest.raises(error):
            chosen_pair(studio, SimpleNamespace(id=wrong), "none")  # type: ignore[arg-type]
    assert comparison_of(studio, "a", "") == comparison_of(studio, "a", "a") == ""
    assert comparison_of(studio, "a", "<b>") == comparison_of(studio, "a", "gone") == ""
