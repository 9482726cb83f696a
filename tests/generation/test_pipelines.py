"""Which bases stay loaded, in which number format, and what is said while one is loaded."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from lora_studio.events import Event, Noted, PhaseAdvanced, Started, Stopped, ignore
from lora_studio.families.base_files.found_base import FoundBase
from lora_studio.families.base_files.locate import find_base
from lora_studio.families.weights.loading import weight_files
from lora_studio.generation.memory_savers import GB
from lora_studio.generation.pipelines import LoadedBase, Pipelines, compute_dtype
from lora_studio.generator import Generator
from lora_studio.request import GenerateRequest
from lora_studio.runtime import Device, find_device
from lora_studio.settings import Settings
from tests.support.drawing import TINY
from tests.support.hub_server import HubServer, only_hub
from tests.support.single_file import write_single_file
from tests.support.tiny import make_tiny_base


@pytest.fixture
def three(settings: Settings) -> list[FoundBase]:
    """The same base three times."""
    for name in ("one", "two", "three"):
        shutil.copytree(settings.bases / "tiny", settings.bases / name)
    return [find_base(name, settings) for name in ("one", "two", "three")]


def load(pipelines: Pipelines, found: FoundBase) -> LoadedBase:
    base = pipelines.get(found, ignore)
    assert base is not None
    return base


def with_room_for(settings: Settings, bases: float) -> Pipelines:
    size = load(Pipelines(settings), find_base("tiny", settings)).size_bytes
    return Pipelines(replace(settings, memory_gb=bases * size / GB))


def names(pipelines: Pipelines) -> list[str]:
    return [base.found.name for base in pipelines._loaded.values()]


def test_a_bases_size_is_that_of_its_weights(settings: Settings) -> None:
    base = load(Pipelines(settings), find_base("tiny", settings))
    parts = (base.pipe.unet, base.pipe.vae, base.pipe.text_encoder)
    tensors = [tensor for part in parts for tensor in (*part.parameters(), *part.buffers())]
    assert base.size_bytes == sum(tensor.nbytes for tensor in tensors)


def test_bases_stay_as_long_as_they_fit_and_those_unused_for_longest_go(
    settings: Settings, three: list[FoundBase]
) -> None:
    one, two, another = three
    pipelines = with_room_for(settings, 2.5)
    first = load(pipelines, one)
    load(pipelines, two)
    assert load(pipelines, one) is first, "it was kept"
    load(pipelines, another)
    assert names(pipelines) == ["one", "three"], "two was unused for longest"
    assert not pipelines.is_loaded(two)


def test_the_base_in_use_stays_whatever_the_budget(settings: Settings, three: list[FoundBase]) -> None:
    pipelines = with_room_for(settings, 0.1)
    for found in three:
        base = load(pipelines, found)
        assert names(pipelines) == [found.name]
        assert load(pipelines, found) is base


def test_a_base_whose_files_changed_is_loaded_again_and_its_old_state_goes(
    settings: Settings, three: list[FoundBase], tmp_path: Path
) -> None:
    pipelines = with_room_for(settings, 9)
    before = load(pipelines, three[0])
    other = make_tiny_base(tmp_path / "other", seed=5)
    file = settings.bases / "one" / "unet" / "diffusion_pytorch_model.safetensors"
    file.unlink()  # the loaded one still reads from it
    shutil.copy(other / "unet" / file.name, file)
    os.utime(file, (1, 1))
    after = load(pipelines, three[0])
    assert names(pipelines) == ["one"]
    assert not torch.equal(before.pipe.unet.conv_in.weight, after.pipe.unet.conv_in.weight)


@pytest.mark.parametrize("layout", ["folder", "file"])
def test_loading_is_told_in_bytes_and_seconds(settings: Settings, tmp_path: Path, layout: str) -> None:
    found = find_base("tiny", settings)
    if layout == "file":
        shutil.copytree(settings.bases / "tiny", tmp_path / "single")
        found = find_base(
            str(write_single_file(tmp_path / "single", tmp_path / "single.safetensors")), settings
        )
    events: list[Event] = []
    Pipelines(settings).get(found, events.append)
    told = [event for event in events if isinstance(event, PhaseAdvanced)]
    assert told == events
    assert {event.phase for event in told} == {"load"}
    assert {event.total for event in told} == {sum(file.stat().st_size for file in weight_files(found))}
    done = [event.done for event in told]
    assert done == sorted(done)
    assert (done[0], done[-1]) == (0, told[0].total)
    assert len(set(done)) == 4, "nothing, and after each of three parts"
    assert told[0].note == found.name
    assert told[-1].note.startswith(f"{found.name}, ")
    assert told[-1].note.endswith(" s")


def test_a_base_that_is_loaded_is_not_told(settings: Settings) -> None:
    pipelines, found = Pipelines(settings), find_base("tiny", settings)
    load(pipelines, found)
    events: list[Event] = []
    pipelines.get(found, events.append)
    assert events == []


NEW = Device(kind="cuda", title="", memory_bytes=1, native_bf16=True)
OLD = Device(kind="cuda", title="", memory_bytes=1, native_bf16=False)
MPS = Device(kind="mps", title="", memory_bytes=0, native_bf16=False)
CPU = Device(kind="cpu", title="", memory_bytes=0, native_bf16=False)
SERVER = Device(kind="cpu", title="", memory_bytes=0, native_bf16=True)


@pytest.mark.parametrize(
    ("device", "auto", "fp16", "bf16"),
    [
        (NEW, torch.float16, torch.float16, torch.bfloat16),
        (OLD, torch.float16, torch.float16, torch.float16),
        (MPS, torch.float32, torch.float16, torch.float32),
        (CPU, torch.float32, torch.float32, torch.float32),
        (SERVER, torch.float32, torch.float32, torch.bfloat16),
    ],
)
def test_the_number_format_follows_the_wish_and_the_hardware(
    device: Device, auto: torch.dtype, fp16: torch.dtype, bf16: torch.dtype
) -> None:
    wishes = ("auto", "fp16", "bf16", "fp32")
    assert [compute_dtype(device, wish) for wish in wishes] == [auto, fp16, bf16, torch.float32]


@pytest.mark.parametrize("wish", ["fp16", "bf16", "fp32"])
def test_a_wish_that_cannot_be_met_is_noted(settings: Settings, wish: str) -> None:
    settings = replace(settings, precision=wish)  # type: ignore[arg-type]
    events: list[Event] = []
    base = Pipelines(settings).get(find_base("tiny", settings), events.append)
    assert base is not None
    wanted = compute_dtype(find_device(), wish)
    assert {part.dtype for part in (base.pipe.unet, base.pipe.vae, base.pipe.text_encoder)} == {wanted}
    assert base.dtype == wanted
    met = str(wanted) == {"fp16": "torch.float16", "bf16": "torch.bfloat16", "fp32": "torch.float32"}[wish]
    said = [event.message for event in events if isinstance(event, Noted)]
    assert bool(said) is not met
    assert all("This device can't compute in" in message for message in said)


FETCHED = "somebody/fetched"


@pytest.fixture
def hub(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A Hub with the tiny base."""
    shutil.copytree(settings.bases / "tiny", tmp_path / "hub" / FETCHED)
    with only_hub(tmp_path / "hub", tmp_path / "cache", monkeypatch) as server:
        yield server


