"""What can go wrong or be stopped in the middle of a picture, and that the pipeline works afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from lora_studio.errors import ConfigError, DeviceLost, Diverged, StoreError
from lora_studio.events import Denoised, Event, ImageSaved, Noted, PhaseAdvanced, Stopped
from lora_studio.families.sampling import Sampler
from lora_studio.generation.pipelines import LoadedBase
from lora_studio.generation.prompt_cache import EncodedTexts
from lora_studio.generation.requests.settled_request import SettledImage, skipped, stretched
from lora_studio.generator import Generator
from lora_studio.images.input_store import keep
from lora_studio.request import GenerateRequest
from lora_studio.settings import Settings
from tests.support.drawing import TINY, Draw, MakeLora, pixels


def loaded(generator: Generator) -> LoadedBase:
    (base,) = generator._pipelines._loaded.values()
    return base


@contextmanager
def before_each_call(part: Any, act: Callable[[], object]) -> Iterator[None]:
    hook = part.register_forward_pre_hook(lambda *_: act() and None)
    try:
        yield
    finally:
        hook.remove()


PLACES = {
    "the text encoder": ("text_encoder", {"prompt": "another"}, 0),
    "the first step": ("unet", {}, 1),
    "the decoder, between the passes": ("vae.decoder", {"hires_scale": 1.5}, 3),
    "the encoder, between the passes": ("vae.encoder", {"hires_scale": 1.5}, 3),
    "the encoder, before the first": ("vae.encoder", {"image": True}, 0),
}


@pytest.mark.parametrize("place", PLACES)
def test_stop_is_heard_wherever_it_is_pressed(
    generator: Generator, draw: Draw, settings: Settings, place: str
) -> None:
    before = draw()
    part, values, steps = PLACES[place]
    if "image" in values:
        values = {"image": keep(Image.linear_gradient("L").resize((64, 64)).convert("RGB"), settings.inputs)}
    pressed: list[bool] = []
    events: list[Event] = []
    request = GenerateRequest(**{**TINY, **values})
    with before_each_call(part_of(generator, part), lambda: pressed.append(True)):
        images = generator.generate(request, events.append, lambda: bool(pressed))
    assert images == []
    assert pressed, f"{place} was never reached"
    assert sum(isinstance(event, Denoised) for event in events) == steps
    assert events[-1] == Stopped(step=steps, path="")
    assert not any(isinstance(event, ImageSaved) for event in events)
    assert pixels(draw()[0]) == pixels(before[0]), "the pipeline is usable afterwards"


def part_of(generator: Generator, part: str) -> Any:
    found: Any = loaded(generator).pipe
    for name in part.split("."):
        found = getattr(found, name)
    return found


def in_half_precision(generator: Generator) -> LoadedBase:
    """The loaded base as a GPU would have it."""
    base = loaded(generator)
    for name in ("unet", "vae", "text_encoder"):
        getattr(base.pipe, name).half()
    generator._texts = EncodedTexts()
    return base


@pytest.mark.parametrize("values", [{}, {"hires_scale": 1.5, "hires_strength": 0.4}])
def test_an_overflowing_autoencoder_decodes_again_in_32_bit(
    generator: Generator, draw: Draw, values: dict[str, Any]
) -> None:
    """As SDXL's in half precision: layers reach beyond 65504, and the norm after them brings that back."""
    draw()
    base = in_half_precision(generator)
    fine = pixels(draw(**values)[0])
    decoder = base.pipe.vae.decoder
    with torch.no_grad():
        decoder.mid_block.resnets[0].conv1.weight.mul_(2e5)
    events: list[Event] = []
    (image,) = generator.generate(GenerateRequest(**{**TINY, **values}), events.append)
    notes = [event.message for event in events if isinstance(event, Noted)]
    assert len(notes) == 1
    assert "decoded again in 32 bit" in notes[0]
    assert pixels(image) != fine
    assert len(set(pixels(image))) > 20, "a picture, not a plain colour"
    assert base.pipe.vae.dtype == torch.float16, "it is as it was"


