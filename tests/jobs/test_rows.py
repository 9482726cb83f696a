"""Rows for the mirror: what PostgreSQL can hold, without paths, the same columns each time."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from lora_studio.config import TrainConfig
from lora_studio.events import Failed, Noted, PreviewSaved, StepDone, event_to_json
from lora_studio.jobs.supabase.rows import (
    event_row,
    image_row,
    job_of_row,
    job_row,
    lora_row,
    mirror_id,
    without_paths,
)
from lora_studio.records import ImageRecord, JobRecord, JobStatus, LoraRecord
from lora_studio.store.job_store import JobStore

MACHINE, OTHER = "5b0f7c53-6d4e-4d38-9a57-0f3f5a6f3f10", "00000000-0000-4000-8000-000000000001"


@pytest.fixture
def job(store: JobStore, config_named: Callable[..., TrainConfig]) -> JobRecord:
    return store.create(config_named())


def test_ids_are_the_same_each_time_and_other_ones_elsewhere() -> None:
    ids = {mirror_id(machine, kind, "cat") for machine in (MACHINE, OTHER) for kind in ("job", "lora")}
    assert len(ids) == 4
    assert mirror_id(MACHINE, "job", "cat") in ids


def test_a_job_there_and_back(job: JobRecord) -> None:
    given = replace(job, status=JobStatus.RUNNING, progress=42.5, step=4, loss=0.25, run=2, message="m")
    row = job_row(given, MACHINE, "desk")
    back = job_of_row(row | {"seen_at": row["heartbeat_at"]})
    for name in ("id", "name", "status", "progress", "step", "total_steps", "loss", "run", "message"):
        assert getattr(back, name) == getattr(given, name)
    assert back.created_at == pytest.approx(given.created_at)
    assert back.owner == "desk"


def test_no_path_of_this_machine_is_in_a_row(job: JobRecord, tmp_path: Path) -> None:
    assert str(tmp_path) in json.dumps(job.config)
    assert str(tmp_path) not in json.dumps(job_row(job, MACHINE, ""))
    preview = PreviewSaved(
        step=1, path=str(tmp_path / "a.png"), base_path=str(tmp_path / "b.png"), prompt="p", seed=1
    )
    row = event_row(job.id, 1, 1.0, event_to_json(preview), MACHINE)
    assert row["data"]["path"] == "a.png"
    lora = lora_row("cat", MACHINE, record=None, job=job, thrown_away=False)
    assert str(tmp_path) not in json.dumps(lora)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/home/me/models/lora/cat", "cat"),
        (r"C:\Users\me\cat.safetensors", "cat.safetensors"),
        ("Kept: /home/me/lora/cat", "Kept: cat"),
        ("1/2 done", "1/2 done"),
        ("a / b", "a / b"),
        ("runwayml/stable-diffusion", "runwayml/stable-diffusion"),
    ],
)
def test_paths_shrink_to_names(text: str, shown: str) -> None:
    assert without_paths(text) == shown


def test_what_no_database_can_hold_is_left_out(job: JobRecord) -> None:
    step = StepDone(
        step=1, total_steps=2, loss=float("nan"), average_loss=float("inf"), learning_rate=1e-4, seconds=1
    )
    data = event_row(job.id, 1, 1.0, event_to_json(step), MACHINE)["data"]
    assert (data["loss"], data["average_loss"], data["step"]) == (None, None, 1)
    row = event_row(job.id, 2, 1.0, event_to_json(Noted(message="a\x00b\ud800c")), MACHINE)
    assert (row["message"], row["data"]["message"]) == ("Note: ab?c", "ab?c")
    json.dumps(row, allow_nan=False).encode()


def test_levels(job: JobRecord) -> None:
    events = (Noted(message="m"), Noted(message="m", level="warning"), Failed(message="m"))
    rows = [event_row(job.id, 1, 1.0, event_to_json(event), MACHINE) for event in events]
    assert [row["level"] for row in rows] == ["info", "warning", "error"]
    assert event_row(job.id, 1, 1.0, {"kind": "OfTomorrow"}, MACHINE)["message"] == ""


def test_a_finished_job_is_at_100_percent(job: JobRecord) -> None:
    assert job_row(replace(job, status=JobStatus.FINISHED, progress=99.0), MACHINE, "")["progress"] == 100.0


def test_a_lora_by_what_is_known_of_it(job: JobRecord) -> None:
    record = LoraRecord(id="ab" * 32, slug="cat", title="Cat", path="x", family="f", base="b", network_dim=8)
    rows = [
        lora_row("cat", MACHINE, record=known, job=made, thrown_away=gone)
        for known, made, gone in (
            *((None, job, False), (record, job, False), (record, None, False)),
            *((None, replace(job, status=JobStatus.FAILED), False), (None, job, True)),
        )
    ]
    assert [row["status"] for row in rows] == ["training", "ready", "ready", "failed", "archived"]
    assert len({row["id"] for row in rows}) == len({tuple(row) for row in rows}) == 1


@pytest.mark.parametrize(("dim", "told"), [(8, 8), (0, None), (100_000, None), (4096, 4096)])
def test_a_dim_that_the_schema_does_not_take_is_left_out(dim: int, told: int | None) -> None:
    record = LoraRecord(id="", slug="cat", title="Cat", path="x", family="", base="", network_dim=dim)
    row = lora_row("cat", MACHINE, record=record, job=None, thrown_away=False)
    assert row["network_dim"] == told


@pytest.mark.parametrize("status", [JobStatus.RUNNING, JobStatus.FAILED, JobStatus.PAUSED])
def test_a_lora_that_is_not_finished_names_its_base(job: JobRecord, status: JobStatus) -> None:
    assert "pretrained_model_name_or_path" in job.config["model"]
    for given, told in (("starter", "starter"), ("a/hub-id", "a/hub-id"), ("/home/me/base", "base")):
        config = {**job.config, "model": {**job.config["model"], "pretrained_model_name_or_path": given}}
        made = replace(job, status=status, config=config)
        assert lora_row("cat", MACHINE, record=None, job=made, thrown_away=False)["base_model"] == told


def test_an_image_keeps_its_settings() -> None:
    image = ImageRecord(
        id="cd" * 32,
        path="/x/a.png",
        thumbnail="",
        prompt="a cat",
        seed=7,
        width=8,
        height=8,
        created_at=1.0,
        request={"negative_prompt": "dog", "steps": 4},
    )
    row = image_row(image, MACHINE, None)
    assert (row["negative_prompt"], row["params"]["steps"], row["seed"]) == ("dog", 4, 7)
    assert "/x" not in json.dumps(row)