def test_a_base_from_the_hub_is_fetched_loaded_and_drawn_with(hub: HubServer, settings: Settings) -> None:
    request = GenerateRequest(**{**TINY, "base": FETCHED})
    events: list[Event] = []
    (image,) = Generator(settings).generate(request, events.append)
    started = events[0]
    assert isinstance(started, Started)
    assert started.phases == ("download", "load", "generate")
    phases = [event.phase for event in events if isinstance(event, PhaseAdvanced)]
    assert phases == sorted(phases)
    assert {"download", "load"} == set(phases)
    asked = len(hub.asked)
    (again,) = Generator(settings).generate(request)
    (local,) = Generator(settings).generate(GenerateRequest(**TINY))
    assert len(hub.asked) == asked, "everything is here now"
    pictures = [Image.open(each.path).tobytes() for each in (image, again, local)]
    assert pictures[0] == pictures[1] == pictures[2]


def test_stopping_a_download_leaves_nothing_loaded(hub: HubServer, settings: Settings) -> None:
    hub.pause = 5.0
    generator, events = Generator(settings), list[Event]()
    asked = iter([False, *[True] * 99])
    request = GenerateRequest(**{**TINY, "base": FETCHED})
    assert generator.generate(request, events.append, lambda: next(asked)) == []
    assert isinstance(events[-1], Stopped)
    assert not generator._pipelines._loaded
