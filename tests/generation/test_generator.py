"""The generator on a real, tiny base model: what it draws, what it says while it does, how it stops."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lora_studio.catalog import SAMPLERS
from lora_studio.errors import ConfigError, Diverged, ModelFileError, OutOfMemory, StoreError
from lora_studio.events import Denoised, Event, Finished, ImageSaved, Noted, PhaseAdvanced, Started, Stopped
from lora_studio.generator import Generator
from lora_studio.images.image_metadata import read_request
from lora_studio.request import MAX_SEED, GeneratedImage, GenerateRequest
from lora_studio.settings import Settings
from tests.support.drawing import TINY, Draw, MakeLora, freeze_weights, pixels
from tests.support.loras import write_lora
from tests.support.tiny import make_tiny_base


def plain_diffusers(base: Path, *, lora: Path | None = None, **values: Any) -> bytes:
    """What the library draws by itself, with no code of ours."""
    import torch
    from diffusers import StableDiffusionPipeline

    pipe = StableDiffusionPipeline.from_pretrained(base, safety_checker=None)
    pipe.set_progress_bar_config(disable=True)
    if lora:
        pipe.load_lora_weights(str(lora))
    freeze_weights(pipe)
    generator = torch.Generator().manual_seed(values.pop("seed"))
    image: Image.Image = pipe(**values, generator=generator, height=64, width=64).images[0]
    return image.tobytes()


@pytest.mark.parametrize("text_encoder", [True, False])
def test_the_image_is_the_one_that_plain_diffusers_draws(
    draw: Draw, settings: Settings, make_lora: MakeLora, text_encoder: bool
) -> None:
    make_lora("ink", text_encoder=text_encoder)
    values = {"prompt": "a disc", "negative_prompt": "x", "num_inference_steps": 4, "guidance_scale": 3.0}
    (ours,) = draw(loras=["ink"], sampler="DDIM", seed=11, **values)
    folder = settings.loras / "ink"
    assert pixels(ours) == plain_diffusers(settings.bases / "tiny", lora=folder, seed=11, **values)
    (without,) = draw(sampler="DDIM", seed=11, **values)
    assert pixels(without) == plain_diffusers(settings.bases / "tiny", seed=11, **values)
    assert pixels(without) != pixels(ours)


@pytest.mark.slow
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_draws_the_same_for_a_seed(draw: Draw, sampler: str) -> None:
    """Also in a row: image 2 of a request equals the image drawn alone with its seed."""
    row = draw(sampler=sampler, count=2, num_inference_steps=4)
    (alone,) = draw(sampler=sampler, seed=8, num_inference_steps=4)
    assert [image.seed for image in row] == [7, 8]
    assert pixels(row[1]) == pixels(alone) != pixels(row[0])
    assert row[0].request.sampler == sampler
    draw(sampler=sampler, num_inference_steps=1)


def test_a_sampler_leaves_nothing_behind_for_the_next(draw: Draw, settings: Settings) -> None:
    """Both are one class of diffusers, with and without Karras' noise levels."""
    karras = draw(sampler="DPM++ 2M Karras", num_inference_steps=4)[0]
    plain = draw(sampler="DPM++ 2M", num_inference_steps=4)[0]
    fresh = Generator(settings).generate(plain.request)[0]
    assert pixels(plain) == pixels(fresh) != pixels(karras)


def test_what_is_left_open_is_filled_in_and_written(draw: Draw) -> None:
    (image,) = draw(num_inference_steps=None, guidance_scale=None, seed=None)
    request = image.request
    assert (request.width, request.height, request.num_inference_steps) == (64, 64, 25)
    assert (request.sampler, request.guidance_scale) == ("DDIM", 7.5)
    assert request.seed == image.seed
    assert request.seed != draw(num_inference_steps=1, seed=None)[0].seed
    with Image.open(image.path) as picture:
        assert picture.size == (64, 64)


