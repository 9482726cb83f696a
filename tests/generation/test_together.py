"""Pictures of one request that go through the denoiser together: each is the one that it is alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from lora_studio.events import Denoised, Event, Finished, ImageSaved, LivePreview, Stopped
from lora_studio.families.batching.lockstep import LITTLE, Lockstep
from lora_studio.families.sampling import denoising_bytes
from lora_studio.generation.denoise import most_together
from lora_studio.generation.generation_run import AT_ONCE
from lora_studio.generation.latent_preview import LiveView
from lora_studio.generation.memory_savers import TILES
from lora_studio.generation.pipelines import LoadedBase
from lora_studio.generator import Generator
from lora_studio.images.input_store import keep
from lora_studio.request import GenerateRequest
from lora_studio.settings import Settings
from tests.support.drawing import TINY, Draw, MakeLora, pixels

STEPS: int = TINY["num_inference_steps"]


@pytest.fixture(autouse=True)
def all_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """What goes together here does on any machine."""
    monkeypatch.setattr("lora_studio.generation.generation_run.LONGEST", 1e9)


def loaded(generator: Generator) -> LoadedBase:
    (base,) = generator._pipelines._loaded.values()
    return base


@contextmanager
def calls_of(generator: Generator) -> Iterator[list[int]]:
    """The count of samples in each call of the denoiser."""
    calls: list[int] = []
    hook = loaded(generator).model.denoiser.register_forward_pre_hook(
        lambda _, given, named: calls.append(len(given[0] if given else named["sample"])), with_kwargs=True
    )
    try:
        yield calls
    finally:
        hook.remove()


def alone(draw: Draw, count: int, **values: Any) -> list[bytes]:
    return [pixels(*draw(**values, seed=7 + number)) for number in range(count)]


@pytest.mark.parametrize("sampler", ["DDIM", "Euler a"])
def test_each_is_to_the_bit_what_it_is_alone(
    draw: Draw, generator: Generator, make_lora: MakeLora, sampler: str
) -> None:
    """Six: the first alone, four together and one more; another LoRA is tried anew, the same one is not."""
    make_lora("ink")
    values: dict[str, Any] = {"sampler": sampler, "loras": ["ink"]}
    expected = alone(draw, 6, **values)
    by_itself = [2] * STEPS
    with calls_of(generator) as calls:
        assert [pixels(one) for one in draw(**values, count=6)] == expected
        assert calls == [*by_itself, 2, 2, 2, 2, 8, *[8] * (STEPS - 1), *by_itself]
        calls.clear()
        assert [pixels(one) for one in draw(**values, count=5)] == expected[:5]
        assert calls == [*by_itself, *[8] * STEPS]
        calls.clear()
        draw(sampler=sampler, count=3)
        assert calls == [*by_itself, 2, 2, 4, *[4] * (STEPS - 1)]


@pytest.mark.parametrize(("longest", "largest"), [(0.0, 2), (2.5, 4), (3.5, 6), (9.0, 8)])
def test_as_many_go_together_as_take_little_time(
    draw: Draw, generator: Generator, monkeypatch: pytest.MonkeyPatch, longest: float, largest: int
) -> None:
    """By what the first took alone: nobody waits longer for a picture, or loses more of them at Stop."""
    draw()
    monkeypatch.setattr("lora_studio.generation.generation_run.LONGEST", longest)
    clock = map(float, range(1_000_000))
    monkeypatch.setattr("lora_studio.generation.generation_run.time.monotonic", lambda: next(clock))
    with calls_of(generator) as calls:
        draw(count=5)
    assert max(calls) == largest
    assert calls[: STEPS + 1] == [2] * (STEPS + 1)


def test_a_clock_that_stands_still_stops_nothing(
    draw: Draw, generator: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw()
    monkeypatch.setattr("lora_studio.generation.generation_run.time.monotonic", lambda: 1.0)
    with calls_of(generator) as calls:
        draw(count=5)
    assert max(calls) == 8


def test_choices_go_together_as_far_as_their_texts_are_as_long(draw: Draw, generator: Generator) -> None:
    long = "a big disc, " * 30
    values = {"prompt": "{a disc|a dish|" + long + "}"}
    expected = alone(draw, 7, **values)
    with calls_of(generator) as calls:
        row = draw(**values, count=7)
    assert [pixels(one) for one in row] == expected
    assert len({one.infotext.splitlines()[0] for one in row}) == 3
    assert 2 in calls
    assert max(calls) > 2


@pytest.mark.parametrize(
    "values", [{"hires_scale": 1.5}, {"image": True}, {"width": 512, "height": 512, "num_inference_steps": 1}]
)
def test_two_passes_and_redrawings_and_large_ones_go_alone(
    draw: Draw,
    generator: Generator,
    settings: Settings,
    values: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (first,) = draw()
    if "image" in values:
        from PIL import Image

        values = {"image": keep(Image.open(first.path).convert("RGB"), settings.inputs)}
    if "width" in values:
        monkeypatch.setattr("lora_studio.generation.denoise.LITTLE", 1)
    expected = alone(draw, 3, **values)
    with calls_of(generator) as calls:
        assert [pixels(one) for one in draw(**values, count=3)] == expected
    assert set(calls) == {2}


def test_as_many_go_together_as_the_memory_takes(
    draw: Draw, generator: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw()
    base = loaded(generator)
    each = denoising_bytes(base.model, 64 * 64)
    request = GenerateRequest(**{**TINY, "width": 64, "height": 64})
    assert AT_ONCE < most_together(base, request) == LITTLE // each
    for room, most in ((3.5 * each, 3), (each, 1), (0, 1)):
        monkeypatch.setattr("lora_studio.generation.denoise.LITTLE", int(room))
        assert most_together(base, request) == most
    monkeypatch.undo()
    monkeypatch.setattr("lora_studio.families.batching.lockstep.find_memory", lambda _: (2.5 * each, 0))
    assert most_together(base, request) == 2
    monkeypatch.undo()
    base.savers.use((TILES,))
    assert most_together(base, request) == 1


def collect(generator: Generator, **values: Any) -> tuple[list[Event], list[bytes]]:
    events: list[Event] = []
    images = generator.generate(GenerateRequest(**{**TINY, **values}), events.append)
    return events, [pixels(image) for image in images]


def steps_in(events: list[Event]) -> list[tuple[int, int, int]]:
    return [(event.image, event.step, event.together) for event in events if isinstance(event, Denoised)]


def steps_of_all(events: list[Event]) -> int:
    return sum(together for _, _, together in steps_in(events))


def test_where_company_changes_a_bit_each_goes_on_by_itself(
    draw: Draw, generator: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was taken of the first step counts. The next request tries two, the one after it nothing."""
    expected = alone(draw, 4)
    monkeypatch.setattr("lora_studio.families.batching.lockstep.torch.equal", lambda *_: False)
    by_itself = [2] * STEPS
    for calls_expected in (
        [*by_itself, 2, 2, 2, 6, *[2] * 3 * (STEPS - 1)],
        [*by_itself * 2, 2, 2, 4, *[2] * 2 * (STEPS - 1)],
        by_itself * 4,
    ):
        with calls_of(generator) as calls:
            events, row = collect(generator, count=4)
        assert row == expected
        assert calls == calls_expected
        assert steps_in(events) == [(image, step + 1, 1) for image in (1, 2, 3, 4) for step in range(STEPS)]
        assert isinstance(events[-1], Finished)
        assert events[-1].steps == 4 * STEPS
    generator.unload()
    assert steps_in(collect(generator, count=3, num_inference_steps=1)[0]) == [(1, 1, 1), (2, 1, 2)]


