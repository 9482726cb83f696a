"""LoRAs that tags and axes call by their titles."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lora_studio.errors import ConfigError, StoreError
from lora_studio.grids.axis_values import split_values
from lora_studio.grids.grid_cells import plan_grid
from lora_studio.grids.grid_request import GridRequest
from lora_studio.grids.lora_axis import with_slugs
from lora_studio.lora.names import as_slug
from lora_studio.prompts.expand import untagged
from tests.support.strange_loras import strange_lora


@pytest.fixture
def loras(tmp_path: Path) -> Path:
    titles = {"lora": "猫の絵", "groe": "Größe 猫", "ink": "Ink: thin, black", "a": "Same", "b": "same"}
    for number, (slug, title) in enumerate(titles.items()):
        strange_lora(tmp_path / slug / f"{slug}.safetensors", {"modelspec.title": title}, value=float(number))
    return tmp_path


def grid(parameter: str, values: str, **request: Any) -> GridRequest:
    x = {"parameter": parameter, "values": values}
    return GridRequest(request={"prompt": "a cat", "seed": 3, **request}, x=x)


@pytest.mark.parametrize(
    ("given", "slugs"),
    [
        ("猫の絵, größe 猫:0.5, none", ["lora", "groe:0.5", "none"]),
        ('"Ink: thin, black", "Ink: thin, black:0.7"', ["ink", "ink:0.7"]),
        ("groe, unknown:1", ["groe", "unknown:1"]),
    ],
)
def test_an_axis_of_loras_takes_titles(loras: Path, given: str, slugs: list[str]) -> None:
    assert split_values(with_slugs(grid("lora", given), loras).x.values) == slugs


def test_the_weight_of_a_title(loras: Path) -> None:
    asked = grid("lora_weight:猫の絵", "0, 1", loras=[{"slug": "lora"}])
    plan = plan_grid(with_slugs(asked, loras))
    assert [cell.request.loras[0].weight for cell in plan.cells] == [0, 1]
    assert {cell.request.loras[0].slug for cell in plan.cells} == {"lora"}


def test_other_axes_stay_as_they_are(loras: Path) -> None:
    for parameter, values in (
        ("seed", "1-3"),
        ("prompt_replace", '"a, cat", 猫の絵'),
        ("lora_weight", "0, 1"),
    ):
        asked = grid(parameter, values)
        assert with_slugs(asked, loras) == asked


def test_a_title_of_two_is_refused_with_both(loras: Path) -> None:
    with pytest.raises(StoreError, match="a, b"):
        with_slugs(grid("lora", "SAME"), loras)
    with pytest.raises(ConfigError):
        plan_grid(with_slugs(grid("lora", "../x"), loras))


@pytest.mark.parametrize(
    ("prompt", "uses"),
    [
        ("a <lora:猫の絵:0.8> dog", [("lora", 0.8)]),
        ("a dog <lora:GRÖSSE 猫>", [("groe", 1.0)]),
        ("<lora:groe:0.5> and <lyco:猫の絵:0.2>", [("groe", 0.5), ("lora", 0.2)]),
        ("<lora:not there yet:0.5>", []),
        ("<lora:not-there:0.5>", [("not-there", 0.5)]),
        ("<lora:same:1>", []),
    ],
)
def test_tags_take_titles(loras: Path, prompt: str, uses: list[tuple[str, float]]) -> None:
    if not uses:
        with pytest.raises(StoreError):
            untagged(prompt, "", (), lambda name: as_slug(name, loras))
        return
    found = untagged(prompt, "", (), lambda name: as_slug(name, loras))
    assert [(use.slug, use.weight) for use in found.loras] == uses
