from __future__ import annotations

from typing import get_args

import pytest

from lora_studio.catalog import (
    BASES,
    FAMILIES,
    FEWEST_STEPS,
    MOST_STEPS,
    PRESETS,
    SAMPLERS,
    SD2,
    SDXL,
    STARTER,
    Base,
    base_of_family,
    differences,
    family_from_text_width,
    family_from_version,
    family_title,
    plan,
    preview_prompts,
    sizes_for,
)
from lora_studio.config import Kind, config_leaf
from lora_studio.request import GenerateRequest
from lora_studio.runtime import Device
from lora_studio.training.ignored_settings import ignored_settings
from tests.support.configs import config

KINDS: tuple[Kind, ...] = get_args(Kind)


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_is_a_class_of_diffusers_that_knows_its_options(name: str) -> None:
    import diffusers

    sampler = SAMPLERS[name]
    scheduler = getattr(diffusers, sampler.scheduler)()
    assert set(sampler.options) <= set(scheduler.config)


def test_every_sampler_is_another_one() -> None:
    assert len({(s.scheduler, tuple(s.options.items())) for s in SAMPLERS.values()}) == len(SAMPLERS)


@pytest.mark.parametrize("base", BASES.values(), ids=lambda base: base.name)
def test_a_base_is_complete_and_its_defaults_are_valid(base: Base) -> None:
    assert BASES[base.name] is base
    assert base.family in FAMILIES
    assert base.sampler in SAMPLERS
    assert base.native_size % base.step == 0
    assert base.title
    assert base.licence
    assert bool(base.source) == bool(base.download_bytes), "what is fetched says how large it is"
    for leaf in {**base.training, **{key: 0 for values in base.kinds.values() for key in values}}:
        config_leaf(leaf)
    GenerateRequest(
        base=base.name,
        sampler=base.sampler,
        num_inference_steps=base.num_inference_steps,
        guidance_scale=base.guidance_scale,
        width=base.native_size,
        height=base.native_size,
    )


OTHERS = [base_of_family(family) for family in (*FAMILIES, "unknown")]


@pytest.mark.parametrize("base", [*BASES.values(), *OTHERS], ids=lambda base: base.name or base.family)
@pytest.mark.parametrize("kind", KINDS)
def test_every_plan_is_a_valid_configuration_of_which_nothing_is_ignored(kind: Kind, base: Base) -> None:
    cpu = Device(kind="cpu", title="CPU", memory_bytes=0, native_bf16=False)
    made = config(**plan(kind, base, 12).values)
    assert made.dataset.kind == kind
    assert made.optimizer.max_train_steps > 0
    assert list(ignored_settings(made, cpu)) == []


@pytest.mark.parametrize(
    ("kind", "images", "steps"),
    [
        ("person", 10, 750),
        ("style", 8, 960),
        ("object", 12, 600),
        ("object", 1, FEWEST_STEPS),
        ("character", 500, MOST_STEPS),
    ],
)
def test_the_step_rule(kind: Kind, images: int, steps: int) -> None:
    made = plan(kind, BASES["sd15"], images)
    assert made.values["max_train_steps"] == steps
    assert f"{PRESETS[kind].per_image} steps for each of {images} pictures" in made.reason
    assert f"{steps} steps." in made.reason
    assert PRESETS[kind].note in made.reason


@pytest.mark.parametrize("kind", KINDS)
def test_the_embedded_base_brings_its_own_numbers(kind: Kind) -> None:
    made = plan(kind, STARTER, 8)
    assert made.values["resolution"] == STARTER.native_size
    assert made.values["max_train_steps"] == STARTER.kinds[kind]["max_train_steps"]
    assert f"{made.values['max_train_steps']} steps" in made.reason
    assert STARTER.title in made.reason


def test_an_unknown_base_is_taken_as_a_usual_one() -> None:
    assert plan("style", base_of_family(""), 10) == plan("style", BASES["sd15"], 10)