def test_without_the_memory_for_company_each_goes_alone(draw: Draw, generator: Generator) -> None:
    expected = alone(draw, 4)
    hook = loaded(generator).model.denoiser.register_forward_pre_hook(
        lambda _, given, named: lack(len(given[0] if given else named["sample"])), with_kwargs=True
    )
    try:
        assert collect(generator, count=4)[1] == expected
    finally:
        hook.remove()


def lack(samples: int) -> None:
    if samples > 2:
        raise torch.OutOfMemoryError("out of memory")


@pytest.mark.parametrize(
    ("after", "taken", "finished"), [(1, 1, 0), (4, 6, 1), (9, 9, 1), (12, 12, 2), (13, 13, 4)]
)
def test_stop_takes_one_step_of_all_and_keeps_what_is_done(
    generator: Generator, draw: Draw, monkeypatch: pytest.MonkeyPatch, after: int, taken: int, finished: int
) -> None:
    """Five pictures of three steps, three at once after the first; Stop is pressed after so many steps of all
    and pictures."""
    monkeypatch.setattr("lora_studio.generation.generation_run.AT_ONCE", 3)
    expected = alone(draw, 4)
    events: list[Event] = []

    def is_pressed() -> bool:
        saved = sum(isinstance(event, ImageSaved) for event in events)
        return steps_of_all(events) >= after and saved >= finished

    images = generator.generate(GenerateRequest(**{**TINY, "count": 5}), events.append, is_pressed)
    assert [pixels(one) for one in images] == expected[:finished]
    assert steps_of_all(events) == taken
    assert events[-1] == Stopped(step=taken, path=images[-1].path if images else "")
    assert collect(generator, count=4)[1] == expected, "the pipeline is usable afterwards"


def test_progress_names_those_in_work_and_looks_show_the_first_of_them(
    draw: Draw, generator: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw()
    monkeypatch.setattr(LiveView, "is_due", True)
    events: list[Event] = []
    generator.generate(GenerateRequest(**{**TINY, "count": 3}), events.append, live=True)
    steps = range(1, STEPS + 1)
    assert steps_in(events) == [(1, step, 1) for step in steps] + [(2, step, 2) for step in steps]
    looks = [(event.image, event.step) for event in events if isinstance(event, LivePreview)]
    assert looks == [(image, step) for image in (1, 2) for step in steps]


def test_what_was_tried_is_kept_for_the_latest_loras(
    draw: Draw, generator: Generator, make_lora: MakeLora
) -> None:
    """Whatever their weights."""
    make_lora("ink")
    found: list[Lockstep] = []
    for weight in (1.0, 0.5, 0.0):
        draw(count=3, loras=[("ink", weight)])
        found += loaded(generator).locksteps.values()
    assert [found.index(one) for one in found] == [0, 0, 2]
