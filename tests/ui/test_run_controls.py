from __future__ import annotations

from dataclasses import replace
from typing import Any

import gradio as gr
import pytest

from lora_studio.events import Finished, Paused, Started, StateSaved, StepDone, Stopped
from lora_studio.records import JobRecord, JobStatus
from lora_studio.store.job_store import JobStore
from lora_studio.studio import Studio
from lora_studio.training_request import StartTraining
from lora_studio.ui.blocks import build
from lora_studio.ui.endpoints.endpoints import Endpoints
from lora_studio.ui.endpoints.library_endpoints import LibraryEndpoints
from lora_studio.ui.page import Page
from lora_studio.ui.train import run_controls, training_views
from lora_studio.ui.upload.example_pictures import example_files
from tests.support.library_entries import write_result

NAMES = ("pause", "save", "preview", "resume", "fork")


@pytest.fixture
def job(studio: Studio) -> JobRecord:
    dataset = studio.datasets.create("Ink", example_files("ink"))
    return studio.trainings.start(StartTraining(dataset_id=dataset.id, name="Ink", kind="style"))


@pytest.fixture
def store(studio: Studio) -> JobStore:
    return JobStore(studio.database)


def run(store: JobStore, job_id: str, *events: Any) -> JobRecord:
    store.claim(job_id, "test")
    started = Started(total_steps=10, phases=("train",), device="cpu", dtype="fp32")
    step = StepDone(step=3, total_steps=10, loss=0.5, average_loss=0.5, learning_rate=1.0, seconds=1.0)
    for event in (started, step, *events):
        store.append(job_id, event)
    return store.get(job_id)


def seen(job: JobRecord | None) -> set[str]:
    return {name for name, update in zip(NAMES, run_controls.updates(job), strict=True) if update["visible"]}


def test_each_status_has_its_buttons(store: JobStore, job: JobRecord) -> None:
    state = StateSaved(step=3, path="s")
    assert seen(None) == set()
    assert seen(job) == {"pause"}
    assert seen(run(store, job.id)) == {"pause", "save", "preview"}
    assert seen(run(store, job.id, Stopped(step=3))) == {"resume"}, "there are no weights for a new run"
    assert seen(run(store, job.id, state, Paused(step=3))) == {"resume"}
    assert seen(run(store, job.id, state, Stopped(step=3))) == {"resume", "fork"}


def test_another_program_s_training_can_only_be_stopped(store: JobStore, job: JobRecord) -> None:
    other = {**job.config, "run": {**job.config.get("run", {}), "engine": "sd-scripts"}}
    assert seen(replace(job, config=other)) == set()
    assert seen(replace(run(store, job.id), config=other)) == set()


def test_buttons_have_names_and_bring_the_page_up_to_date(page: Page) -> None:
    config = page.get_config_file()
    buttons = {
        part["props"].get("elem_id"): part for part in config["components"] if part["type"] == "button"
    }
    said = {
        "train-pause": "Pause",
        "train-save-now": "Save now",
        "train-preview-now": "Preview now",
        "train-resume": "Go on",
        "train-fork": "Train on from these weights",
    }
    for elem_id, value in said.items():
        part = buttons[elem_id]
        assert part["props"]["value"] == value
        targets = [d for d in config["dependencies"] if (part["id"], "click") in map(tuple, d["targets"])]
        assert len(targets) == 1
        assert targets[0]["queue"]


def test_a_click_acts_on_the_training_that_is_shown(studio: Studio, store: JobStore, job: JobRecord) -> None:
    run(store, job.id)
    page = build(studio)
    clicks = {
        page.blocks[block].elem_id: function.fn
        for function in page.fns.values()
        for block, event in function.targets
        if event == "click"
    }
    for chosen in (job.id, ""):
        assert clicks["train-save-now"](chosen) == job.id
    assert [store.take_command(job.id) for _ in range(3)] == ["save", "save", None]
    assert clicks["train-pause"](job.id) == job.id
    assert store.get(job.id).status == JobStatus.PAUSING
    for wrong in ("../../etc", "000000000000"):
        with pytest.raises(gr.Error, match="training"):
            clicks["train-resume"](wrong)


def test_the_page_says_where_it_paused(store: JobStore, job: JobRecord) -> None:
    paused = run(store, job.id, StateSaved(step=3, path="s"), Paused(step=3))
    assert training_views.sentence(paused) == (
        "Paused at step 3 of 10. It can go on at any time, also after a restart."
    )
    assert 'class="pill paused"' in training_views.job_card(paused)
    run(store, store.resume(job.id).id)
    store.command(job.id, "pause")
    assert training_views.sentence(store.get(job.id)) == "Pausing after this step."


def test_who_is_told_of_an_end_finds_the_lora_at_once(
    studio: Studio, store: JobStore, job: JobRecord
) -> None:
    api, library = Endpoints(studio), LibraryEndpoints(studio)
    folder = write_result(studio.settings, "ink")
    assert run(store, job.id, Finished(path=str(folder), steps=10, seconds=1.0)).status is JobStatus.FINISHED
    assert library.list_loras() == []
    assert api.training_status(job.id)["lora_slug"] == "ink"
    assert [one["slug"] for one in library.list_loras()] == ["ink"]
    studio.gallery.delete_lora("ink")
    assert api.training_status(job.id)["status"] == "finished"


def test_the_endpoints_steer_too(studio: Studio, store: JobStore, job: JobRecord) -> None:
    api = Endpoints(studio)
    run(store, job.id)
    assert api.save_now(job.id)["status"] == "running"
    assert api.preview_now(job.id)["resume_step"] is None
    assert api.pause_training(job.id)["status"] == "pausing"
    run(store, job.id, StateSaved(step=3, path="s"), Paused(step=3))
    assert api.training_status(job.id)["resume_step"] == 3
    (studio.settings.loras / "ink" / "state").mkdir(parents=True)
    assert api.resume_training(job.id)["status"] == "queued"
    run(store, job.id, Stopped(step=3))
    fork = api.resume_training(job.id, as_new_run=True)
    assert fork["job_id"] != job.id
    assert store.get(fork["job_id"]).fork_of == str(studio.settings.loras / "ink" / "state")


def test_going_on_is_no_second_main_button_beside_the_way_to_the_lora() -> None:
    resume = NAMES.index("resume")
    assert run_controls.updates(None)[resume]["variant"] == "primary"
    assert run_controls.updates(None, has_lora=True)[resume]["variant"] == "secondary"


def test_what_rests_is_there_to_go_on(studio: Studio, store: JobStore, job: JobRecord) -> None:
    """Also where it can be drawn with already."""
    run(store, job.id, StateSaved(step=3, path="s"), Paused(step=3))
    resume = NAMES.index("resume")
    assert run_controls.updates(store.get(job.id), has_lora=True)[resume]["variant"] == "primary"
