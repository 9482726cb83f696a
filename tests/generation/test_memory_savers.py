"""Fitting into the memory: the rungs that are taken, what is said of them, the same picture."""

from __future__ import annotations

import bisect
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lora_studio import runtime
from lora_studio.errors import OutOfMemory
from lora_studio.events import Event, Noted, ignore
from lora_studio.families.base_files.locate import find_base
from lora_studio.families.weights.block_swap import lies_in_host_memory
from lora_studio.generation import memory_fit, memory_savers
from lora_studio.generation.lora_lookup import find_loras
from lora_studio.generation.memory_fit import UNLOADED
from lora_studio.generation.memory_savers import GB, LADDERS, OFFLOAD, SAID, SLICES, SWAP, TILES, MemorySavers
from lora_studio.generation.pipelines import LoadedBase, Pipelines
from lora_studio.request import GenerateRequest, LoraUse
from lora_studio.runtime import Device, find_device, find_memory
from lora_studio.settings import Settings
from tests.support.drawing import MakeLora

ASKED = GenerateRequest(width=512, height=512)
LARGE = GenerateRequest(width=1024, height=1024)


@pytest.fixture
def base(settings: Settings) -> LoadedBase:
    loaded = Pipelines(settings).get(find_base("tiny", settings), ignore)
    assert loaded is not None
    return loaded


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Says how many bytes the device has left."""

    def say(number: int) -> None:
        for module in (memory_savers, memory_fit):
            monkeypatch.setattr(module, "find_memory", lambda _: (number, 64 * GB))

    say(64 * GB)
    return say


def drawn(base: LoadedBase, size: int = 64) -> torch.Tensor:
    random = torch.Generator().manual_seed(1)
    pictures: torch.Tensor = base.pipe(
        "a disc", width=size, height=size, num_inference_steps=2, generator=random, output_type="pt"
    ).images
    return pictures


def messages(events: list[Event]) -> list[str]:
    return [event.message for event in events if isinstance(event, Noted)]


def test_with_memory_to_spare_nothing_is_done(base: LoadedBase, free: Callable[[int], None]) -> None:
    events: list[Event] = []
    memory_fit.fit(base, LARGE, events.append)
    assert events == []
    assert base.savers.rungs == ()


def test_a_large_picture_is_decoded_in_tiles_and_a_small_one_after_it_is_not(
    base: LoadedBase, free: Callable[[int], None]
) -> None:
    before = drawn(base)
    free(20_000_000)
    events: list[Event] = []
    memory_fit.fit(base, LARGE, events.append)
    assert base.savers.rungs == (TILES,)
    assert base.pipe.vae.use_tiling
    assert messages(events) == [SAID[TILES]]
    memory_fit.fit(base, LARGE, events.append)
    assert len(events) == 1, "said once"
    second_pass = GenerateRequest(width=512, height=512, hires_scale=2)
    memory_fit.fit(base, second_pass, events.append)
    assert base.savers.rungs == (TILES,), "the larger size counts"
    free(64 * GB)
    memory_fit.fit(base, LARGE, events.append)
    assert base.savers.rungs == ()
    assert torch.equal(drawn(base), before)


def test_after_an_error_it_is_tried_again_one_rung_up(base: LoadedBase, free: Callable[[int], None]) -> None:
    tries: list[tuple[str, ...]] = []

    def draw() -> str:
        tries.append(base.savers.rungs)
        if not base.savers.rungs:
            raise OutOfMemory("The memory was not enough.", "Take a smaller size.")
        return "a picture"

    events: list[Event] = []
    assert memory_fit.draw_within(base, ASKED, events.append, draw) == "a picture"
    assert tries == [(), (TILES,)]
    assert messages(events) == [SAID[TILES]]
    memory_fit.draw_within(base, LARGE, events.append, draw)
    assert tries[2:] == [(TILES,)], "learned for this size and more"
    memory_fit.fit(base, GenerateRequest(width=64, height=64), events.append)
    assert base.savers.rungs == (), "but not for less"


def test_at_the_top_the_error_is_told(base: LoadedBase, free: Callable[[int], None]) -> None:
    def draw() -> None:
        raise OutOfMemory("The memory was not enough.", "Take a smaller size.")

    with pytest.raises(OutOfMemory, match=r"The memory was not enough\.") as caught:
        memory_fit.draw_within(base, ASKED, ignore, draw)
    assert caught.value.hint == "Take a smaller size."
    assert memory_fit.after_oom(base, ASKED) is None


def test_other_bases_go_first(settings: Settings, free: Callable[[int], None]) -> None:
    shutil.copytree(settings.bases / "tiny", settings.bases / "other")
    pipelines = Pipelines(settings)
    pipelines.get(find_base("other", settings), ignore)
    base = pipelines.get(find_base("tiny", settings), ignore)
    assert base is not None
    assert memory_fit.after_oom(base, ASKED) == UNLOADED
    assert [loaded.found.name for loaded in pipelines._loaded.values()] == ["tiny"]
    assert base.savers.rungs == ()
    assert memory_fit.after_oom(base, ASKED) == SAID[TILES]


def test_tiles_are_used_above_their_size_and_look_alike(base: LoadedBase) -> None:
    """The tiny base's tiles are 64 pixels wide."""
    whole, small = drawn(base, 128), drawn(base, 64)
    base.savers.use((TILES,))
    assert torch.equal(drawn(base, 64), small)
    tiled = drawn(base, 128)
    assert not torch.equal(tiled, whole)
    assert (tiled - whole).abs().mean() < 0.1
    base.savers.use(())
    assert torch.equal(drawn(base, 128), whole)


