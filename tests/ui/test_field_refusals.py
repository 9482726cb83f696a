"""Refusals at their fields: all at once, in the page's own words, and only for whoever made the mistake."""

from __future__ import annotations

from typing import Any

import gradio as gr
import pytest

from lora_studio.access.roles import Role
from lora_studio.access.visitor import Visitor, acting
from lora_studio.config import TrainConfig
from lora_studio.errors import ConfigError, ModelFileError
from lora_studio.studio import Studio
from lora_studio.ui.client_input.field_refusals import FieldPlace, FieldRefusals, RefusalList
from lora_studio.ui.generate import request_places
from lora_studio.ui.generate.generate_requests import DRAW, build_request
from lora_studio.ui.generate.grid_fields import asked_grid, submit_asked
from lora_studio.ui.upload import setup_places
from lora_studio.ui.upload.example_pictures import example_files
from lora_studio.ui.upload.setup_panel import start_training
from tests.support.html import parse
from tests.support.refusals import refused

NAME = FieldPlace(element="upload-name", label="Name")


def session(name: str) -> Any:
    """A call of that session's, as far as a handler looks at it."""
    request = gr.Request()
    request.session_hash = name
    return request


def refusing(error: Exception) -> tuple[FieldRefusals, Any]:
    def action(_: gr.Request) -> None:
        raise error

    refusals = FieldRefusals(lambda one: NAME if one.field == "name" else None)
    return refusals, refusals.guarded(action)


def test_all_questions_and_settings_are_refused_at_once_in_the_labels_words(studio: Studio) -> None:
    typed = {"max_train_steps": "many", "algo": "magic", "min_bucket_reso": "7", "network_dim": "8"}
    with refused("pictures") as caught:
        start_training(studio, ["", None, "../x", None, "nowhere"], typed)
    found = {one.field: str(one) for one in caught.value.each}
    assert list(found) == [
        *("pictures", "kind", "name", "base", "algo"),
        *("min_bucket_reso", "max_train_steps"),
    ]
    assert found["max_train_steps"].startswith("Steps: a whole number from 1 to 1,000,000 is needed")
    assert found["min_bucket_reso"].startswith("Shortest side: ")
    assert found["algo"].startswith("Kind of network: choose one of")
    places = [setup_places.place_of(one) for one in caught.value.each]
    assert [place.element for place in places if place] == [
        *("upload-files", "upload-kind", "upload-name", "upload-base", "train-algo"),
        *("train-min_bucket_reso", "train-max_train_steps"),
    ]
    assert [place.folds for place in places if place][4:] == [
        ("upload-settings", "train-advanced-networks"),
        ("upload-settings", "train-advanced-dataset"),
        ("upload-settings",),
    ]
    assert not studio.jobs.jobs()


def test_settings_that_disagree_are_named_as_the_page_names_them(studio: Studio) -> None:
    dataset = studio.datasets.create("Ink", example_files("ink")[:1])
    with pytest.raises(ConfigError) as caught:
        start_training(
            studio,
            [dataset.id, "style", "Ink", "", "starter"],
            {"min_bucket_reso": "512", "max_bucket_reso": "64"},
        )
    words = {one.field: one.message for one in caught.value.each}
    assert words["min_bucket_reso"] == "“Shortest side” must not be above “Longest side”."


def test_a_config_names_every_setting_at_fault() -> None:
    with refused("train_data_dir") as caught:
        TrainConfig.from_values(
            {
                "output_name": "a",
                "pretrained_model_name_or_path": "starter",
                "resolution": 1,
                "network_dim": 0,
            }
        )
    assert {one.field for one in caught.value.each} >= {"resolution", "network_dim", "train_data_dir"}


def test_a_request_s_fields_are_refused_at_once(studio: Studio) -> None:
    values: dict[str, Any] = {"base": "nowhere", "loras": [], "insert_trigger": True, "mode": DRAW}
    with refused("base") as caught:
        build_request({**values, "count": "99", "width": "100"}, studio)
    assert [one.field for one in caught.value.each] == ["base", "width", "count"]
    places = [request_places.place_of(one) for one in caught.value.each]
    assert [place.element for place in places if place] == [
        *("generate-base", "generate-width", "generate-count"),
    ]


def test_an_axis_is_refused_at_the_field_that_says_it(studio: Studio) -> None:
    values: dict[str, Any] = {"base": "starter", "loras": [], "insert_trigger": True, "count": "99"}
    axes = {"grid-x": "", "grid-y": "seed", "grid-y-values": "many", "grid-z": "width"}
    with refused("count") as caught:
        asked_grid({**values, **axes}, studio)
    assert [one.field for one in caught.value.each] == ["count", "grid-z-values"]
    with refused("grid-y-values"):
        asked_grid({**values, **axes, "count": "1", "grid-z": ""}, studio)
    too_many = {**axes, "count": "1", "grid-y-values": "1-100", "grid-z-values": "64, 128"}
    with refused("grid-y-values"):
        submit_asked({**values, **too_many}, studio, session="")


def test_what_has_a_field_is_no_toast_and_is_told_once_to_its_own_session() -> None:
    others = [ConfigError("The base is gone.", field="base")]
    refusals, start = refusing(ConfigError("The name is <empty>.", "Say one.", field="name"))
    with pytest.raises(gr.Error) as caught:
        start(session("ada"))
    assert not caught.value.visible
    assert refusals.take(session("bob")) == ""
    shown = parse(refusals.take(session("ada")))
    (row,) = [one for one in shown.iter("li") if one.get("data-element") == "upload-name"]
    assert "".join(row.itertext()).split() == ["Name", "The", "name", "is", "<empty>.", "Say", "one."]
    assert refusals.take(session("ada")) == ""

    refusals, start = refusing(ConfigError("The name is empty.", field="name", others=others))
    with pytest.raises(gr.Error, match="The base is gone") as caught:
        start(session("ada"))
    assert caught.value.visible
    assert "The base is gone" not in refusals.take(session("ada"))


def test_refusals_of_many_sessions_are_not_kept_for_ever() -> None:
    refusals, start = refusing(ConfigError("The name is empty.", field="name"))
    for number in range(300):
        with pytest.raises(gr.Error):
            start(session(str(number)))
    assert [bool(refusals.take(session(str(number)))) for number in (0, 150, 250, 299)] == [
        *(False, False, True, True),
    ]


def test_a_list_of_refusals_takes_what_has_a_field_and_lets_faults_pass() -> None:
    found = RefusalList()
    with found.at("base"):
        raise ModelFileError("There is no such base.")
    with pytest.raises(ModelFileError), found.at():
        raise ModelFileError("There is no such base.")
    with pytest.raises(ZeroDivisionError), found.at("base"):
        raise ZeroDivisionError
    with refused("base"):
        found.raise_all()
    RefusalList().raise_all()


@pytest.mark.parametrize("hash_", ["", "abc"])
def test_nobody_takes_what_was_refused_to_somebody_else(hash_: str) -> None:
    refusals, action = refusing(ConfigError("Name: “my secret” is taken.", field="name"))
    ada, eve = (Visitor(name=name, role=Role.TRAINER) for name in ("ada", "eve"))
    with acting(ada), pytest.raises(gr.Error):
        action(session(hash_))
    with acting(eve):
        assert refusals.take(session(hash_)) == ""
    with acting(ada):
        assert "my secret" in refusals.take(session(hash_))