def test_the_png_gives_the_picture_again(draw: Draw, generator: Generator, make_lora: MakeLora) -> None:
    make_lora("ink", metadata={"modelspec.trigger_phrase": "zwink"})
    first = draw(loras=[("ink", 0.8)], sampler="Euler a", count=2, negative_prompt="x", width=48, height=72)[
        1
    ]
    (again,) = generator.generate(read_request(first.path))
    assert pixels(again) == pixels(first)
    assert again.infotext == first.infotext
    assert (first.width, first.height) == (48, 72)


def test_seeds_wrap_around(draw: Draw) -> None:
    assert [image.seed for image in draw(seed=MAX_SEED, count=2, num_inference_steps=1)] == [MAX_SEED, 0]


def test_trigger_words_are_inserted_for_the_loras_in_use(draw: Draw, make_lora: MakeLora) -> None:
    make_lora("a", metadata={"modelspec.trigger_phrase": "zwa"}, only="mid_block")
    make_lora("b", metadata={"modelspec.trigger_phrase": "zwb"}, only="mid_block")
    (image,) = draw(loras=["b", "a"])
    assert image.infotext.startswith("zwb, zwa, a disc <lora:b:1> <lora:a:1>\n")
    assert image.request.prompt == "a disc"
    assert pixels(image) == pixels(draw(loras=["b", "a"], prompt="zwb, zwa, a disc")[0])
    assert draw(loras=["a", ("b", 0)])[0].infotext.startswith("zwa, a disc ")
    assert draw(loras=["a"], insert_trigger=False)[0].infotext.startswith("a disc ")


def collect(generator: Generator, **values: Any) -> tuple[list[Event], list[GeneratedImage]]:
    events: list[Event] = []
    images = generator.generate(GenerateRequest(**{**TINY, **values}), events.append)
    return events, images


def test_the_events_tell_the_whole_story(generator: Generator) -> None:
    events, images = collect(generator, count=2)
    finished = events.pop()
    assert isinstance(finished, Finished)
    assert (finished.path, finished.steps) == (images[-1].path, 6)
    started = events.pop(0)
    assert isinstance(started, Started)
    assert (started.total_steps, started.images, started.phases) == (6, 2, ("load", "generate"))
    load, events = [event for event in events if isinstance(event, PhaseAdvanced)], events[-8:]
    assert {event.phase for event in load} == {"load"}
    assert (load[0].done, load[-1].done) == (0, load[-1].total)
    drawn = [
        [Denoised(image=image, images=2, step=step, total_steps=3) for step in (1, 2, 3)]
        + [ImageSaved(path=images[image - 1].path, seed=6 + image, image=image, images=2)]
        for image in (1, 2)
    ]
    assert events == [*drawn[0], *drawn[1]]


def test_the_base_is_loaded_once(generator: Generator, make_lora: MakeLora) -> None:
    make_lora("a")
    assert loads(collect(generator)[0]) == 1
    for loras in ([{"slug": "a"}], [], [{"slug": "a", "weight": 0.5}]):
        events, _ = collect(generator, loras=loras)
        assert loads(events) == 0
        assert isinstance(events[0], Started)
        assert events[0].phases == ("generate",)
    generator.unload()
    assert loads(collect(generator)[0]) == 1


def test_bases_stay_loaded_beside_each_other(generator: Generator, settings: Settings) -> None:
    make_tiny_base(settings.bases / "other", seed=1)
    first = pixels(collect(generator)[1][0])
    events, images = collect(generator, base="other")
    assert loads(events) == 1
    assert pixels(images[0]) != first
    events, images = collect(generator)
    assert loads(events) == 0
    assert pixels(images[0]) == first


def test_a_base_that_changed_on_disk_is_loaded_again(generator: Generator, settings: Settings) -> None:
    first = pixels(collect(generator)[1][0])
    make_tiny_base(settings.bases / "tiny", seed=5)
    events, images = collect(generator)
    assert loads(events) == 1
    assert pixels(images[0]) != first


