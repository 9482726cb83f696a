"""Drawing as on ZeroGPU: in a process of its own that is forked for the call, from a request to files."""

from __future__ import annotations

import contextvars
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from lora_studio.access.roles import Role
from lora_studio.access.visitor import Kind, Visitor, acting
from lora_studio.errors import ConfigError, DeviceBusy, ModelFileError, StoreError
from lora_studio.events import Denoised, Event, ImageSaved
from lora_studio.generator import Generator
from lora_studio.jobs.engine_worker import NOT_ON_ZERO_GPU, EngineWorker
from lora_studio.jobs.generation_queue import GenerationQueue, GenerationResult
from lora_studio.jobs.thread_worker import ThreadWorker
from lora_studio.jobs.zero_gpu_generator import (
    LONGEST_SECONDS,
    ZeroGpuGenerator,
    draw,
    generator_here,
    seconds_of,
)
from lora_studio.request import GenerateRequest, LoraUse
from lora_studio.settings import Settings
from lora_studio.store.database import Database
from lora_studio.store.people.ownership import Owners
from lora_studio.studio import Studio
from lora_studio.training_request import RunRequest, StartTraining
from lora_studio.ui.blocks import build
from tests.support.configs import config
from tests.support.library_entries import write_lora
from tests.support.serving import CHECKOUT
from tests.support.waiting import PATIENCE

FORKED = """
import multiprocessing, sys
from lora_studio.request import GenerateRequest
from lora_studio.settings import Settings
from lora_studio.jobs.zero_gpu_generator import draw

def child(news, request):
    for one in draw(Settings.from_environment(), request, "/nowhere/stop", False):
        news.put(one)  # pickled, as spaces does
    news.put(None)

fork = multiprocessing.get_context("fork")
news = fork.Queue()
request = GenerateRequest(prompt="red apple", num_inference_steps=2, seed=3)
process = fork.Process(target=child, args=(news, request))
process.start()
found = []
while (one := news.get()) is not None:
    found.append(one)
process.join()
print(type(found[0]).__name__, found[-1][0].path, "torch" in sys.modules)
"""


def request(**values: Any) -> GenerateRequest:
    return GenerateRequest(**{"prompt": "red apple", "num_inference_steps": 3, "seed": 3, **values})


