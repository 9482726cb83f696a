"""A request settled alone: a library of names in memory, a base that is a handful of values, no torch."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_studio.catalog import SAMPLERS
from lora_studio.errors import ConfigError, FamilyMismatch, StoreError
from lora_studio.generation.lora_lookup import WantedLora
from lora_studio.generation.requests.settled_request import BaseValues, Settled, Size, settle, steps_of
from lora_studio.lora.file.lora_files import LoraHeader
from lora_studio.request import MAX_SEED, GenerateRequest, LoraUse
from tests.support.properties import examples

FOUND = BaseValues(name="x", family="sd1", num_inference_steps=25, guidance_scale=7.5)
LOADED = replace(FOUND, size=(512, 512), sampler="DDIM", step=8)
SUM = "0123456789abcdef" * 4


@dataclass
class Names:
    """A library of LoRAs by name, each with its trigger word, and of one picture."""

    triggers: dict[str, str] = field(default_factory=dict)
    family: str = "sd1"
    size: Size | None = None

    def slug_of(self, name: str) -> str:
        return name.lower()

    def loras(self, uses: Sequence[LoraUse]) -> list[WantedLora]:
        for use in uses:
            if use.slug not in self.triggers:
                raise StoreError(f"There is no LoRA “{use.slug}”.")
        return [WantedLora(slug=use.slug, weight=use.weight, header=self.header(use.slug)) for use in uses]

    def header(self, slug: str) -> LoraHeader:
        return LoraHeader(
            path=Path(slug),
            family=self.family,
            base="",
            network_dim=4,
            network_alpha=4,
            metadata={"modelspec.trigger_phrase": self.triggers[slug]},
            tensors={},
            tensor_hash="",
            size_bytes=0,
        )

    def picture_size(self, request: GenerateRequest) -> Size | None:
        return self.size if request.image else None

    def chosen(self, text: str, seed: int) -> str:
        return text.replace("{a|b}", "ab"[seed % 2])


def settled(base: BaseValues = LOADED, library: Names | None = None, **values: Any) -> Settled:
    return settle(GenerateRequest(**values), base, library or Names())


def test_what_is_left_open_is_the_base_s() -> None:
    request = settled().request
    assert (request.num_inference_steps, request.guidance_scale) == (25, 7.5)
    assert (request.width, request.height, request.sampler) == (512, 512, "DDIM")
    assert request.seed is not None
    assert (request.variation_seed, request.hires_steps) == (None, None)


def test_what_the_request_says_stays() -> None:
    asked = GenerateRequest(
        prompt="a cat", num_inference_steps=3, guidance_scale=0, seed=0, width=96, height=48, sampler="Heun"
    )
    assert settle(asked, LOADED, Names()).request == asked


def test_a_second_seed_and_a_second_pass_are_filled_in_where_they_are_asked_for() -> None:
    request = settled(variation_strength=0.1, hires_scale=2, num_inference_steps=9).request
    assert request.variation_seed is not None
    assert request.hires_steps == 9
    assert settled(hires_scale=1.3, width=640).images[0].hires == (832, 664)


def test_tags_become_loras() -> None:
    library = Names(triggers={"ink": ""})
    found = settled(FOUND, library, prompt="a cat <lora:Ink:0.8>", loras=[{"slug": "ink", "weight": 0.5}])
    assert found.request.prompt == "a cat"
    assert [(use.slug, use.weight) for use in found.request.loras] == [("ink", 1.3)]
    assert len(found.notes) == 1
    assert found.fitted_to(LOADED, library).notes == found.notes


def test_before_it_is_loaded_a_base_brings_what_the_catalog_knows() -> None:
    assert settled(FOUND).request.width is None
    assert settled(FOUND).request.sampler == ""
    known = replace(FOUND, size=(64, 64), sampler="Euler")
    request = settled(known).request
    assert (request.width, request.height, request.sampler) == (64, 64, "Euler")
    redrawn = settled(known, Names(size=(100, 50)), image=SUM).request
    assert (redrawn.width, redrawn.height) == (None, None)  # by the loaded base's step


REQUESTS = st.fixed_dictionaries(
    {"prompt": st.sampled_from(["a cat", "a cat <lora:ink:0.5>", "{a|b} [c|d]", ""])},
    optional={
        "negative_prompt": st.sampled_from(["", "blur"]),
        "seed": st.integers(0, MAX_SEED),
        "width": st.sampled_from([64, 512, 1024]),
        "height": st.sampled_from([64, 768]),
        "num_inference_steps": st.integers(1, 200),
        "guidance_scale": st.floats(0, 30),
        "guidance_rescale": st.floats(0, 1),
        "sampler": st.sampled_from(["", *SAMPLERS]),
        "variation_strength": st.floats(0, 1),
        "hires_scale": st.floats(1, 4),
        "image": st.just(SUM),
        "mask_image": st.just(SUM),
        "padding_mask_crop": st.integers(0, 512),
        "strength": st.floats(0.01, 1),
    },
)


@examples(50)
@given(REQUESTS, st.tuples(st.integers(1, 4000), st.integers(1, 4000)))
def test_what_is_settled_stays_settled(values: dict[str, Any], size: Size) -> None:
    library = Names(triggers={"ink": "zw"}, size=size)
    asked = GenerateRequest(**values)
    at_first = settle(asked, FOUND, library)
    whole = at_first.fitted_to(LOADED, library)
    again = settle(whole.request, LOADED, library)
    assert again.request == whole.fitted_to(LOADED, library).request == whole.request
    assert GenerateRequest(**whole.request.model_dump()) == whole.request
    open_fields = ("width", "height", "seed", "num_inference_steps", "guidance_scale")
    assert all(getattr(whole.request, name) is not None for name in open_fields)
    kept = asked.model_fields_set - {"prompt", "loras", "sampler"}
    assert all(getattr(whole.request, name) == getattr(asked, name) for name in kept)


@examples(50)
@given(REQUESTS, st.integers(1, 16))
def test_image_i_is_drawn_by_its_own_request(values: dict[str, Any], count: int) -> None:
    library = Names(triggers={"ink": "zw"}, size=(64, 64))
    row = settle(GenerateRequest(**values, count=count), LOADED, library)
    images = [image.request for image in row.images]
    assert len(set(images)) == count == len(images)
    assert all(settle(image, LOADED, library).request == image for image in images)
    assert images[0] == row.request.model_copy(update={"count": 1})


def test_seeds_wrap_around_and_variations_keep_the_first() -> None:
    last = settled(seed=MAX_SEED, count=2)
    assert [image.request.seed for image in last.images] == [MAX_SEED, 0]
    varied = settled(seed=7, variation_strength=0.1, variation_seed=MAX_SEED, count=2)
    images = [image.request for image in varied.images]
    assert [(one.seed, one.variation_seed) for one in images] == [(7, MAX_SEED), (7, 0)]


def test_prompts_are_drawn_with_choices_made_and_triggers_in_front() -> None:
    library = Names(triggers={"ink": "zw"})
    asked: dict[str, Any] = {
        **{"prompt": "{a|b}", "negative_prompt": "x {a|b}", "seed": 3, "loras": [{"slug": "ink"}]}
    }
    found = settled(library=library, **asked, count=2)
    bare = settled(library=library, **asked, insert_trigger=False)
    images = [*found.images, *bare.images]
    prompts = [(image.prompt, image.negative_prompt) for image in images]
    assert prompts == [("zw, b", "x b"), ("zw, a", "x a"), ("b", "x b")]


def test_a_sampler_that_can_not_draw_with_the_base_is_refused_before_it_is_loaded() -> None:
    flow = replace(FOUND, samplers=("Euler", "Heun"))
    assert settled(flow, sampler="Heun").request.sampler == "Heun"
    with pytest.raises(ConfigError, match="can't draw with “x”") as refusal:
        settled(flow, sampler="DDIM")
    assert (refusal.value.field, "Euler, Heun" in refusal.value.hint) == ("sampler", True)
    with pytest.raises(ConfigError, match="no sampler called 'Heum'"):
        settled(flow, sampler="Heum")


def test_a_picture_is_redrawn_at_the_nearest_size_that_is_said() -> None:
    found = settled(library=Names(size=(101, 50)), image=SUM)
    assert (found.request.width, found.request.height) == (104, 48)
    assert any("101 × 50" in note and "104 × 48" in note for note in found.notes)
    assert settled(library=Names(size=(100, 50)), image=SUM, width=400).request.height == 200
    assert not settled(library=Names(size=(64, 64)), image=SUM).notes
    cropped = settled(library=Names(size=(101, 50)), image=SUM, mask_image=SUM, padding_mask_crop=8)
    assert (cropped.request.width, cropped.notes) == (512, ())


@pytest.mark.parametrize(("source", "size"), [((4000, 33), (2048, 32)), ((33, 4000), (32, 2048))])
def test_a_very_long_picture_keeps_a_side_that_can_be_drawn(source: Size, size: Size) -> None:
    filled = settled(library=Names(size=source), image=SUM).request
    assert (filled.width, filled.height) == size


def test_a_drawn_seed_is_another_one_each_time() -> None:
    assert len({settled(FOUND).request.seed for _ in range(5)}) == 5


def test_the_nearest_size_is_named() -> None:
    with pytest.raises(ConfigError, match=r"The height of 232 px doesn't suit “x”: .* 64\.") as caught:
        settled(replace(LOADED, step=64), height=232)
    assert caught.value.hint == "The nearest is 256."


@pytest.mark.parametrize(
    ("values", "base", "field"),
    [
        ({"sampler": "Eula"}, FOUND, "sampler"),
        ({"width": 520}, replace(LOADED, step=64), "width"),
        ({"height": 232}, replace(LOADED, step=64), "height"),
        ({"width": 2048, "hires_scale": 4}, LOADED, "hires_scale"),
        ({"negative_prompt": "<lora:ink:1>"}, FOUND, "negative_prompt"),
    ],
)
def test_what_a_base_cannot_do_is_named(values: dict[str, Any], base: BaseValues, field: str) -> None:
    with pytest.raises(ConfigError) as caught:
        settled(base, **values)
    assert caught.value.field == field
    assert caught.value.hint


def test_loras_that_are_missing_or_made_for_another_family_are_named() -> None:
    with pytest.raises(StoreError):
        settled(FOUND, prompt="<lora:ink:1>")
    with pytest.raises(FamilyMismatch):
        settled(FOUND, Names({"ink": ""}, family="sdxl"), prompt="<lora:ink:1>")


@pytest.mark.parametrize(
    ("values", "base", "said"),
    [
        ({"guidance_scale": 1, "negative_prompt": "x"}, LOADED, "negative prompt"),
        ({"guidance_scale": 0, "guidance_rescale": 0.5}, LOADED, "guidance rescale"),
        ({"sampler": "Heun"}, replace(LOADED, washing_out=frozenset({"Heun"})), "Heun"),
        ({"prompt": "a AND b"}, LOADED, "AND"),
        (
            {"image": SUM, "mask_image": SUM, "hires_scale": 2, "width": 64, "height": 64},
            LOADED,
            "second pass",
        ),
    ],
)
def test_what_is_ignored_is_said_once_the_base_is_loaded(
    values: dict[str, Any], base: BaseValues, said: str
) -> None:
    (note,) = settled(base, Names(size=(64, 64)), **values).notes
    assert said in note
    assert not settled(FOUND, Names(size=(64, 64)), **values).notes


def test_steps_are_counted_over_both_passes() -> None:
    assert steps_of(settled(num_inference_steps=10, hires_scale=2, hires_steps=4).request) == 14
    redrawn = settled(library=Names(size=(64, 64)), num_inference_steps=10, image=SUM, strength=0.5)
    assert steps_of(redrawn.request) == 5


def test_it_loads_no_torch() -> None:
    program = (
        "import sys, lora_studio.generation.requests.settled_request;"
        "print(sorted({'torch', 'diffusers', 'PIL', 'gradio'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
