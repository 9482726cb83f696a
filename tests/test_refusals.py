"""Validation errors as sentences: the setting by the name people know, what it takes, what was given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from lora_studio.config import TrainConfig, config_leaves
from lora_studio.errors import ConfigError
from lora_studio.grids.grid_request import GridRequest
from lora_studio.lora.file.lora_files import LONGEST_TITLE
from lora_studio.lora.names import given_title
from lora_studio.request import GenerateRequest
from lora_studio.studio import Studio
from lora_studio.training_setup import slug_of
from lora_studio.ui.generate.generate_requests import build_request

PYDANTIC = ("input should", "string should", "unable to parse", "field required", "extra inputs", "valid ")
WRONG: tuple[Any, ...] = ("many", "1.5", -(10**9), 10**9, 1e300, [], {}, True, "x" * 20_000, "\0")
NEEDED = {"pretrained_model_name_or_path": "starter", "train_data_dir": "p", "output_name": "a"}


def said(error: ConfigError) -> str:
    text = str(error)
    assert not [voice for voice in PYDANTIC if voice in text.lower()], text
    assert error.message.endswith(".")
    return text


def refused(build: Callable[[Any], Any], value: Any) -> ConfigError | None:
    try:
        build(value)
    except ConfigError as error:
        return error
    return None


@pytest.mark.parametrize("field", sorted(GenerateRequest.model_fields))
def test_no_field_of_a_request_speaks_with_the_checkers_voice(field: str) -> None:
    for value in WRONG:
        found = refused(
            lambda given: GenerateRequest.model_validate({field: given}, context={field: "The label"}), value
        )
        assert found is None or said(found).startswith("The label")


@pytest.mark.parametrize("name", [leaf.name for leaf in config_leaves()])
def test_no_setting_of_a_training_does(name: str) -> None:
    for value in WRONG:
        found = refused(
            lambda given: TrainConfig.from_values({**NEEDED, "output_dir": "o", name: given}), value
        )
        assert found is None or said(found)


def test_an_axis_is_named_as_on_the_page() -> None:
    with pytest.raises(ConfigError) as caught:
        GridRequest(request={}, x={"parameter": "seed", "values": ""})
    assert said(caught.value).startswith("X values is empty")


def test_the_page_says_its_own_labels(studio: Studio) -> None:
    values: dict[str, Any] = {"base": "starter", "loras": [], "insert_trigger": True}
    for name, typed, expected in (
        ("count", "99", "Pictures: a whole number from 1 to 16 is needed (got 99)."),
        ("num_inference_steps", "x", "Steps: a whole number from 1 to 200 is needed (got 'x')."),
        ("hires_steps", "0", "Hires steps: a whole number from 1 to 200 is needed"),
        ("width", "100", "Width (px): a whole number from 32 to 2,048, a multiple of 8, is needed"),
    ):
        with pytest.raises(ConfigError) as caught:
            build_request({**values, name: typed}, studio)
        assert expected in said(caught.value)


def test_names_have_one_rule(studio: Studio) -> None:
    assert given_title("  Ink\n drawings ") == "Ink drawings"
    longest = "n" * LONGEST_TITLE
    assert given_title(longest) == longest
    for name in ("n" * (LONGEST_TITLE + 1), "n" * 300, "n" * 5000):
        for give in (given_title, slug_of, lambda given: studio.datasets.create(given, [])):
            with pytest.raises(ConfigError) as caught:
                give(name)
            assert f"{len(name):,} characters are too many" in said(caught.value)
            assert caught.value.field == "name"
