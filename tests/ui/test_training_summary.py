"""The line that says which training Upload describes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from lora_studio.estimate import earlier_seconds
from lora_studio.records import JobRecord, JobStatus
from lora_studio.studio import Studio
from lora_studio.ui.upload.example_pictures import example_files
from lora_studio.ui.upload.setup_panel import KINDS
from lora_studio.ui.upload.training_summary import MEASURED_WITH, Subject, measured_facts, summary
from tests.support.configs import ESTIMATE
from tests.support.html import parse


def line(studio: Studio, subject: Subject) -> str:
    return " ".join("".join(parse(summary(studio, subject, list(KINDS)).line).itertext()).split())


@pytest.fixture
def mimi(studio: Studio) -> Subject:
    record = studio.datasets.create("Mimi", example_files("ink"))
    return Subject(dataset_id=record.id, kind="character", base="starter", name=" Mimi  the cat ")


def test_it_says_what_is_missing(studio: Studio, mimi: Subject) -> None:
    assert line(studio, Subject()) == "Still needed: pictures, what they show, a name."
    half = replace(mimi, name="")
    assert line(studio, half) == "character · 10 pictures · 200 steps Still needed: a name."
    assert "Still needed" not in line(studio, mimi)


def test_it_follows_what_is_typed(studio: Studio, mimi: Subject) -> None:
    assert line(studio, mimi) == "Mimi the cat · character · 10 pictures · 200 steps"
    assert line(studio, replace(mimi, typed={"max_train_steps": "30"})).endswith("30 steps")
    for half_typed in ("3o", "-", "1e999"):
        assert "steps" not in line(studio, replace(mimi, typed={"max_train_steps": half_typed}))
    called = summary(studio, replace(mimi, trigger=" my<b> "), list(KINDS)).called
    assert "call it with my<b>" in " ".join("".join(parse(called).itertext()).split())


def test_what_was_measured_counts_as_long_as_it_holds(studio: Studio, mimi: Subject) -> None:
    facts = measured_facts(replace(ESTIMATE, device_bytes=0, ram_bytes=900_000_000), mimi)
    measured = replace(mimi, measured=facts)
    assert line(studio, measured).endswith("200 steps · about 4 min, 900 MB")
    longer = line(studio, replace(measured, typed={"max_train_steps": "2000"}))
    assert "2000 steps · about" in longer
    assert "about 4 min" not in longer
    for name in MEASURED_WITH:
        assert "about" not in line(studio, replace(measured, typed={name: "7"}))
    assert measured_facts(None, mimi) == {}


def test_what_was_measured_for_other_settings_is_said_to_be_so(studio: Studio, mimi: Subject) -> None:
    measured = replace(mimi, measured=measured_facts(replace(ESTIMATE, steps=200), mimi))
    as_typed = replace(measured, typed={"max_train_steps": "200"})
    others = ({"max_train_steps": "1600"}, {"network_dim": "64"})

    def is_outdated(subject: Subject) -> bool:
        return 'class="note outdated"' in summary(studio, subject, list(KINDS)).reasons

    assert [is_outdated(one) for one in (mimi, measured, as_typed)] == [False, False, False]
    assert all(is_outdated(replace(measured, typed=typed)) for typed in others)
    assert is_outdated(replace(measured, kind="style"))


@pytest.mark.parametrize("step", [None, "1", -1, float("nan"), 1e300, True, [1]])
def test_a_browser_s_own_figures_are_not_believed(studio: Studio, mimi: Subject, step: Any) -> None:
    facts = {**measured_facts(ESTIMATE, mimi), "step": step}
    for measured in (facts, [facts], "x"):
        assert "about" not in line(studio, replace(mimi, measured=measured))


def test_without_a_measurement_the_last_training_of_its_kind_tells_the_time() -> None:
    config = {
        "model": {"pretrained_model_name_or_path": "starter"},
        "dataset": {"resolution": 64, "train_batch_size": 4},
        "network": {"network_dim": 8},
    }
    job = JobRecord(
        id="a", name="A", status=JobStatus.FINISHED, config=config, created_at=1.0, total_steps=100,
        started_at=100.0, finished_at=160.0,
    )  # fmt: skip
    values = {"resolution": 64, "train_batch_size": "4", "network_dim": 8}
    assert earlier_seconds([job], "starter", values, 200) == 120
    assert earlier_seconds([job], "sd15", values, 200) == 0
    assert earlier_seconds([job], "starter", {**values, "resolution": 32}, 200) == 0
    assert earlier_seconds([replace(job, status=JobStatus.FAILED)], "starter", values, 200) == 0
