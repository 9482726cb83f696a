"""Prompts and plan of a strength report."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lora_studio.catalog.strength_prompts import noun_in, strength_prompts
from lora_studio.errors import ConfigError
from lora_studio.grids.strength_request import StrengthRequest, plan_strength
from lora_studio.records import LoraRecord

RECORD = LoraRecord(
    id="ab" * 32,
    slug="disc",
    title="Disc",
    path="/nowhere/disc/disc.safetensors",
    family="",
    base="starter",
    trigger_word="zwx",
    kind="character",
)


def test_the_prompts_have_the_trigger_word_only_where_they_are_about_the_subject() -> None:
    for kind in ("person", "character", "object", "style"):
        for base in ("starter", "sdxl"):
            prompts = strength_prompts(kind, "zwx", base)  # type: ignore[arg-type]
            assert len(prompts.subject) == 3
            assert all("zwx" in prompt for prompt in prompts.subject)
            others = (*prompts.plain, *prompts.neighbours, *prompts.others)
            assert len(set(others)) == len(others) == 5
            assert not any("zwx" in prompt for prompt in others)


def test_a_noun_stands_behind_the_trigger_word_and_without_it() -> None:
    prompts = strength_prompts("character", "zwx", "starter", "owl")
    assert prompts.subject[0] == "a zwx owl"
    assert prompts.plain == ("an owl",)
    assert prompts.neighbours[0] == "a small owl"


def test_without_a_trigger_word_the_subject_is_called_by_its_kind() -> None:
    prompts = strength_prompts("person", "", "sdxl")
    assert prompts.subject[0] == "portrait of a person"
    assert prompts.plain == ()
    assert strength_prompts("style", " ", "starter").subject == ("cat", "rocket", "castle")


@pytest.mark.parametrize(
    ("captions", "noun"),
    [
        (["a zwx creature on a white background"] * 3, "creature"),
        (["Zwx Dog", "zwx dog, park", "zwx"], "dog"),
        (["a zwx on a beach"] * 3, ""),
        (["a zwx cat", "a zwx dog", "a zwx owl"], ""),
        (["a cat"], ""),
        ([], ""),
    ],
)
def test_the_noun_is_the_word_behind_the_trigger_in_most_captions(captions: list[str], noun: str) -> None:
    assert noun_in(captions, "zwx") == noun
    assert noun_in(captions, "") == ""


def test_the_plan_is_a_grid_of_prompts_by_weights() -> None:
    plan = plan_strength(StrengthRequest.build("disc", weights=("1", 0.5, 0, 1.0)), RECORD)
    grid = plan.grid()
    assert (plan.weights, grid.columns, grid.rows) == ((0.0, 0.5, 1.0), 3, 8)
    assert [cell.request.loras == () for cell in grid.cells[:3]] == [True, False, False]
    assert {cell.request.seed for cell in grid.cells} == {plan.seed}
    assert not any(cell.request.insert_trigger for cell in grid.cells)
    assert grid.labels[0] == ("base", "weight 0.5", "weight 1")


@pytest.mark.parametrize(
    "wrong",
    [{"weights": range(1, 10)}, {"weights": ["x"]}, {"weights": [5]}, {"noun": "x" * 61}, {"noun": 7}],
)
def test_what_can_not_be_drawn_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        StrengthRequest.build("disc", **wrong)  # type: ignore[arg-type]


def test_a_lora_whose_base_nobody_knows_needs_one() -> None:
    unknown = replace(RECORD, base="")
    with pytest.raises(ConfigError, match="which base model"):
        plan_strength(StrengthRequest.build("disc"), unknown)
    assert plan_strength(StrengthRequest.build("disc", base="starter"), unknown).base == "starter"