def test_a_picture_that_32_bit_do_not_save_is_said(generator: Generator, draw: Draw) -> None:
    before = draw()
    base = loaded(generator)
    bias = base.pipe.vae.decoder.conv_out.bias
    kept = bias.detach().clone()
    with torch.no_grad():
        bias.fill_(float("nan"))
    with pytest.raises(Diverged, match="came out as no numbers") as caught:
        draw()
    assert caught.value.hint == (
        "Try another sampler. LORA_STUDIO_PRECISION=fp32 helps where half precision is too coarse."
    )
    with torch.no_grad():
        bias.copy_(kept)
    assert pixels(draw()[0]) == pixels(before[0])


def fail(error: Exception) -> Callable[[], object]:
    def act() -> object:
        raise error

    return act


@pytest.mark.parametrize("part", ["text_encoder", "unet", "vae.decoder"])
def test_a_lost_device_is_said_and_the_base_loaded_afresh(
    generator: Generator, draw: Draw, part: str
) -> None:
    """The error that PyTorch raises, at the place where it does."""
    before = draw()
    error = torch.AcceleratorError("CUDA error: unspecified launch failure\nCUDA kernel errors might ...")
    with (
        before_each_call(part_of(generator, part), fail(error)),
        pytest.raises(DeviceLost, match=r"failed .*: CUDA error: unspecified launch failure Try") as caught,
    ):
        draw(prompt="another")
    assert "start the app anew" in caught.value.hint
    assert not generator._pipelines._loaded
    events: list[Event] = []
    (again,) = generator.generate(GenerateRequest(**TINY), events.append)
    assert any(isinstance(event, PhaseAdvanced) and event.phase == "load" for event in events)
    assert pixels(again) == pixels(before[0])


@pytest.mark.parametrize("values", [{"sampler": "Euler a"}, {"width": 32, "height": 32, "hires_scale": 1.5}])
def test_tried_again_after_an_error_for_memory_it_is_the_same_picture(
    generator: Generator, draw: Draw, values: dict[str, Any]
) -> None:
    """Noise that was drawn before the error is drawn again; larger pictures would be decoded in tiles."""
    (before,) = draw(**values)
    calls: list[None] = []

    def lack_once() -> None:
        calls.append(None)
        if len(calls) == 3:
            raise torch.OutOfMemoryError("out of memory")

    with before_each_call(part_of(generator, "unet"), lack_once):
        (again,) = draw(**values)
    assert len(calls) > 3
    assert pixels(again) == pixels(before)


