"""Upload set up as another training was: all that was asked for, and nothing that its preset gives anyway."""

from __future__ import annotations

import gradio as gr
import pytest

from lora_studio.config import TrainConfig
from lora_studio.errors import StoreError
from lora_studio.records import JobRecord
from lora_studio.store.job_store import JobStore
from lora_studio.studio import Studio
from lora_studio.training_request import StartTraining
from lora_studio.ui.refresh import PageRefresh
from lora_studio.ui.train import train_tab
from lora_studio.ui.upload import repeated_training
from lora_studio.ui.upload.example_pictures import example_files
from tests.support.html import parse

OVERRIDES = {"max_train_steps": 77, "learning_rate": 3e-4, "flip_aug": True, "sample_prompts": ("a", "b")}


@pytest.fixture
def job(studio: Studio) -> JobRecord:
    dataset = studio.datasets.create("Ink", example_files("ink"))
    wanted = StartTraining(
        dataset_id=dataset.id, name="Ink", kind="style", trigger="zwq", overrides=OVERRIDES
    )
    made = studio.trainings.start(wanted)
    return JobStore(studio.database).stop(made.id)


def filled(live: PageRefresh, studio: Studio, job: JobRecord) -> dict[object, object]:
    outputs = repeated_training.outputs(live.upload)
    values = repeated_training.repeated(live.upload, studio, job)
    return dict(zip(outputs, values, strict=True))


def test_all_is_as_it_was_and_the_same_training_comes_of_it(
    live: PageRefresh, studio: Studio, job: JobRecord
) -> None:
    upload, found = live.upload, filled(live, studio, job)
    assert [found[part] for part in (upload.kind, upload.name, upload.trigger, upload.base)] == [
        *("style", "Ink", "zwq", "starter")
    ]
    assert studio.datasets.get(str(found[upload.dataset])).images == 10
    texts = {name: found[field]["value"] for name, field in upload.form.fields.items()}
    assert {name: text for name, text in texts.items() if text not in ("", "automatic")} == {
        "max_train_steps": "77",
        "learning_rate": "0.0003",
        "flip_aug": "on",
        "sample_prompts": "a\nb",
    }
    again = upload.started(studio, [*(found[part] for part in upload.subject), *texts.values()])
    before, after = (TrainConfig.from_json(one.config).values() for one in (job, studio.jobs.get(again)))
    different = {name for name, value in after.items() if value != before[name]}
    assert different <= {"output_name", "output_dir"}


def test_the_banner_leads_to_what_is_changed_most(job: JobRecord) -> None:
    buttons = [one for one in parse(repeated_training.banner(job)).iter("button") if one.get("data-field")]
    assert [one.get("data-field") for one in buttons] == [
        *("train-max_train_steps", "train-learning_rate", "train-network_dim", "train-resolution")
    ]
    assert all("upload-settings" in str(one.get("data-folds")) for one in buttons)


def test_without_its_pictures_it_is_refused(live: PageRefresh, studio: Studio, job: JobRecord) -> None:
    (dataset,) = studio.datasets.datasets()
    studio.datasets.delete(dataset.id)
    with pytest.raises(StoreError, match="pictures of Ink are not here"):
        repeated_training.repeated(live.upload, studio, job)
    elsewhere = {**job.config, "dataset": {**job.config["dataset"], "train_data_dir": "/etc"}}
    with pytest.raises(StoreError, match="not here"):
        filled(live, studio, JobRecord(**{**vars(job), "config": elsewhere}))


def test_the_button_is_there_once_a_training_has_ended(studio: Studio, job: JobRecord) -> None:
    places = [part == "change" for part in ("card", "ready", "use", "again", *"12345", "change")]
    ended, _ = train_tab.job_updates(studio, job, None)
    assert ended[places.index(True)] == gr.update(visible=True)
    running, _ = train_tab.job_updates(studio, JobStore(studio.database).resume(job.id), None)
    assert running[places.index(True)] == gr.update(visible=False)