@pytest.fixture
def generator(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[ZeroGpuGenerator]:
    """With the package `spaces` where it is installed; else with what it is off ZeroGPU: nothing."""
    generator_here.cache_clear()
    try:
        import spaces  # noqa: F401
    except ImportError:
        monkeypatch.setitem(sys.modules, "spaces", type("Spaces", (), {"GPU": lambda **_: lambda task: task}))
    yield ZeroGpuGenerator(settings, gr.Error)
    generator_here.cache_clear()


def test_it_draws_what_the_generator_draws(settings: Settings, generator: ZeroGpuGenerator) -> None:
    events: list[Event] = []
    lent = generator.generate(request(count=2), events.append, live=True)
    plain = Generator(settings).generate(request(count=2))
    assert [Path(one.path).read_bytes() for one in lent] == [Path(one.path).read_bytes() for one in plain]
    assert [event.path for event in events if isinstance(event, ImageSaved)] == [one.path for one in lent]
    assert sum(isinstance(event, Denoised) for event in events) == 6


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows can't fork; ZeroGPU is Linux")
def test_a_forked_process_draws_and_loads_torch_there_only(settings: Settings) -> None:
    run = subprocess.run(
        [sys.executable, "-c", FORKED], cwd=CHECKOUT, capture_output=True, text=True, timeout=PATIENCE
    )
    assert run.returncode == 0, run.stderr
    first, path, torch = run.stdout.split()
    assert first == "Started"
    assert torch == "False"
    assert Path(path).is_relative_to(settings.images)
    assert (
        Path(path).read_bytes()
        == Path(Generator(settings).generate(request(num_inference_steps=2))[0].path).read_bytes()
    )


def test_a_stop_reaches_the_other_process(settings: Settings, generator: ZeroGpuGenerator) -> None:
    events: list[Event] = []

    def hear(event: Event) -> None:
        events.append(event)

    stopped = generator.generate(
        request(count=4), hear, lambda: any(isinstance(event, ImageSaved) for event in events)
    )
    assert 1 <= len(stopped) < 4
    assert not list(settings.cache.glob("stop-*"))


def test_refusals_come_back_as_they_are(
    settings: Settings, generator: ZeroGpuGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ModelFileError):
        generator.generate(request(base="../nowhere"))

    def no_gpu(*_: Any) -> Iterator[Any]:
        raise gr.Error("You have exceeded your <b>quota</b>")
        yield

    monkeypatch.setitem(sys.modules, "spaces", type("Spaces", (), {"GPU": lambda **_: lambda task: no_gpu}))
    with pytest.raises(DeviceBusy, match="exceeded your"):
        ZeroGpuGenerator(settings, gr.Error).generate(request())


@pytest.fixture
def people(settings: Settings, database: Database) -> tuple[Visitor, Visitor]:
    """Ada, and Grace with a LoRA of her own."""
    owners = Owners(database)
    write_lora(settings.loras / "ink" / "ink.safetensors")
    owners.claim(Kind.LORA, "ink", "grace")
    ada, grace = (Visitor(name=name, role=Role.CREATOR, kept=owners) for name in ("ada", "grace"))
    return ada, grace


def test_what_a_visitor_may_not_see_is_refused_before_a_gpu_is_lent(
    settings: Settings, people: tuple[Visitor, Visitor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process that has it knows no visitor, and gets a request whose names are settled."""
    lent: list[GenerateRequest] = []

    def lend(settings: Settings, asked: GenerateRequest, *_: Any) -> Iterator[Any]:
        lent.append(asked)
        yield []

    monkeypatch.setitem(sys.modules, "spaces", type("Spaces", (), {"GPU": lambda **_: lambda task: lend}))
    generator, (ada, grace) = ZeroGpuGenerator(settings, gr.Error), people
    for asked in (request(loras=[{"slug": "ink"}]), request(prompt="red apple <lora:My Cat:0.5>")):
        with acting(ada), pytest.raises(StoreError):
            generator.generate(asked)
    assert not lent
    with acting(grace):
        generator.generate(request(prompt="red apple <lora:My Cat:0.5>"))
    assert [(asked.prompt, asked.loras) for asked in lent] == [
        ("red apple", (LoraUse(slug="ink", weight=0.5),))
    ]


def test_the_thread_that_draws_works_for_its_visitor(
    settings: Settings, people: tuple[Visitor, Visitor]
) -> None:
    ada, _ = people
    with acting(ada):
        news = list(draw(settings, request(loras=[{"slug": "ink"}]), "/nowhere/stop", False))
    assert [type(one) for one in news] == [StoreError]


def test_no_more_time_is_asked_for_than_is_lent(settings: Settings) -> None:
    small = seconds_of(settings, request(width=64, height=64), "", False)
    large = seconds_of(settings, request(width=1024, height=1024, count=8), "", False)
    assert 30 <= small < large <= LONGEST_SECONDS


def test_nothing_trains_there_and_the_tab_says_where(studio: Studio, settings: Settings) -> None:
    there = replace(settings, zero_gpu=True)
    trainings = replace(studio.trainings, settings=there)
    start = StartTraining(dataset_id="0" * 12, name="Fox", kind="object")
    with pytest.raises(ConfigError) as refused:
        trainings.start(start)
    assert refused.value.message == NOT_ON_ZERO_GPU
    assert "t4-small" in refused.value.hint
    worker = EngineWorker(ThreadWorker(studio.lease), there, studio.lease)
    with pytest.raises(ConfigError):
        worker.run(RunRequest(config=config()), lambda event: None, lambda: False)
    elsewhere = replace(start, overrides={"worker": "modal"})
    with pytest.raises(StoreError):  # there is no such set of pictures
        trainings.start(elsewhere)
    for where, shown in ((settings, False), (there, True)):
        blocks = build(replace(studio, settings=where))
        values = json.dumps([block.get_config() for block in blocks.blocks.values()], default=str)
        assert ("train-not-here" in values) == shown
        assert ("import the LoRA" in values) == shown
        blocks.close()


def test_the_variable_of_zero_gpu(settings: Settings) -> None:
    assert Settings.from_environment({"SPACES_ZERO_GPU": "true", "SPACE_ID": "me/a"}).zero_gpu
    assert not Settings.from_environment({"SPACE_ID": "me/a"}).zero_gpu


def test_a_generation_runs_in_the_context_of_its_request() -> None:
    """Which is how ZeroGPU knows whose share of GPU time is used."""
    visitor = contextvars.ContextVar("visitor", default="nobody")
    seen: list[str] = []
    generations = GenerationQueue()

    def work(emit: Any, should_stop: Any) -> GenerationResult:
        seen.append(visitor.get())
        return GenerationResult()

    for name in ("ada", "grace"):
        context = contextvars.copy_context()
        context.run(visitor.set, name)
        ticket = context.run(generations.submit, work)
        generations.wait(ticket.id, PATIENCE)
    generations.close()
    assert seen == ["ada", "grace"]