def test_the_parts_go_back_to_rest_after_a_failure(
    generator: Generator, draw: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where they take turns on the device."""
    draw()
    rested: list[None] = []
    monkeypatch.setattr(loaded(generator).pipe, "maybe_free_model_hooks", lambda: rested.append(None))
    with (
        before_each_call(loaded(generator).pipe.unet, fail(Diverged("No numbers."))),
        pytest.raises(Diverged),
    ):
        draw()
    assert rested


def test_an_error_of_another_kind_is_not_hidden(generator: Generator, draw: Draw) -> None:
    draw()
    with (
        before_each_call(loaded(generator).pipe.unet, fail(RuntimeError("a mistake of ours"))),
        pytest.raises(RuntimeError, match=r"^a mistake of ours$"),
    ):
        draw()
    assert not generator._pipelines._loaded, "nobody knows what state it is in"
    draw()


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"num_inference_steps": 0}, "num_inference_steps: a whole number from 1 to 200 is needed (got 0)"),
        ({"num_inference_steps": 1000}, "num_inference_steps: a whole number from 1 to 200 is needed"),
        (
            {"width": 100},
            "width: a whole number from 32 to 2,048, a multiple of 8, is needed (got 100). The nearest",
        ),
        ({"prompt": "x" * 10_001}, "prompt: 10,001 characters are too many. Use at most 10,000."),
        ({"strength": 0}, "strength: a number above 0, up to 1 is needed (got 0)"),
        ({"image": "holiday.jpg"}, "image: this form is not accepted (got 'holiday.jpg')"),
    ],
)
def test_a_request_out_of_range_is_one_short_sentence(draw: Draw, values: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        draw(**values)
    assert str(caught.value).startswith(says)
    assert len(str(caught.value)) < 200, "it does not repeat a prompt of ten thousand characters"
    assert caught.value.field == next(iter(values))


@pytest.mark.parametrize("strength", [0.05, 0.3, 0.55, 0.58, 0.7, 0.95, 1.0])
@pytest.mark.parametrize("steps", [1, 7, 20, 29])
def test_the_second_pass_has_the_steps_that_are_asked_for(steps: int, strength: float) -> None:
    whole, skip = stretched(steps, strength, 1000)
    assert whole - skip == steps
    assert steps / whole == pytest.approx(strength, abs=1 / whole) or whole == steps


def test_very_long_schedules_are_cut_to_their_share() -> None:
    assert stretched(200, 0.01, 1000) == (1000, 990)
    assert skipped(20, 0.01) == 19, "one step stays"
    assert skipped(20, 1) == 0


def test_a_sampler_says_how_often_the_denoiser_is_asked(draw: Draw, generator: Generator) -> None:
    draw()
    process = loaded(generator).model.process
    assert [len(Sampler(process, "Heun", 10, (8, 8), skip=skip)) for skip in (None, 0, 4)] == [19, 19, 11]


def test_a_prompt_is_encoded_once(generator: Generator, draw: Draw, make_lora: MakeLora) -> None:
    make_lora("ink")
    draw()
    calls: list[bool] = []
    with before_each_call(loaded(generator).pipe.text_encoder, lambda: calls.append(True)):
        fresh = {}
        for name, values in {
            "row": {"count": 3},
            "seed": {"seed": 1},
            "other": {"prompt": "other"},
            "lora": {"loras": ["ink"]},
            "weaker": {"loras": [("ink", 0.5)]},
            "skip": {"clip_skip": 2},
        }.items():
            before = len(calls)
            fresh[name] = pixels(draw(**values)[0])
            assert (len(calls) > before) == (name in {"other", "lora", "weaker", "skip"}), name
        known = len(calls)
        for name, loras in (("lora", ["ink"]), ("weaker", [("ink", 0.5)])):
            assert pixels(draw(loras=loras)[0]) == fresh[name]
        assert len(calls) == known
    assert len(set(fresh.values())) == len(fresh)


def test_few_prompts_are_kept(generator: Generator, draw: Draw) -> None:
    draw()
    model = loaded(generator).model
    texts = EncodedTexts(kept=2)

    def image(prompt: str) -> SettledImage:
        request = GenerateRequest(**TINY)
        return SettledImage(request=request, prompt=prompt, negative_prompt="", loras=(), hires=(64, 64))

    first = texts.get(model, image("a"))
    assert texts.get(model, image("a")) is first
    for prompt in ("b", "a", "c"):
        texts.get(model, image(prompt))
    assert texts.get(model, image("a")) is first, "used later than b"
    generator.unload()
    draw()
    assert texts.get(loaded(generator).model, image("a")) is not first


def test_choices_are_made_for_each_image(draw: Draw, settings: Settings) -> None:
    """Also in the negative prompt; image 2 of a row is the one drawn alone."""
    (settings.wildcards / "colour.txt").write_text("red\ngreen\nblue\n", encoding="utf-8")
    values = {"prompt": "a {disc|square|star}, __colour__", "negative_prompt": "{x|y|z}"}
    row = draw(**values, count=4)
    texts = {image.infotext.splitlines()[0] for image in row}
    assert len(texts) > 1
    assert not any("{" in text or "__" in text for text in texts)
    assert [image.request.prompt for image in row] == [values["prompt"]] * 4
    assert pixels(draw(**values, seed=9)[0]) == pixels(row[2])


def test_a_lora_can_stand_in_the_prompt(draw: Draw, make_lora: MakeLora) -> None:
    make_lora("ink")
    (tagged,) = draw(prompt="a disc <lora:ink:0.5>")
    assert pixels(tagged) == pixels(draw(loras=[("ink", 0.5)])[0]) != pixels(draw()[0])


def test_a_picture_that_cannot_be_saved_is_said(draw: Draw, settings: Settings, tmp_path: Path) -> None:
    settings.images.rename(tmp_path / "away")
    settings.images.write_text("in the way", encoding="utf-8")
    with pytest.raises(StoreError, match="The picture can't be written to") as caught:
        draw()
    assert "Free some disk space" in caught.value.hint
    settings.images.unlink()
    draw()
