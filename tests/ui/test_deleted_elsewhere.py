"""What is deleted elsewhere is said, comes back with Undo, and leaves no button that can't work."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from lora_studio.events import PreviewSaved, Started, StateSaved, StepDone, Stopped
from lora_studio.jobs.generation_queue import GenerationJob, GenerationResult, GenerationState
from lora_studio.records import JobRecord, LoraRecord
from lora_studio.request import GeneratedImage, GenerateRequest
from lora_studio.store.job_store import JobStore
from lora_studio.studio import Studio
from lora_studio.training_request import StartTraining
from lora_studio.ui.client_input import deleted_elsewhere
from lora_studio.ui.generate import generation_progress
from lora_studio.ui.refresh import PageRefresh
from lora_studio.ui.train import train_tab
from lora_studio.ui.upload.example_pictures import example_files

STEERING = ("pause", "save", "preview", "resume", "fork")


@pytest.fixture
def lora(studio: Studio, tmp_path: Path) -> LoraRecord:
    layer = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"
    parts = {"lora_down.weight": (4, 768), "lora_up.weight": (320, 4)}
    file = tmp_path / "ink.safetensors"
    save_file({f"{layer}.{part}": np.ones(shape, np.float32) for part, shape in parts.items()}, file)
    return studio.gallery.import_lora(file)


@pytest.fixture
def stopped(studio: Studio) -> JobRecord:
    """A training that was stopped, with a state, a preview and a folder."""
    dataset = studio.datasets.create("Ink", example_files("ink"))
    job = studio.trainings.start(StartTraining(dataset_id=dataset.id, name="Ink", kind="style"))
    store, folder = JobStore(studio.database), Path(job.config["output"]["output_dir"])
    store.claim(job.id, "test")
    picture = folder / "previews" / "step-3-1.png"
    picture.parent.mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(picture)
    for event in (
        Started(total_steps=10, phases=("train",), device="cpu", dtype="fp32"),
        StepDone(step=3, total_steps=10, loss=0.5, average_loss=0.5, learning_rate=1.0, seconds=1.0),
        PreviewSaved(step=3, path=str(picture), base_path=str(picture), prompt="a cat", seed=1),
        StateSaved(step=3, path=str(folder / "state")),
        Stopped(step=3),
    ):
        store.append(job.id, event)
    return store.get(job.id)


def seen(studio: Studio, job: JobRecord) -> tuple[str, set[str], str]:
    """The card, the buttons that are shown, the previews."""
    card, _, *others = train_tab.job_updates(studio, job, None)[0]
    names = ("use", "again", *STEERING)
    shown = {name for name, update in zip(names, others[: len(names)], strict=True) if update["visible"]}
    return card, shown, others[-2]


def test_a_training_whose_folder_is_gone_offers_only_what_works(studio: Studio, stopped: JobRecord) -> None:
    card, buttons, previews = seen(studio, stopped)
    assert "deleted" not in card
    assert buttons == {"again", "resume", "fork"}
    assert "a cat" in previews
    folder = Path(stopped.config["output"]["output_dir"])
    before = deleted_elsewhere.stamp(studio.settings)
    token = studio.gallery._trash.put("lora", "Ink", [folder])
    assert deleted_elsewhere.stamp(studio.settings) != before
    card, buttons, previews = seen(studio, stopped)
    assert "deleted" in card
    assert f'data-id="{token}"' in card
    assert buttons == {"again"}
    assert previews == ""
    deleted_elsewhere.undo(studio, token)
    assert seen(studio, stopped)[1] == {"again", "resume", "fork"}


def test_a_training_without_its_pictures_can_t_go_on(studio: Studio, stopped: JobRecord) -> None:
    token = studio.datasets.delete(studio.datasets.datasets()[0].id)
    card, buttons, _ = seen(studio, stopped)
    assert f'data-id="{token}"' in card
    assert buttons == set()
    record = deleted_elsewhere.undo(studio, token)
    assert record is not None
    assert record.path == stopped.config["dataset"]["train_data_dir"]
    shutil.rmtree(record.path)  # by hand: nothing brings it back
    card, buttons, _ = seen(studio, stopped)
    assert "deleted" in card
    assert "data-action" not in card
    assert buttons == set()


NOWHERE = ("", "", "", "1", "newest", "", "", "1", "")
"""Nothing is chosen in the Gallery, and the first pages are looked at."""


def look(live: PageRefresh, *shelves: Any) -> dict[Any, Any]:
    return {part: gr.skip() for part in live.outputs} | live.look(None, "", "", "", "", "", *shelves)


def test_what_is_chosen_on_the_page_and_deleted_elsewhere_is_let_go(
    studio: Studio, lora: LoraRecord, live: PageRefresh
) -> None:
    record = studio.datasets.create("Ink", example_files("ink"))
    kept = look(live, lora.slug, "", "", "1", "newest", "", "", "1", "", record.id, [lora.slug])
    for part in (live.gallery.loras.details, live.upload.dataset, live.generate.gone):
        assert kept[part] == gr.skip()
    tokens = studio.gallery.delete_lora(lora.slug), studio.datasets.delete(record.id)
    gone = look(live, lora.slug, "", "", "1", "newest", "", "", "1", "", record.id, [lora.slug])
    assert gone[live.gallery.loras.chosen] == gone[live.upload.dataset] == ""
    assert gone[live.gallery.loras.actions]["visible"] is False
    assert tokens[0] in gone[live.gallery.loras.details]
    assert tokens[1] in gone[live.upload.pictures]
    assert gone[live.generate.loras]["value"] == []
    assert tokens[0] in gone[live.generate.gone]


def test_weights_that_a_choice_left_behind_are_put_right(
    studio: Studio, lora: LoraRecord, live: PageRefresh
) -> None:
    weights = [0.5, *[1.0] * 7, "0.25", *[""] * 7]
    shown = live.generate.weights
    left = [0.1, *weights[:7], *weights[8:], ""]
    late = look(live, *NOWHERE, "", [lora.slug], ["sea", lora.slug], *left)
    assert (late[shown[0]]["value"], late[shown[0]]["visible"]) == (0.5, True)
    assert late[live.generate.order] == [lora.slug]
    right = look(live, *NOWHERE, "", [lora.slug], [lora.slug], *weights)
    assert right[shown[0]] == right[live.generate.order] == gr.skip()
    studio.gallery.delete_lora(lora.slug)
    gone = look(live, *NOWHERE, "", [lora.slug], [lora.slug], *weights)
    assert [gone[slider]["visible"] for slider in shown] == [False] * len(shown)
    assert gone[live.generate.order] == []


def test_results_say_which_of_them_were_deleted(studio: Studio) -> None:
    path = studio.settings.images / "one.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8)).save(path)
    request = GenerateRequest(prompt="a cat", seed=7)
    image = studio.gallery.add_image(
        GeneratedImage(path=str(path), width=8, height=8, seed=7, infotext="", request=request)
    )
    ticket = GenerationJob(id="c", state=GenerationState.FINISHED, made=GenerationResult(images=(image,)))
    (_, shown, *_), mark = generation_progress.updates(studio, ticket, None)
    assert "<img" in shown
    token = studio.gallery.delete_image(image.id)
    (_, shown, *_), later = generation_progress.updates(studio, ticket, mark)
    assert later != mark
    assert "<img" not in shown
    assert f'data-action="undo" data-id="{token}"' in shown
    assert 'data-action="again"' not in shown
    assert token in deleted_elsewhere.chosen_image(studio, image.id)
    deleted_elsewhere.undo(studio, token)
    assert "<img" in generation_progress.updates(studio, ticket, later)[0][1]
