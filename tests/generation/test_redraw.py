"""Pictures from pictures: img2img, inpainting, the second pass; all families, against plain diffusers."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image, ImageChops, ImageDraw

from lora_studio.catalog import SAMPLERS
from lora_studio.errors import ConfigError, StoreError
from lora_studio.events import Denoised, Event, Finished, Noted, Started
from lora_studio.families.schedulers import build_scheduler
from lora_studio.generator import Generator
from lora_studio.images.input_store import keep
from lora_studio.request import GeneratedImage, GenerateRequest
from lora_studio.settings import Settings
from tests.support.drawing import FIRST_SAMPLERS, TINY, freeze_weights
from tests.support.tiny import SHAPES, make_tiny, make_tiny_sdxl

Redraw = Callable[..., GeneratedImage]


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("shapes")
    moved = make_tiny_sdxl(
        folder / "moved", latents_mean=[0.4, -0.3, 0.2, 0.9], latents_std=[1.5, 0.5, 2.0, 0.8]
    )
    return {**{shape: make_tiny(shape, folder / shape) for shape in SHAPES}, "moved": moved}


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp("kept")
    return Settings(home=folder / "home", models=folder / "models")


@pytest.fixture(scope="module")
def generator(settings: Settings) -> Generator:
    """One for all, whose bases stay loaded."""
    return Generator(settings)


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
def redraw(generator: Generator, bases: dict[str, Path], events: list[Event]) -> Redraw:
    def call(shape: str = "sd15", **values: Any) -> GeneratedImage:
        request = GenerateRequest(**{**TINY, "base": str(bases[shape]), "sampler": "DDIM", **values})
        return generator.generate(request, events.append)[0]

    return call


def picture(width: int = 64, height: int = 64) -> Image.Image:
    """A disc on a gradient, no pixel like its neighbours."""
    ground = Image.merge("RGB", [Image.linear_gradient("L").rotate(90 * turn) for turn in range(3)])
    ground = ground.resize((width, height))
    ImageDraw.Draw(ground).ellipse((width // 4, 8, width // 2, height // 2), fill=(250, 200, 30))
    return ground


def mask_of(box: tuple[int, int, int, int], size: tuple[int, int] = (64, 64)) -> Image.Image:
    mask = Image.new("L", size)
    mask.paste(255, box)
    return mask


def opened(image: GeneratedImage) -> Image.Image:
    with Image.open(image.path) as found:
        return found.convert("RGB")


def pixels(image: GeneratedImage) -> bytes:
    return opened(image).tobytes()


def plain_diffusers(base: Path, kind: str, generator: torch.Generator | None = None, **values: Any) -> bytes:
    """What the library draws by itself with the pipeline for the purpose."""
    import diffusers

    pipe = getattr(diffusers, kind).from_pretrained(base)
    freeze_weights(pipe)
    pipe.scheduler = build_scheduler(
        "DDIM", {**pipe.scheduler.config, "_class_name": type(pipe.scheduler).__name__}
    )
    pipe.set_progress_bar_config(disable=True)
    generator = generator or torch.Generator().manual_seed(7)
    drawn = pipe("a disc", negative_prompt="", generator=generator, guidance_scale=3.0, **values)
    image: Image.Image = drawn.images[0]
    return image.tobytes()


IMG2IMG = {
    "sd15": "StableDiffusionImg2ImgPipeline",
    "sd2_v": "StableDiffusionImg2ImgPipeline",
    "sdxl": "StableDiffusionXLImg2ImgPipeline",
    "moved": "StableDiffusionXLImg2ImgPipeline",
}
METHODS_FIRST = [
    name if name in FIRST_SAMPLERS else pytest.param(name, marks=pytest.mark.slow) for name in SAMPLERS
]
TEXT_TO_IMAGE = {shape: kind.replace("Img2Img", "") for shape, kind in IMG2IMG.items()}


@pytest.mark.parametrize("shape", TEXT_TO_IMAGE)
def test_a_picture_from_text_is_the_one_that_plain_diffusers_draws(
    redraw: Redraw, bases: dict[str, Path], shape: str
) -> None:
    """Also with an autoencoder whose latents have a mean and a deviation."""
    ours = redraw(shape, num_inference_steps=4)
    size = {"width": 64, "height": 64}
    assert pixels(ours) == plain_diffusers(bases[shape], TEXT_TO_IMAGE[shape], num_inference_steps=4, **size)


@pytest.mark.parametrize("shape", IMG2IMG)
@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_a_redrawn_picture_is_the_one_that_plain_diffusers_draws(
    redraw: Redraw, settings: Settings, bases: dict[str, Path], shape: str, strength: float
) -> None:
    source = picture()
    values = {"strength": strength, "num_inference_steps": 4}
    ours = redraw(shape, image=keep(source, settings.inputs), **values)
    assert pixels(ours) == plain_diffusers(bases[shape], IMG2IMG[shape], image=source, **values)


@pytest.mark.parametrize("strength", [0.6, 1.0])
def test_what_a_mask_frees_is_drawn_as_plain_diffusers_does(
    redraw: Redraw, settings: Settings, bases: dict[str, Path], strength: float
) -> None:
    source, mask = picture(), mask_of((16, 16, 48, 40))
    values = {"strength": strength, "num_inference_steps": 5}
    names = {"image": keep(source, settings.inputs), "mask_image": keep(mask, settings.inputs)}
    ours = redraw(**names, mask_blur=0, **values)
    plain = plain_diffusers(
        bases["sd15"],
        "StableDiffusionInpaintPipeline",
        image=source,
        mask_image=mask,
        **{**values, "width": 64, "height": 64},
    )
    box = (16, 16, 48, 40)
    assert opened(ours).crop(box).tobytes() == Image.frombytes("RGB", (64, 64), plain).crop(box).tobytes()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("crop", [None, 4])
@pytest.mark.parametrize("blur", [0, 3])
def test_outside_the_mask_nothing_changes(
    redraw: Redraw, settings: Settings, shape: str, crop: int | None, blur: int
) -> None:
    from lora_studio.generation.init_image import faded

    source, mask = picture(), mask_of((20, 24, 44, 40))
    names = {"image": keep(source, settings.inputs), "mask_image": keep(mask, settings.inputs)}
    result = opened(redraw(shape, **names, mask_blur=blur, padding_mask_crop=crop, strength=0.9))
    untouched = faded(mask, blur).point(lambda value: 255 if value == 0 else 0)
    assert untouched.histogram()[255] > 64 * 64 // 3
    nothing = Image.new("RGB", source.size)
    assert Image.composite(result, nothing, untouched).tobytes() == (
        Image.composite(source, nothing, untouched).tobytes()
    )
    changed = ImageChops.difference(result, source).convert("L").crop((24, 28, 40, 36))
    assert changed.histogram()[0] < 16 * 8 // 2, "inside it is another picture"


def test_a_small_mask_is_drawn_large_in_a_large_picture(redraw: Redraw, settings: Settings) -> None:
    """Of a picture larger than the base draws, only the surroundings of the mask are redrawn, at the base's
    own size; the picture keeps its size."""
    source, mask = picture(150, 110), mask_of((100, 60, 110, 70), (150, 110))
    names = {"image": keep(source, settings.inputs), "mask_image": keep(mask, settings.inputs)}
    image = redraw(**names, mask_blur=0, padding_mask_crop=6)
    assert (image.request.width, image.request.height) == (64, 64)
    assert (image.width, image.height) == (150, 110)
    box = ImageChops.difference(opened(image), source).getbbox()
    assert box is not None
    assert (box[0] >= 100, box[1] >= 60, box[2] <= 110, box[3] <= 70) == (True,) * 4


@pytest.mark.parametrize(
    ("shape", "upscaler"),
    [
        ("sd15", "lanczos"),
        ("sdxl", "latent"),
        *(
            pytest.param(*pair, marks=pytest.mark.slow)
            for pair in (("sd15", "latent"), ("sdxl", "lanczos"), ("sd2_v", "lanczos"), ("sd2_v", "latent"))
        ),
    ],
)
def test_the_second_pass_draws_larger(redraw: Redraw, events: list[Event], shape: str, upscaler: str) -> None:
    values = {"hires_scale": 1.5, "hires_strength": 0.5, "hires_steps": 2, "hires_upscaler": upscaler}
    image = redraw(shape, **values)
    assert (image.width, image.height) == opened(image).size == (96, 96)
    assert (image.request.width, image.request.height, image.request.hires_steps) == (64, 64, 2)
    steps = [(event.step, event.total_steps) for event in events if isinstance(event, Denoised)]
    assert steps == [(step, 5) for step in range(1, 6)], "one bar over both passes"
    assert pixels(redraw(shape, **values)) == pixels(image)
    assert pixels(redraw(shape, **{**values, "hires_strength": 0.9})) != pixels(image)


def test_the_second_pass_is_what_plain_diffusers_redraws(redraw: Redraw, bases: dict[str, Path]) -> None:
    """With as many steps as are asked for: 3 of 6 at half strength."""
    base, generator = bases["sd15"], torch.Generator().manual_seed(7)
    first = plain_diffusers(base, "StableDiffusionPipeline", generator, num_inference_steps=4)
    larger = Image.frombytes("RGB", (64, 64), first).resize((96, 96), Image.Resampling.LANCZOS)
    second = plain_diffusers(
        base, IMG2IMG["sd15"], generator, image=larger, num_inference_steps=6, strength=0.5
    )
    values = {"hires_scale": 1.5, "hires_steps": 3, "hires_strength": 0.5}
    assert pixels(redraw(num_inference_steps=4, **values)) == second


def test_the_second_pass_keeps_to_the_first(redraw: Redraw) -> None:
    """At a low strength it is nearly the first picture, enlarged."""
    small = opened(redraw(num_inference_steps=6)).resize((128, 128), Image.Resampling.LANCZOS)
    large = opened(redraw(num_inference_steps=6, hires_scale=2, hires_steps=1, hires_strength=0.02))
    other = opened(redraw(num_inference_steps=6, width=128, height=128))
    assert distance(large, small) < distance(other, small)


def distance(one: Image.Image, other: Image.Image) -> float:
    difference = ImageChops.difference(one, other).convert("L")
    return sum(level * count for level, count in enumerate(difference.histogram()))


@pytest.mark.parametrize("sampler", METHODS_FIRST)
def test_every_sampler_redraws_and_draws_larger(
    generator: Generator, settings: Settings, bases: dict[str, Path], sampler: str
) -> None:
    source = picture()
    digest, mask = keep(source, settings.inputs), keep(mask_of((8, 8, 40, 40)), settings.inputs)
    values: dict[str, Any] = {**TINY, "base": str(bases["sd15"]), "sampler": sampler, "image": digest}

    def redrawn(**more: Any) -> bytes:
        return pixels(generator.generate(GenerateRequest(**{**values, **more}))[0])

    first = redrawn(hires_scale=1.25, hires_steps=2)
    assert redrawn(hires_scale=1.25, hires_steps=2) == first
    assert redrawn(mask_image=mask) != source.tobytes()


def test_a_row_of_redrawn_pictures_is_each_as_alone(
    generator: Generator, redraw: Redraw, settings: Settings, bases: dict[str, Path]
) -> None:
    names = {
        "image": keep(picture(), settings.inputs),
        "mask_image": keep(mask_of((8, 8, 40, 40)), settings.inputs),
    }
    for more in (names, {"image": names["image"], "hires_scale": 1.5}):
        values = {**TINY, "base": str(bases["sd15"]), "sampler": "Euler a", **more}
        row = generator.generate(GenerateRequest(**values, count=2))
        assert pixels(redraw(**{**values, "seed": 8})) == pixels(row[1]) != pixels(row[0])


def test_the_steps_are_told_beforehand(redraw: Redraw, events: list[Event], settings: Settings) -> None:
    digest = keep(picture(), settings.inputs)
    redraw(num_inference_steps=8, image=digest, strength=0.5, hires_scale=1.5, hires_steps=3, count=2)
    started, finished = events[0], events[-1]
    assert isinstance(started, Started)
    assert isinstance(finished, Finished)
    assert started.total_steps == finished.steps == 14
    events.clear()
    redraw(num_inference_steps=4, image=digest, strength=0.01)
    assert sum(isinstance(event, Denoised) for event in events) == 1, "one step at least"


def test_the_size_is_the_picture_s_own(redraw: Redraw, events: list[Event], settings: Settings) -> None:
    image = redraw(image=keep(picture(72, 48), settings.inputs))
    assert (image.width, image.height) == (72, 48)
    assert not notes(events)
    digest = keep(picture(90, 51), settings.inputs)
    image = redraw(image=digest)
    assert (image.width, image.height) == (88, 48)
    assert notes(events) == [
        "The picture of 90 × 51 pixels is drawn at 88 × 48, the nearest size that suits the base model."
    ]
    image = redraw(image=digest, width=128)
    assert (image.width, image.height) == (128, 72), "the other side follows"
    image = redraw(image=digest, width=64, height=64)
    assert (image.width, image.height) == (64, 64)
    assert len(notes(events)) == 1


def notes(events: list[Event]) -> list[str]:
    return [event.message for event in events if isinstance(event, Noted)]


def test_a_mask_leaves_the_second_pass_out(redraw: Redraw, events: list[Event], settings: Settings) -> None:
    names = {
        "image": keep(picture(), settings.inputs),
        "mask_image": keep(mask_of((8, 8, 40, 40)), settings.inputs),
    }
    image = redraw(**names, hires_scale=2)
    assert (image.width, image.height) == (64, 64)
    assert ["second pass is left out" in note for note in notes(events)] == [True]
    assert pixels(image) == pixels(redraw(**names))


def test_the_loaded_parts_serve_all_of_it(
    redraw: Redraw, generator: Generator, events: list[Event], settings: Settings
) -> None:
    """No second load, and the same modules afterwards: text-to-image gives what it gave before."""
    generator.unload()
    before = redraw()
    (base,) = generator._pipelines._loaded.values()
    parts = {name: id(part) for name, part in base.pipe.components.items() if name != "scheduler"}
    events.clear()
    redraw(image=keep(picture(), settings.inputs), hires_scale=1.5)
    assert {name: id(part) for name, part in base.pipe.components.items() if name != "scheduler"} == parts
    assert not any(type(event).__name__ == "PhaseAdvanced" for event in events)
    assert pixels(redraw()) == pixels(before)
    assert len(generator._pipelines._loaded) == 1


def wrong(settings: Settings) -> Iterator[tuple[dict[str, Any], type[Exception], str]]:
    there, white = keep(picture(), settings.inputs), keep(mask_of((0, 0, 9, 9)), settings.inputs)
    black = keep(Image.new("L", (64, 64)), settings.inputs)
    yield {"image": "0" * 64}, StoreError, r"picture to redraw \(000000000000…\) is not on this machine"
    yield {"image": there, "mask_image": "1" * 64}, StoreError, "is not on this machine"
    yield {"mask_image": white}, ConfigError, "a mask, but no picture"
    yield {"image": there, "mask_image": black}, ConfigError, "The mask is empty"
    speck = {"image": there, "mask_image": keep(mask_of((30, 30, 31, 31)), settings.inputs), "mask_blur": 64}
    yield speck, ConfigError, "The mask is empty"
    yield {**speck, "padding_mask_crop": 8}, ConfigError, "The mask is empty"
    yield {"hires_scale": 4, "width": 2048, "height": 64}, ConfigError, "would draw 8192 × 256 pixels"


def test_what_is_wrong_is_said_in_a_sentence(redraw: Redraw, settings: Settings) -> None:
    for values, kind, says in wrong(settings):
        with pytest.raises(kind, match=says):
            redraw(**values)


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ("sd15", torch.bfloat16),
        ("sdxl", torch.float16),
        *(
            pytest.param(*pair, marks=pytest.mark.slow)
            for pair in itertools.product(SHAPES, (torch.float16, torch.bfloat16))
            if pair not in (("sd15", torch.bfloat16), ("sdxl", torch.float16))
        ),
    ],
)
def test_all_of_it_runs_in_half_precision(
    redraw: Redraw, generator: Generator, settings: Settings, shape: str, dtype: torch.dtype
) -> None:
    """As on a GPU; the result is near that of 32 bit."""
    names = {
        "image": keep(picture(), settings.inputs),
        "mask_image": keep(mask_of((8, 8, 40, 40)), settings.inputs),
    }
    ways: list[dict[str, Any]] = [
        {"variation_strength": 0.5, "variation_seed": 3},
        {"image": names["image"], "hires_scale": 1.25, "sampler": "Euler a"},
        {"hires_scale": 1.25, "hires_upscaler": "latent", "sampler": "DPM++ 2M Karras"},
        names,
    ]
    generator.unload()
    exact = [opened(redraw(shape, **way)) for way in ways]
    (base,) = generator._pipelines._loaded.values()
    parts = [part for part in base.pipe.components.values() if isinstance(part, torch.nn.Module)]
    for part in parts:
        part.to(dtype)
    generator._texts.clear()
    for way, wanted in zip(ways, exact, strict=True):
        coarse = opened(redraw(shape, **way))
        assert distance(coarse, wanted) / (wanted.width * wanted.height) < 12, way
    assert {part.dtype for part in parts} == {dtype}
    generator.unload()