def test_slices_of_attention_give_the_same_and_leave_nothing(
    base: LoadedBase, settings: Settings, make_lora: MakeLora
) -> None:
    make_lora("a")
    base.stack.apply(find_loras([LoraUse(slug="a")], settings.loras))
    whole = drawn(base)
    processors = dict(base.pipe.unet.attn_processors)
    savers = MemorySavers(model=base.model, pipe=base.pipe, device=base.device)
    savers.use((SLICES,))
    assert {type(each).__name__ for each in base.pipe.unet.attn_processors.values()} == {
        "SlicedAttnProcessor"
    }
    torch.testing.assert_close(drawn(base), whole, rtol=1e-3, atol=1e-4)
    savers.use(())
    now = base.pipe.unet.attn_processors
    assert [type(now[name]) for name in now] == [type(processors[name]) for name in now]
    assert torch.equal(drawn(base), whole)


def test_every_device_has_a_ladder_of_known_rungs() -> None:
    assert set(LADDERS) == {"cuda", "mps", "cpu"}
    assert {rung for ladder in LADDERS.values() for rung in ladder} <= set(SAID)


def test_swapped_blocks_draw_the_same_with_loras(
    base: LoadedBase, settings: Settings, make_lora: MakeLora
) -> None:
    make_lora("a")
    base.stack.apply(find_loras([LoraUse(slug="a")], settings.loras))
    before = drawn(base)
    savers = MemorySavers(model=base.model, pipe=base.pipe, device=base.device)
    savers.use((SWAP,))
    swapped = [module for block in base.model.blocks for module in block.modules()]
    assert swapped
    assert all(lies_in_host_memory(module) for module in swapped)
    assert torch.equal(drawn(base), before)
    savers.use(())
    assert not any(lies_in_host_memory(module) for module in swapped)
    assert torch.equal(drawn(base), before)


def test_a_rung_is_taken_for_what_it_saves_of_the_weights(
    base: LoadedBase, free: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With CUDA's ladder: first turns of the parts, then of the blocks."""
    savers, taken = base.savers, list[tuple[str, ...]]()
    savers.ladder = (OFFLOAD, SWAP)
    monkeypatch.setattr(MemorySavers, "use", lambda _, rungs: taken.append(rungs) or ())

    def rungs_with(left: int) -> tuple[str, ...]:
        free(left)
        memory_fit.fit(base, ASKED, ignore)
        return taken[-1]

    whole, turns, swapped = (savers.needed_bytes(rungs) for rungs in ((), (OFFLOAD,), (OFFLOAD, SWAP)))
    assert whole > turns > swapped
    enough = bisect.bisect(range(64 * GB), False, key=lambda left: rungs_with(left) == ())
    assert rungs_with(enough) == ()
    assert rungs_with(enough - 2) == rungs_with(enough - (whole - turns) + 2) == (OFFLOAD,)
    assert rungs_with(enough - (whole - turns) - 2) == (OFFLOAD, SWAP)


@pytest.mark.gpu
def test_parts_that_take_turns_draw_the_same(
    base: LoadedBase, settings: Settings, make_lora: MakeLora
) -> None:
    make_lora("a")
    base.stack.apply(find_loras([LoraUse(slug="a")], settings.loras))
    before = drawn(base)
    base.savers.use((OFFLOAD,))
    assert torch.equal(drawn(base), before)
    assert base.pipe.unet.device.type == "cpu"
    base.savers.use(())
    assert base.pipe.unet.device.type == "cuda"
    assert torch.equal(drawn(base), before)


def test_the_budget_is_the_owners_or_a_share(settings: Settings, free: Callable[[int], None]) -> None:
    device = find_device()
    assert memory_savers.budget_bytes(replace(settings, memory_gb=1.5), device) == 1_500_000_000
    assert memory_savers.budget_bytes(settings, device) == int(memory_savers.SHARES[device.kind] * 64 * GB)
    assert memory_savers.lora_bytes(device) == int(0.05 * 64 * GB)


CPU = Device(kind="cpu", title="", memory_bytes=0, native_bf16=False)


def test_a_containers_memory_counts_not_the_machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "CONTAINER", tmp_path)
    free, whole = find_memory(CPU)
    assert 0 < free <= whole
    (tmp_path / "memory.max").write_text("100000000\n")
    (tmp_path / "memory.current").write_text("70000000\n")
    (tmp_path / "memory.stat").write_text("anon 50000000\ninactive_file 5000000\n")
    assert find_memory(CPU) == (35_000_000, 100_000_000)
    (tmp_path / "memory.max").write_text("max\n")
    assert find_memory(CPU)[1] == whole
