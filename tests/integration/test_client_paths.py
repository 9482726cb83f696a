"""Paths and hub ids from a client, in every text of every endpoint: whatever lies there, the answer is the
same, so that nothing of the server is read and nothing can be found out."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from lora_studio.config import config_leaves
from lora_studio.grids.grid_request import PARAMETERS
from tests.integration.endpoint_table import ENDPOINTS, World, right_values
from tests.support.api_caller import Caller, write_lora, write_picture
from tests.support.serving import CHECKOUT, running_app
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.slow

PASSWORD = "correct horse"
KINDS = ("aa", "bb", "cc")
"""What lies there: a LoRA, a base model, nothing."""
TEXTS = tuple(leaf.name for leaf in config_leaves() if leaf.annotation not in (int, float, bool))
INSIDE: Mapping[str, tuple[str, ...]] = {
    "start_training": TEXTS,
    "plan_training": TEXTS,
    "check_dataset": TEXTS,
    "generate": ("base", "sampler", "hires_upscaler", "image_format"),
    "generate_base64": ("base", "sampler"),
    "img2img": ("base", "sampler", "negative_prompt", "image", "mask_image"),
    "grid": ("base", "sampler", "negative_prompt", "image"),
}
"""Texts of the endpoint's options."""
Put = Callable[[dict[str, Any], str], dict[str, Any]]


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("outside")
    write_lora(folder / "aa")
    (folder / "bb").symlink_to(CHECKOUT / "models" / "starter", target_is_directory=True)
    return folder


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory, outside: Path) -> Iterator[Caller]:
    given = {"LORA_STUDIO_PASSWORD": PASSWORD, "HOME": str(outside), "USERPROFILE": str(outside)}
    with (
        running_app(tmp_path_factory.mktemp("app"), **given) as app,
        httpx.Client(base_url=app.address, timeout=PATIENCE, trust_env=False) as http,
    ):
        http.post("login", data={"username": "studio", "password": PASSWORD}).raise_for_status()
        yield Caller(app=app, http=http)


@pytest.fixture(scope="module")
def world(studio: Caller, tmp_path_factory: pytest.TempPathFactory) -> World:
    (picture,) = studio.upload(write_picture(tmp_path_factory.mktemp("world") / "teal.png"))
    return World(dataset="0" * 12, picture=picture)  # no set: what is accepted starts nothing


def spellings(outside: Path) -> list[str]:
    """With the kind left open."""
    near = os.path.relpath(outside, CHECKOUT)
    unc = "\\\\localhost\\c$" + str(outside).replace("/", "\\") + "\\{}"
    return [f"{outside}/{{}}", "~/{}", f"{near}/{{}}", f"file://{outside}/{{}}", unc, "someone/{}"]


def places(endpoint: str) -> Iterator[tuple[str, Put]]:
    """Where a text can be put: parameters, options, LoRAs, axes, and inside of prompts."""
    row = ENDPOINTS[endpoint]
    for name, (right, _) in row.items():
        if name in {"x", "y", "z"} or not (isinstance(right, str) or callable(right)):
            continue
        yield name, lambda values, text, name=name: {**values, name: text}  # type: ignore[misc]
    for option in INSIDE.get(endpoint, ()):
        yield (
            f"options.{option}",
            lambda values, text, option=option: {  # type: ignore[misc]
                **values,
                "options": {**values["options"], option: text},
            },
        )
    if "loras" in row:
        yield "loras", lambda values, text: {**values, "loras": [{"slug": text}]}
    if "prompt" in row:
        for around in ("<lora:{}:1>", "__{}__", "{{a|{}}}"):
            yield (
                f"prompt {around}",
                lambda values, text, around=around: {**values, "prompt": around.format(text)},  # type: ignore[misc]
            )
    if endpoint == "grid":
        for parameter in (*PARAMETERS, "lora_weight:{}"):
            yield (
                f"axis {parameter}",
                lambda values, text, parameter=parameter: {  # type: ignore[misc]
                    **values,
                    "x": {"parameter": parameter.format(text), "values": text},
                },
            )


def answer_of(studio: Caller, endpoint: str, values: Mapping[str, Any], text: str) -> tuple[int, str]:
    """Status and sentence, without what was sent."""
    answer = studio.post(endpoint, list(values.values()))
    said = answer.json().get("error") or "" if answer.status_code != 200 else ""
    for end in range(len(text), 7, -1):  # a sentence may say only the beginning again
        said = said.replace(text[:end], "…")
    return answer.status_code, re.sub(r"\b(?:aa|bb|cc)\b", "…", said)


@pytest.mark.parametrize("endpoint", [name for name, row in ENDPOINTS.items() if row])
def test_an_answer_tells_nothing_of_what_lies_there(
    studio: Caller, world: World, outside: Path, endpoint: str
) -> None:
    right = right_values(ENDPOINTS[endpoint], world)
    before = len(studio.bugs())
    for place, put in places(endpoint):
        is_base = place.endswith("base")
        drawn = place.startswith(("prompt", "negative_prompt", "options.negative_prompt", "axis prompt"))
        tried = None if is_base else 1 if drawn else 2  # a picture each takes its time
        for spelling in spellings(outside)[:tried]:
            sent = [(spelling.format(kind), put(right, spelling.format(kind))) for kind in KINDS]
            answers = {answer_of(studio, endpoint, values, text) for text, values in sent}
            assert len(answers) == 1, (place, spelling, answers)
            if is_base:
                assert next(iter(answers))[0] == 500, (place, spelling)
    assert len(studio.bugs()) == before


def test_every_text_is_tried() -> None:
    """The places follow from the tables, so that a new endpoint or setting is tried by itself."""
    tried = {(endpoint, place) for endpoint in ENDPOINTS for place, _ in places(endpoint)}
    assert {
        ("grid", "axis base"),
        ("generate", "base"),
        ("start_training", "options.network_weights"),
    } <= tried
    assert len(tried) > 150
