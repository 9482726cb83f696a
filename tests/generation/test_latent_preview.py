"""A look at the picture while it is drawn."""

from __future__ import annotations

import os
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image, ImageChops, ImageStat

from lora_studio.events import Event, ImageSaved, LivePreview, Noted, ignore
from lora_studio.families.base_files.locate import find_base
from lora_studio.generation import latent_preview
from lora_studio.generation.latent_preview import LARGEST_SHARE, LiveView, colours_of, look
from lora_studio.generation.pipelines import Pipelines
from lora_studio.generator import Generator
from lora_studio.request import GenerateRequest
from lora_studio.settings import Settings
from tests.support.drawing import TINY

STARTER = {"prompt": "red heart on a blue background", "seed": 3, "num_inference_steps": 8}


@pytest.fixture
def at_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latent_preview, "LiveView", partial(LiveView, seconds_between=0.0))
    monkeypatch.setattr(latent_preview, "LARGEST_SHARE", 1e9)


def run(generator: Generator, **values: Any) -> tuple[bytes, list[Event], list[Image.Image]]:
    """Pixels, events, and the looks as they were when they were told."""
    events: list[Event] = []
    looks: list[Image.Image] = []

    def hear(event: Event) -> None:
        events.append(event)
        if isinstance(event, LivePreview):
            with Image.open(event.path) as seen:
                assert seen.format == "WEBP"
                looks.append(seen.convert("RGB"))

    (image,) = generator.generate(GenerateRequest(**values), hear, live=True)
    with Image.open(image.path) as picture:
        return picture.tobytes(), events, looks


@pytest.mark.usefixtures("at_every_step")
def test_looks_come_nearer_to_the_picture_and_leave_nothing_behind() -> None:
    settings = Settings.from_environment()
    generator = Generator(settings)
    drawn, events, looks = run(generator, **STARTER)
    told = [event for event in events if isinstance(event, LivePreview)]
    assert [(event.image, event.step) for event in told] == [(1, step) for step in range(1, 9)]
    assert len({event.path for event in told}) == 1
    assert Path(told[0].path).parent == settings.cache / "live"
    assert list((settings.cache / "live").iterdir()) == []
    final = Image.frombytes("RGB", (64, 64), drawn)
    far = [ImageStat.Stat(ImageChops.difference(seen.resize((64, 64)), final)).mean for seen in looks]
    assert sum(far[-1]) < sum(far[0]) / 2
    assert max(far[-1]) < 25, "of 255: the colours are right"
    assert max(looks[-1].size) <= 256


@pytest.mark.usefixtures("at_every_step")
@pytest.mark.parametrize("sampler", ["DDIM", "Euler a", "DPM++ 2M Karras", "Heun", "LCM", "DPM++ 2M SDE"])
def test_looking_does_not_change_the_picture(generator: Generator, sampler: str) -> None:
    values = {**TINY, "sampler": sampler, "hires_scale": 1.5}
    watched, events, looks = run(generator, **values)
    (plain,) = generator.generate(GenerateRequest(**values))
    with Image.open(plain.path) as picture:
        assert picture.tobytes() == watched
    assert looks
    assert not any(isinstance(event, Noted) for event in events)


def test_nobody_asked_nothing_is_shown(generator: Generator, settings: Settings) -> None:
    events: list[Event] = []
    generator.generate(GenerateRequest(**TINY), events.append)
    assert not any(isinstance(event, LivePreview) for event in events)
    assert not (settings.cache / "live").exists()


class Clock:
    """Seconds that pass when it is looked at, each time as many."""

    def __init__(self, tick: float) -> None:
        self.now, self.tick, self.time = 0.0, tick, time.time

    def monotonic(self) -> float:
        self.now += self.tick
        return self.now


def test_looks_are_few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(0.001)
    monkeypatch.setattr("lora_studio.generation.latent_preview.time", clock)
    view = LiveView(tmp_path, seconds_between=0.05)
    latents, colours = torch.zeros(1, 4, 8, 8), torch.zeros(3, 5)
    assert not view.is_due, "a picture that is done in a moment needs none"
    shown = 0
    while clock.now < 0.5:
        if view.is_due:
            shown += bool(view.show(latents, colours))
    assert shown == 9, "one each 0.05 s, or 0.05 s after what a look itself took if that is later"
    slow = LiveView(tmp_path, seconds_between=0)
    slow.show(latents, colours)
    clock.tick, shown_at = 0.0, clock.now
    for after, due in ((0.9, False), (1.1, True)):
        clock.now = shown_at + after * 0.001 / LARGEST_SHARE
        assert slow.is_due == due


@pytest.mark.usefixtures("at_every_step")
def test_a_disk_that_is_full_costs_only_the_looks(generator: Generator, settings: Settings) -> None:
    (settings.cache / "live").write_text("in the way", encoding="utf-8")
    _, events, looks = run(generator, **TINY)
    notes = [event.message for event in events if isinstance(event, Noted)]
    assert len(notes) == 1
    assert notes[0].startswith("No live previews: they can't be written")
    assert any(isinstance(event, ImageSaved) for event in events)
    assert not looks


def test_what_a_run_left_that_ended_suddenly_goes(tmp_path: Path) -> None:
    old, new = tmp_path / "old.webp", tmp_path / "new.webp"
    for file in (old, new):
        file.write_bytes(b"x")
    long_ago = time.time() - 2 * latent_preview.STALE_SECONDS
    os.utime(old, (long_ago, long_ago))
    LiveView(tmp_path).close()
    assert [path.name for path in tmp_path.iterdir()] == ["new.webp"]


def test_the_map_tells_colours_apart() -> None:
    """On the starter: what it says of a plain picture's latents is the picture's colour."""
    settings = Settings.from_environment()
    base = Pipelines(settings).get(find_base("starter", settings), ignore)
    assert base is not None
    codec = base.model.codec
    colours = colours_of(base.model.codec)
    assert torch.allclose(colours, colours_of(base.model.codec), atol=1e-4), "the same each time"
    for colour in [(220, 40, 30), (30, 60, 200), (240, 230, 60), (20, 20, 20)]:
        plain = Image.new("RGB", (64, 64), colour)
        latents = codec.scaled(codec.encode(codec.to_pixels(plain))).mean
        seen = ImageStat.Stat(look(latents, colours)).mean
        assert max(abs(value - wanted) for value, wanted in zip(seen, colour, strict=True)) < 50


def test_what_is_no_number_is_black() -> None:
    assert look(torch.full((1, 4, 8, 8), float("nan")), torch.ones(3, 5)).getextrema() == ((0, 0),) * 3


def test_an_autoencoder_that_overflows_at_encoding_spoils_the_looks_only() -> None:
    settings = Settings.from_environment()
    base = Pipelines(settings).get(find_base("starter", settings), ignore)
    assert base is not None
    with torch.no_grad():
        base.pipe.vae.quant_conv.bias.fill_(float("nan"))
    assert colours_of(base.model.codec).isfinite().all()