@pytest.mark.parametrize("kind", KINDS)
def test_a_base_of_a_family_trains_as_its_catalog_base(kind: Kind) -> None:
    assert plan(kind, base_of_family(SDXL), 10) == plan(kind, BASES["sdxl"], 10)
    assert plan(kind, base_of_family(SD2, native_size=768), 10) == plan(kind, BASES["sd21"], 10)


@pytest.mark.parametrize(
    ("native", "step", "sizes"),
    [
        (64, 4, (64, 32, 128, 8)),
        (64, 8, (64, 32, 128, 8)),
        (512, 8, (512, 256, 1024, 64)),
        (768, 8, (768, 256, 1536, 64)),
        (1024, 8, (1024, 256, 2048, 64)),
        (2048, 8, (2048, 256, 4096, 64)),
    ],
)
def test_sizes_follow_from_the_native_one(native: int, step: int, sizes: tuple[int, ...]) -> None:
    made = config(**sizes_for(native, step)).dataset
    found = (made.resolution, made.min_bucket_reso, made.max_bucket_reso, made.bucket_reso_steps)
    assert found == sizes


def test_the_reason_speaks_of_what_was_set() -> None:
    assert "measured to be enough" in plan("style", STARTER, 10).reason
    assert plan("style", STARTER, 10, {"max_train_steps": "12"}).reason.startswith(
        "12 steps of 4 pictures, as you"
    )
    assert "measured" not in plan("style", STARTER, 10, {"train_batch_size": 1}).reason
    assert "for each of" not in plan("style", BASES["sd15"], 10, {"max_train_steps": 30}).reason


def test_the_text_encoder_has_a_rate_where_it_is_trained() -> None:
    assert "text_encoder_lr" not in plan("character", STARTER, 10).values
    assert "text encoder" not in plan("person", STARTER, 10).reason
    switched = plan("character", STARTER, 10, {"network_train_unet_only": False})
    assert switched.values["text_encoder_lr"] == PRESETS["character"].values["text_encoder_lr"]
    assert (
        "text_encoder_lr" not in plan("person", BASES["sd15"], 10, {"network_train_unet_only": "true"}).values
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_preset_differs_from_the_defaults(kind: Kind) -> None:
    defaults = config().values()
    assert {key for key, value in PRESETS[kind].values.items() if defaults[key] != value}


@pytest.mark.parametrize("kind", KINDS)
def test_each_difference_from_the_plain_values_has_its_reason(kind: Kind) -> None:
    for base in BASES.values():
        found = differences(kind, base, plan(kind, base, 10).values)
        assert found
        for one in found:
            assert one.value != one.plain
            assert one.reason.endswith("."), (base.name, one.name)
            assert "{" not in one.reason


@pytest.mark.parametrize("base", [STARTER.name, "sd15"])
@pytest.mark.parametrize("kind", KINDS)
def test_previews_are_about_the_subject(kind: Kind, base: str) -> None:
    prompts = preview_prompts(kind, " zwcat ", base)
    assert len(set(prompts)) == len(prompts) >= 3
    assert all("zwcat" in prompt for prompt in prompts)
    assert not any("  " in prompt for prompt in prompts)
    assert all("zwcat" not in prompt for prompt in preview_prompts(kind, "", base))


@pytest.mark.parametrize(
    ("version", "family"),
    [("sd_v1", "sd1"), ("sd_v2_512", "sd2"), ("sd_v2_768_v", "sd2"), ("sdxl_base_v1-0", "sdxl"), ("?", "")],
)
def test_kohyas_names_of_base_versions(version: str, family: str) -> None:
    assert family_from_version(version) == family


def test_families_have_names_people_write() -> None:
    assert family_title(family_from_text_width(768)) == "Stable Diffusion 1.x"
    assert family_title("sdxl") == "Stable Diffusion XL"
    assert family_title("") == "an unknown family"