def loads(events: Sequence[Event]) -> int:
    return sum(isinstance(event, PhaseAdvanced) and event.done == event.total for event in events)


@pytest.mark.parametrize(("after", "finished"), [(0, 0), (1, 0), (3, 1), (4, 1), (6, 2)])
def test_stopping_takes_one_step_and_keeps_what_is_done(
    generator: Generator, draw: Draw, monkeypatch: pytest.MonkeyPatch, after: int, finished: int
) -> None:
    """Three images of three steps, one by one; `after` so many steps somebody presses Stop."""
    monkeypatch.setattr("lora_studio.generation.generation_run.LONGEST", 0)
    events: list[Event] = []

    def steps() -> int:
        return sum(isinstance(event, Denoised) for event in events)

    def saved() -> int:
        return sum(isinstance(event, ImageSaved) for event in events)

    def is_pressed() -> bool:
        return steps() >= after and saved() >= finished

    images = generator.generate(GenerateRequest(**{**TINY, "count": 3}), events.append, is_pressed)
    assert len(images) == saved() == finished
    assert steps() == after
    assert events[-1] == Stopped(step=after, path=images[-1].path if images else "")
    again = draw(count=1)
    assert not images or pixels(again[0]) == pixels(images[0]), "the pipeline is usable afterwards"


def test_stopping_before_the_start_loads_nothing(generator: Generator) -> None:
    events: list[Event] = []
    assert generator.generate(GenerateRequest(**TINY), events.append, lambda: True) == []
    assert [type(event) for event in events] == [Started, Stopped]


def test_what_is_ignored_is_said(generator: Generator) -> None:
    events, _ = collect(generator, negative_prompt="blur", guidance_rescale=0.5, guidance_scale=1, count=2)
    assert notes(events) == [
        "The negative prompt is ignored at a guidance of 1 or less.",
        "The guidance rescale is ignored at a guidance of 1 or less.",
    ]
    assert not notes(collect(generator, negative_prompt="x", guidance_rescale=0.5)[0])


def notes(events: Sequence[Event]) -> list[str]:
    return [event.message for event in events if isinstance(event, Noted)]


def test_a_long_prompt_is_read_to_its_end(draw: Draw) -> None:
    """Far more than the 75 tokens of one window."""
    values = [pixels(draw(prompt="abc " * 40 + end)[0]) for end in ("", "disc", "disc")]
    assert values[0] != values[1] == values[2]


def test_the_layer_of_the_text_encoder_that_counts(draw: Draw, generator: Generator) -> None:
    """clip_skip 1 is the last layer; at 2, what the one before it says, normalised as the last."""
    plain, ours = (draw(clip_skip=skip, negative_prompt="x")[0] for skip in (1, 2))
    assert pixels(ours) != pixels(plain)
    (base,) = generator._pipelines._loaded.values()
    encoder = base.pipe.text_encoder
    layer = encoder.encoder.layers[1].register_forward_hook(lambda _, given, made: given[0])
    try:
        assert pixels(draw(prompt="a disc ", negative_prompt="x")[0]) == pixels(ours)
    finally:
        layer.remove()


def test_guidance_is_rescaled_as_diffusers_does_it(draw: Draw, settings: Settings) -> None:
    values = {"prompt": "a disc", "num_inference_steps": 3, "guidance_scale": 9.0, "guidance_rescale": 0.7}
    (ours,) = draw(sampler="DDIM", seed=11, **values)
    plain = plain_diffusers(settings.bases / "tiny", seed=11, negative_prompt="", **values)
    assert (
        pixels(ours) == plain != pixels(draw(sampler="DDIM", seed=11, **{**values, "guidance_rescale": 0})[0])
    )


