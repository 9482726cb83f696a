from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from lora_studio.catalog import BASES, SAMPLERS, STARTER
from lora_studio.errors import ConfigError
from lora_studio.events import ignore
from lora_studio.families.base_files.found_base import FoundBase
from lora_studio.families.base_files.locate import find_base
from lora_studio.families.schedulers import build_scheduler
from lora_studio.generation.defaults import fill_in, fit_to, native_size, sampler_of
from lora_studio.generation.pipelines import LoadedBase, Pipelines
from lora_studio.request import GenerateRequest
from lora_studio.settings import Settings


@pytest.fixture
def tiny(settings: Settings) -> LoadedBase:
    return Pipelines().get(find_base("tiny", settings), ignore)


@pytest.mark.parametrize("entry", BASES.values(), ids=lambda entry: entry.name)
def test_a_base_of_the_catalog_brings_its_own_values(entry: object, tiny: LoadedBase) -> None:
    found = replace(tiny.found, entry=entry)
    request = fit_to(fill_in(GenerateRequest(), found), found, tiny.parts, tiny.scheduler_config)
    assert (request.width, request.height) == (found.entry.native_size,) * 2
    assert request.num_inference_steps == found.entry.num_inference_steps
    assert (request.guidance_scale, request.sampler) == (found.entry.guidance_scale, found.entry.sampler)


def test_what_the_request_says_stays(tiny: LoadedBase) -> None:
    asked = GenerateRequest.build(
        num_inference_steps=3, guidance_scale=0, seed=0, width=96, height=48, sampler="Heun"
    )
    assert fit_to(fill_in(asked, tiny.found), tiny.found, tiny.parts, tiny.scheduler_config) == asked


def test_another_base_is_asked_for_its_size_and_sampler(tiny: LoadedBase) -> None:
    assert native_size(tiny.found, tiny.parts) == (64, 64)
    assert sampler_of(tiny.scheduler_config) == "DDIM"


def config_of(sampler: str, base: LoadedBase) -> dict[str, Any]:
    """As a base of this sampler would have it."""
    scheduler = build_scheduler(sampler, base.scheduler_config)
    return {**scheduler.config, "_class_name": SAMPLERS[sampler].scheduler}


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_sampler_is_recognised_by_its_config(name: str, tiny: LoadedBase) -> None:
    own = config_of(name, tiny)
    assert sampler_of(own) == name
    assert sampler_of({**own, "_class_name": "SomethingElse"}) == "DPM++ 2M Karras"


def test_a_side_that_the_base_cannot_draw_names_the_nearest(tiny: LoadedBase) -> None:
    coarse = replace(tiny.found, name="coarse", entry=replace(STARTER, step=64))
    request = fill_in(GenerateRequest.build(width=512, height=232), coarse)
    with pytest.raises(ConfigError, match=r"The height of 232 px doesn't suit “coarse”: .* 64\.") as caught:
        fit_to(request, coarse, tiny.parts, tiny.scheduler_config)
    assert caught.value.field == "height"
    assert caught.value.hint == "The nearest is 256."


def test_a_drawn_seed_is_another_one_each_time() -> None:
    found = FoundBase(name="x", path_or_id="x", family="", layout="hub")
    assert len({fill_in(GenerateRequest(), found).seed for _ in range(5)}) == 5


@pytest.mark.parametrize(("source", "size"), [((4000, 33), (2048, 32)), ((33, 4000), (32, 2048))])
def test_a_very_long_picture_keeps_a_side_that_can_be_drawn(
    tiny: LoadedBase, source: tuple[int, int], size: tuple[int, int]
) -> None:
    asked = fill_in(GenerateRequest(), tiny.found)
    filled = fit_to(asked, tiny.found, tiny.parts, tiny.scheduler_config, source=source)
    assert (filled.width, filled.height) == size
    assert GenerateRequest.build(**filled.model_dump()) == filled
