from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lora_studio.catalog import BASES, SAMPLERS, STARTER, Base
from lora_studio.events import ignore
from lora_studio.families.base_files.locate import find_base
from lora_studio.families.schedulers import build_scheduler, sampler_of
from lora_studio.generation.defaults import loaded_values, values_of
from lora_studio.generation.pipelines import LoadedBase, Pipelines
from tests.support.drawing import FIRST_SAMPLERS


@pytest.fixture(scope="module")
def tiny(tiny_base: Path) -> LoadedBase:
    base = Pipelines().get(find_base(str(tiny_base)), ignore)
    assert base is not None
    return base


@pytest.mark.parametrize("entry", BASES.values(), ids=lambda entry: entry.name)
def test_a_base_of_the_catalog_brings_its_own_values(entry: Base, tiny: LoadedBase) -> None:
    found = replace(tiny.found, entry=entry)
    for values in (values_of(found), loaded_values(replace(tiny, found=found))):
        assert (values.size, values.sampler) == ((entry.native_size,) * 2, entry.sampler)
        assert values.num_inference_steps == entry.num_inference_steps
        assert values.guidance_scale == entry.guidance_scale


def test_another_base_is_asked_for_its_size_and_sampler(tiny: LoadedBase) -> None:
    found, loaded = values_of(tiny.found), loaded_values(tiny)
    assert (found.size, found.sampler, found.step) == (None, "", None)
    assert (loaded.size, loaded.sampler, loaded.step) == ((64, 64), "DDIM", 8)
    assert replace(found, size=(64, 64), sampler="DDIM", step=8) == loaded


def test_only_some_samplers_keep_zero_snr(tiny: LoadedBase, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not loaded_values(tiny).washing_out
    process = tiny.model.process
    monkeypatch.setattr(process, "config", {**process.config, "rescale_betas_zero_snr": True})
    pale = loaded_values(tiny).washing_out
    assert {"Heun"} <= pale <= {*SAMPLERS} - {"Euler", "DDIM"}


def test_sides_are_multiples_of_what_base_and_catalog_need(tiny: LoadedBase) -> None:
    coarse = replace(tiny, found=replace(tiny.found, entry=replace(STARTER, step=48)))
    assert loaded_values(coarse).step == 48


def config_of(sampler: str, base: LoadedBase) -> dict[str, Any]:
    """As a base of this sampler would have it."""
    scheduler = build_scheduler(sampler, base.model.process.config)
    return {**scheduler.config, "_class_name": SAMPLERS[sampler].scheduler}


@pytest.mark.parametrize(
    "name",
    [name if name in FIRST_SAMPLERS else pytest.param(name, marks=pytest.mark.slow) for name in SAMPLERS],
)
def test_a_sampler_is_recognised_by_its_config(name: str, tiny: LoadedBase) -> None:
    own = config_of(name, tiny)
    assert sampler_of(own) == name
    assert sampler_of({**own, "_class_name": "SomethingElse"}) == "DPM++ 2M Karras"
