"""Any request as an infotext, and back."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from lora_studio.images.infotext import NEGATIVE, Restored, restore, write_infotext
from lora_studio.request import MAX_SEED, GenerateRequest
from lora_studio.samplers import SAMPLERS
from tests.support.properties import examples

WORDS = st.text(
    st.one_of(
        st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")),
        st.sampled_from("()[]{}|:,.\"'\\=<>\n  0123456789abc"),
    ),
    max_size=120,
)


# What the form can't tell apart from its own marks; our JSON can.
TEXTS = (
    WORDS.map(str.strip)
    .filter(lambda text: not any(line.strip().startswith(NEGATIVE) for line in text.split("\n")))
    .filter(lambda text: "<lora:" not in text and "<lyco:" not in text)
)


WEIGHTS = st.floats(-4, 4, allow_nan=False)


SHARES = st.floats(0, 1)


STRENGTHS = st.floats(0, 1, exclude_min=True)


SUMS = st.binary(min_size=32, max_size=32).map(bytes.hex)


LORAS = st.lists(
    st.fixed_dictionaries(
        {"slug": st.from_regex(r"[a-z0-9][a-z0-9-]{0,63}", fullmatch=True), "weight": WEIGHTS},
        optional={"text_encoder_weight": WEIGHTS, "checkpoint": st.integers(1, 10**6)},
    ),
    max_size=4,
    unique_by=lambda use: use["slug"],
)


@st.composite
def requests(draw: st.DrawFn) -> GenerateRequest:
    """As they are drawn with: all values filled in, and a setting that has no use at its default."""
    sides = st.integers(4, 256).map(lambda side: 8 * side)
    values: dict[str, Any] = {
        "prompt": draw(TEXTS),
        "negative_prompt": draw(TEXTS),
        "base": draw(st.sampled_from(["starter", "v1-5-pruned-emaonly", "someone/some, model: 2"])),
        "loras": draw(LORAS),
        "num_inference_steps": draw(st.integers(1, 200)),
        "guidance_scale": draw(st.floats(0, 30)),
        "width": draw(sides),
        "height": draw(sides),
        "seed": draw(st.integers(0, MAX_SEED)),
        "sampler": draw(st.sampled_from(sorted(SAMPLERS))),
        "clip_skip": draw(st.integers(1, 12)),
        "guidance_rescale": draw(SHARES),
        "distilled_guidance_scale": draw(st.none() | st.floats(0, 100)),
        "shift": draw(st.none() | st.floats(0.01, 100)),
    }
    if strength := draw(SHARES):
        values |= {"variation_strength": strength, "variation_seed": draw(st.integers(0, MAX_SEED))}
    if draw(st.booleans()):
        values |= {"image": draw(SUMS), "strength": draw(STRENGTHS)}
        if draw(st.booleans()):
            values |= {"mask_image": draw(SUMS), "mask_blur": draw(st.integers(0, 64))}
            values["padding_mask_crop"] = draw(st.none() | st.integers(0, 512))
    if draw(st.booleans()):
        values |= {
            "hires_scale": draw(st.floats(1, 4, exclude_min=True)),
            "hires_steps": draw(st.none() | st.integers(1, 200)),
            "hires_strength": draw(STRENGTHS),
            "hires_upscaler": draw(st.sampled_from(["lanczos", "latent"])),
        }
    return GenerateRequest(**values)


@examples(200)
@given(requests())
def test_what_is_written_reads_back_as_the_request(request_: GenerateRequest) -> None:
    hashes = {use.slug: "ab" * 32 for use in request_.loras}
    text = write_infotext(request_, prompt=request_.prompt, model=request_.base, lora_hashes=hashes)
    assert restore(text) == Restored(request=request_)
    assert GenerateRequest(**json.loads(request_.model_dump_json())) == request_
