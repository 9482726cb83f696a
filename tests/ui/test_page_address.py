"""What a page's address names, looked up for who opens it."""

from __future__ import annotations

import gradio as gr
import pytest

from lora_studio.errors import StudioError
from lora_studio.studio import Studio
from lora_studio.training_request import StartTraining
from lora_studio.ui.blocks import build
from lora_studio.ui.page_address import looked_up, told
from lora_studio.ui.upload.example_pictures import example_files

SKIP = gr.skip()


def test_a_training_is_found_by_its_id(studio: Studio) -> None:
    dataset = studio.datasets.create("Ink", example_files("ink"))
    job = studio.trainings.start(StartTraining(dataset_id=dataset.id, name="Ink", kind="style"))
    assert looked_up(studio, job.id, None, 2) == [job.id, SKIP, SKIP]


def test_nothing_named_leaves_and_an_empty_name_takes_back(studio: Studio) -> None:
    assert looked_up(studio, None, None, 2) == [SKIP] * 3
    job, chosen, *_ = looked_up(studio, "", "", 6)
    assert (job, chosen) == ("", "")


@pytest.mark.parametrize("asked", [("no id", None), (None, "no-such-lora"), (["x"], None), (None, {"a": 1})])
def test_what_is_not_here_is_refused(studio: Studio, asked: tuple[object, object]) -> None:
    with pytest.raises(StudioError):
        looked_up(studio, *asked, 6)


def test_each_look_tells_the_address_what_is_shown(studio: Studio) -> None:
    live = build(studio).refresh
    script = told(live.inputs, live.train, live.gallery)
    assert str([live.inputs.index(live.train.job), live.inputs.index(live.gallery.loras.chosen)]) in script
    taken_back = looked_up(studio, None, "", len(live.gallery.lora_outputs))
    assert len(taken_back) == 1 + len(live.gallery.lora_outputs)
