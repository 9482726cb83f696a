from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from lora_studio.errors import ConfigError
from lora_studio.request import MAX_SEED, GenerateRequest, LoraUse


def test_an_empty_request_leaves_everything_to_the_base() -> None:
    request = GenerateRequest()
    assert request.base == "starter"
    assert request.count == 1
    assert request.insert_trigger
    opened = (
        request.num_inference_steps,
        request.guidance_scale,
        request.width,
        request.height,
        request.seed,
    )
    assert opened == (None,) * 5


def test_strings_as_typed_become_numbers() -> None:
    request = GenerateRequest(width="512", guidance_scale="7.5", seed="3", count="2")
    assert (request.width, request.guidance_scale, request.seed, request.count) == (512, 7.5, 3, 2)


def test_the_json_form_comes_back() -> None:
    request = GenerateRequest(
        prompt='two\nlines, "é" 猫', loras=[LoraUse(slug="ink", weight=-0.5), {"slug": "b"}], seed=MAX_SEED
    )
    assert GenerateRequest.model_validate_json(request.model_dump_json()) == request
    assert GenerateRequest(**request.model_dump(mode="json")) == request


def test_it_is_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        GenerateRequest().seed = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("values", "field", "says"),
    [
        ({"num_inference_steps": 0}, "num_inference_steps", "a whole number from 1 to 200 is needed (got 0)"),
        ({"num_inference_steps": 201}, "num_inference_steps", "from 1 to 200 is needed (got 201)"),
        ({"guidance_scale": "much"}, "guidance_scale", "a number from 0 to 30 is needed (got 'much')"),
        ({"guidance_scale": float("nan")}, "guidance_scale", "a number from 0 to 30 is needed (got nan)"),
        ({"width": 16}, "width", "from 32 to 2,048, a multiple of 8,"),
        ({"height": 4096}, "height", "from 32 to 2,048, a multiple of 8,"),
        ({"seed": -1}, "seed", "a whole number from 0 to"),
        ({"seed": MAX_SEED + 1}, "seed", f"to {MAX_SEED:,} is needed"),
        ({"count": 17}, "count", "a whole number from 1 to 16 is needed (got 17)"),
        ({"prompt": "x" * 10_001}, "prompt", "10,001 characters are too many"),
        ({"base": ""}, "base", "base is empty"),
        ({"steps": 5}, "steps", "There is no setting called 'steps'"),
        (
            {"loras": [{"slug": "ink", "weight": 5}]},
            "loras.0.weight",
            "a number from -4 to 4 is needed (got 5)",
        ),
    ],
)
def test_what_is_out_of_range_is_named_in_a_sentence(values: dict[str, Any], field: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        GenerateRequest(**values)
    assert caught.value.field == field
    assert says in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("width", [510, "510"])
def test_a_size_between_the_steps_names_the_nearest(width: object) -> None:
    with pytest.raises(ConfigError, match=r"multiple of 8, is needed \(got '?510'?\)\. The nearest is 512\."):
        GenerateRequest(width=width)


@pytest.mark.parametrize(
    "slug", ["../x", "a/b", "a\\b", "/etc", ".", "", "A", "a b", "a.safetensors", "-a", "a\n", "é", "a" * 65]
)
def test_a_lora_is_named_by_its_slug_never_by_a_path(slug: str) -> None:
    with pytest.raises(ConfigError) as caught:
        GenerateRequest(loras=[{"slug": slug}])
    assert caught.value.field == "loras.0.slug"


def test_half_a_character_is_refused() -> None:
    """A lone surrogate can't be written to a file."""
    with pytest.raises(ConfigError):
        GenerateRequest(prompt="\ud800")