def test_the_libraries_print_nothing(
    draw: Draw, make_lora: MakeLora, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    make_lora("a", text_encoder=False)
    make_lora("b")
    draw(loras=["a", "b"], prompt="abc " * 40)
    assert capfd.readouterr() == ("", "")
    assert [record.name for record in caplog.records if not record.name.startswith("lora_studio")] == []


def test_numbers_that_are_none_make_no_picture(draw: Draw, settings: Settings, make_lora: MakeLora) -> None:
    before = pixels(draw()[0])
    make_lora("broken", strength=1e18)
    with pytest.raises(Diverged, match="seed 7 came out as no numbers") as caught:
        draw(loras=["broken"])
    assert "weights of the LoRAs" in caught.value.hint
    assert "LORA_STUDIO_PRECISION=fp32" in caught.value.hint
    assert len(list(settings.images.rglob("*.png"))) == 1
    assert pixels(draw()[0]) == before


def test_too_little_memory_is_said_and_leaves_the_pipeline_usable(draw: Draw, generator: Generator) -> None:
    """A denoiser that needs a million gigabytes, for one call."""
    import torch

    before = pixels(draw()[0])
    (base,) = generator._pipelines._loaded.values()
    hook = base.pipe.unet.register_forward_pre_hook(lambda *_: torch.empty(1 << 50) and None)
    with pytest.raises(OutOfMemory, match=r"memory was not enough for drawing 64 × 64 pixels") as caught:
        draw()
    assert "smaller size" in caught.value.hint
    hook.remove()
    assert pixels(draw()[0]) == before


def test_a_missing_base_is_named(draw: Draw) -> None:
    with pytest.raises(ModelFileError, match="There is no base model 'nothing'"):
        draw(base="nothing")


def test_an_unknown_sampler_suggests_the_nearest(draw: Draw) -> None:
    with pytest.raises(ConfigError, match=r"no sampler called 'euler A'.*Did you mean Euler a\?") as caught:
        draw(sampler="euler A")
    assert caught.value.field == "sampler"
    with pytest.raises(ConfigError, match="Choose one of: DDIM, Euler"):
        draw(sampler="?")


def test_steps_that_a_sampler_cannot_do_are_named(draw: Draw) -> None:
    with pytest.raises(ConfigError, match="The sampler LCM can't do 200 steps") as caught:
        draw(sampler="LCM", num_inference_steps=200)
    assert caught.value.field == "num_inference_steps"


def test_an_unknown_lora_is_named(draw: Draw) -> None:
    with pytest.raises(StoreError, match="There is no LoRA “gone” in the library"):
        draw(loras=["gone"])


def test_a_lora_named_twice_is_said(draw: Draw, make_lora: MakeLora) -> None:
    make_lora("a")
    with pytest.raises(ConfigError, match="“a” is in the list twice") as caught:
        draw(loras=["a", ("a", 0.5)])
    assert caught.value.field == "loras"


def test_two_generators_at_once_do_not_disturb_each_other(settings: Settings, make_lora: MakeLora) -> None:
    """One generator used from two threads, as an API does that forgets the lease."""
    from concurrent.futures import ThreadPoolExecutor

    make_lora("a")
    generator = Generator(settings)
    requests = [
        GenerateRequest(**{**TINY, "loras": loras}) for loras in ([], [{"slug": "a"}]) for _ in range(2)
    ]
    alone = [pixels(Generator(settings).generate(request)[0]) for request in requests]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda request: pixels(generator.generate(request)[0]), requests))
    assert together == alone


def test_importing_the_front_door_loads_no_torch() -> None:
    heavy = ["torch", "diffusers", "transformers", "numpy", "PIL"]
    code = f"import sys, lora_studio.generator; sys.exit(any(name in sys.modules for name in {heavy}))"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0


def test_lora_file_of_another_name_in_the_folder_works(draw: Draw, settings: Settings) -> None:
    file = settings.loras / "train-scheduler" / "pytorch_lora_weights.safetensors"
    write_lora(file, settings.bases / "tiny")
    assert "train-scheduler: " in draw(loras=["train-scheduler"])[0].infotext
