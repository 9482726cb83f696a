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
    STARTER,
    family_from_text_width,
    family_from_version,
    family_title,
    plan,
    preview_prompts,
)
from lora_studio.config import Kind, TrainConfig, config_leaf
from lora_studio.request import GenerateRequest

KINDS: tuple[Kind, ...] = get_args(Kind)
NEEDED = {
    "pretrained_model_name_or_path": "x",
    "train_data_dir": "x",
    "output_name": "x",
    "output_dir": "x",
}


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_is_a_class_of_diffusers_that_knows_its_options(name: str) -> None:
    import diffusers

    sampler = SAMPLERS[name]
    scheduler = getattr(diffusers, sampler.scheduler)()
    assert set(sampler.options) <= set(scheduler.config)


def test_every_sampler_is_another_one() -> None:
    assert len({(s.scheduler, tuple(s.options.items())) for s in SAMPLERS.values()}) == len(SAMPLERS)


@pytest.mark.parametrize("base", BASES.values(), ids=lambda base: base.name)
def test_a_base_is_complete_and_its_defaults_are_valid(base: object) -> None:
    from lora_studio.catalog import Base

    assert isinstance(base, Base)
    assert BASES[base.name] is base
    assert base.family in FAMILIES
    assert base.sampler in SAMPLERS
    assert base.native_size % base.step == 0
    assert base.title
    assert base.licence
    assert bool(base.source) == bool(base.download_bytes), "what is fetched says how large it is"
    for leaf in {**base.training, **{key: 0 for values in base.kinds.values() for key in values}}:
        config_leaf(leaf)
    GenerateRequest.build(
        base=base.name,
        sampler=base.sampler,
        num_inference_steps=base.num_inference_steps,
        guidance_scale=base.guidance_scale,
        width=base.native_size,
        height=base.native_size,
    )


@pytest.mark.parametrize("base", [*BASES, "some/other-model"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_plan_is_a_valid_configuration(kind: Kind, base: str) -> None:
    config = TrainConfig.from_values({**NEEDED, **plan(kind, base, 12).values})
    assert config.dataset.kind == kind
    assert config.optimizer.max_train_steps > 0


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
    made = plan(kind, "sd15", images)
    assert made.values["max_train_steps"] == steps
    assert f"{PRESETS[kind].per_image} steps for each of {images} pictures" in made.reason
    assert f"{steps} steps." in made.reason
    assert PRESETS[kind].note in made.reason


@pytest.mark.parametrize("kind", KINDS)
def test_the_embedded_base_brings_its_own_numbers(kind: Kind) -> None:
    made = plan(kind, STARTER.name, 8)
    assert made.values["resolution"] == STARTER.native_size
    assert made.values["max_train_steps"] == STARTER.kinds[kind]["max_train_steps"]
    assert f"{made.values['max_train_steps']} steps" in made.reason
    assert STARTER.title in made.reason


def test_an_unknown_base_is_taken_as_a_usual_one() -> None:
    assert plan("style", "folder/model", 10) == plan("style", "sd15", 10)


@pytest.mark.parametrize("kind", KINDS)
def test_a_preset_differs_from_the_defaults(kind: Kind) -> None:
    defaults = TrainConfig.from_values(NEEDED).values()
    assert {key for key, value in PRESETS[kind].values.items() if defaults[key] != value}


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
