"""What a page's address names, looked up for who opens it."""

from __future__ import annotations

from typing import Any

import gradio as gr
import pytest

from lora_studio.errors import StudioError
from lora_studio.studio import Studio
from lora_studio.training_request import StartTraining
from lora_studio.ui.page_address import Places, told
from lora_studio.ui.refresh import PageRefresh
from lora_studio.ui.upload.example_pictures import example_files
from tests.support.library_entries import draw, write_result

SKIP = gr.skip()


@pytest.fixture
def places(live: PageRefresh) -> Places:
    return Places(train=live.train, gallery=live.gallery, generate=live.generate)


def named(places: Places, values: list[Any]) -> dict[str, Any]:
    """What is not left as it is, by the ids of the components."""
    pairs = zip(places.outputs, values, strict=True)
    return {str(part.elem_id): value for part, value in pairs if value != SKIP}


def test_a_training_is_found_by_its_id(studio: Studio, places: Places) -> None:
    dataset = studio.datasets.create("Ink", example_files("ink"))
    job = studio.trainings.start(StartTraining(dataset_id=dataset.id, name="Ink", kind="style"))
    assert named(places, places.looked_up(studio, {"training": job.id})) == {"train-job": job.id}


def test_a_lora_and_a_picture_are_found_on_their_shelf(studio: Studio, places: Places) -> None:
    write_result(studio.settings, "addressed")
    studio.gallery.scan()
    picture = studio.gallery.add_image(draw(studio.settings, "addressed"))
    found = named(places, places.looked_up(studio, {"lora": "addressed", "image": ""}))
    assert (found["gallery-lora-chosen"], found["gallery-image-chosen"]) == ("addressed", "")
    assert found["gallery-tabs"].selected == "gallery-loras"
    found = named(places, places.looked_up(studio, {"lora": "", "image": picture.id}))
    assert (found["gallery-lora-chosen"], found["gallery-image-chosen"]) == ("", picture.id)
    assert found["gallery-tabs"].selected == "gallery-images"


def test_nothing_named_leaves_and_an_empty_name_takes_back(studio: Studio, places: Places) -> None:
    assert named(places, places.looked_up(studio, {})) == {}
    found = named(places, places.looked_up(studio, {"training": "", "lora": "", "image": ""}))
    assert found["train-job"] == found["gallery-lora-chosen"] == found["gallery-image-chosen"] == ""


def test_what_is_not_here_is_refused(studio: Studio, places: Places) -> None:
    for asked in (
        *({"training": "no id"}, {"training": ["x"]}, {"lora": "no-such-lora"}, {"lora": {"a": 1}}),
        *({"image": "0" * 64}, {"image": "../x"}, {"image": 7}),
    ):
        with pytest.raises(StudioError):
            places.looked_up(studio, asked)


def test_each_look_tells_the_address_what_is_shown(live: PageRefresh, places: Places) -> None:
    script = told(live.inputs, places)
    for name, part in (
        *(("training", live.train.job), ("lora", live.gallery.loras.chosen)),
        ("image", live.gallery.images.chosen),
    ):
        assert f"{name}: values[{live.inputs.index(part)}]" in script
