"""Drawing with a base in few bits and with swapped blocks: by settings, and where memory is short."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from lora_studio.errors import OutOfMemory
from lora_studio.events import Event, Noted, ignore
from lora_studio.families.base_files.locate import find_base
from lora_studio.families.weights.block_swap import lies_in_host_memory
from lora_studio.generation import memory_fit
from lora_studio.generation.lora_lookup import find_loras
from lora_studio.generation.memory_savers import BITS, LADDERS, OFFLOAD, SAID, SWAP, TILES, MemorySavers
from lora_studio.generation.pipelines import LoadedBase, Pipelines
from lora_studio.generation.reproducible import state_of
from lora_studio.request import GenerateRequest, LoraUse
from lora_studio.settings import Settings
from tests.support.drawing import MakeLora

ASKED = GenerateRequest(width=512, height=512)
SMALL = GenerateRequest(width=64, height=64)


def load(settings: Settings, *events: list[Event], **changes: object) -> LoadedBase:
    changed = replace(settings, **changes)  # type: ignore[arg-type]
    emit = events[0].append if events else ignore
    base = Pipelines(changed).get(find_base("tiny", changed), emit)
    assert base is not None
    return base


def drawn(base: LoadedBase) -> torch.Tensor:
    random = torch.Generator().manual_seed(1)
    pictures: torch.Tensor = base.pipe(
        "a disc", width=64, height=64, num_inference_steps=2, generator=random, output_type="pt"
    ).images
    return pictures


def apply(base: LoadedBase, settings: Settings, *slugs: str) -> None:
    base.stack.apply(find_loras([LoraUse(slug=slug) for slug in slugs], settings.loras))


@pytest.mark.parametrize(
    "qtype", ["nf4", *(pytest.param(one, marks=pytest.mark.slow) for one in ("qint8", "qfloat8"))]
)
def test_loras_go_on_a_base_in_few_bits_and_off_again(
    qtype: str, settings: Settings, make_lora: MakeLora
) -> None:
    """A LoRA is put on beside the weights: all of it arrives, and nothing of it stays."""
    make_lora("a", seed=1)
    make_lora("b", seed=2)
    exact, base = load(settings), load(settings, qtype=qtype)
    assert base.size_bytes < exact.size_bytes
    assert base.savers.qtype == qtype
    alone = drawn(base)
    assert not torch.equal(alone, drawn(exact))
    added = []
    for one in (exact, base):
        layer = one.model.blocks[0].attn1.to_q
        inputs = torch.linspace(-1, 1, layer.in_features)[None]
        with torch.no_grad():
            plain = layer(inputs)
            apply(one, settings, "a")
            added.append(layer(inputs) - plain)
    assert added[0].abs().amax() > 0
    torch.testing.assert_close(*added, rtol=1e-4, atol=1e-6)
    apply(base, settings, "a", "b")
    drawn(base)
    apply(base, settings, "b")
    with_b = drawn(base)
    apply(base, settings)
    assert torch.equal(drawn(base), alone)
    fresh = load(settings, qtype=qtype)
    apply(fresh, settings, "b")
    assert torch.equal(with_b, drawn(fresh))
    assert not torch.equal(with_b, alone)


@pytest.mark.parametrize("qtype", ["none", "nf4"])
def test_blocks_that_are_swapped_by_a_setting_draw_the_same(
    qtype: str, settings: Settings, make_lora: MakeLora
) -> None:
    make_lora("a")
    events: list[Event] = []
    plain, swapped = load(settings, qtype=qtype), load(settings, events, qtype=qtype, blocks_to_swap=2)
    assert any(isinstance(event, Noted) and "without a graphics card" in event.message for event in events)
    waiting = [lies_in_host_memory(block) for block in swapped.model.blocks]
    assert waiting.count(True) == 2
    for base in (plain, swapped):
        apply(base, settings, "a")
    assert torch.equal(drawn(plain), drawn(swapped))
    savers = swapped.savers
    assert plain.savers.needed_bytes(()) >= savers.needed_bytes(())
    memory_fit.fit(swapped, SMALL, ignore)
    assert [lies_in_host_memory(block) for block in swapped.model.blocks] == waiting, "a setting stays"


def with_ladder(base: LoadedBase, *ladder: str) -> MemorySavers:
    base.savers.ladder = ladder
    return base.savers


def test_an_error_goes_on_to_few_bits_which_stay(settings: Settings) -> None:
    base = load(settings)
    savers, tries = with_ladder(base, TILES, *BITS), list[tuple[str, ...]]()

    def draw() -> torch.Tensor:
        tries.append(savers.rungs)
        if "nf4" not in savers.rungs:
            raise OutOfMemory("The memory was not enough.", "Take a smaller size.")
        return drawn(base)

    events: list[Event] = []
    memory_fit.draw_within(base, ASKED, events.append, draw)
    assert tries == [(), (TILES,), (TILES, "qint8"), (TILES, "qint8", "nf4")]
    assert [event.message for event in events if isinstance(event, Noted)] == [
        SAID[TILES],
        SAID["qint8"],
        SAID["nf4"],
    ]
    picture = drawn(base)
    memory_fit.fit(base, SMALL, ignore)
    assert savers.rungs == ("qint8", "nf4"), "there is no way back"
    assert torch.equal(drawn(base), picture)
    assert savers.qtype == "qint8+nf4"
    states = {state_of(base.found, "auto", qtype) for qtype in ("none", "nf4", savers.qtype)}
    assert len(states) == 3, "such pictures are not those of an exact base"


def test_few_bits_are_planned_only_where_they_are_enough(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = load(settings)
    savers = with_ladder(base, *BITS)
    whole, eight, four = (savers.needed_bytes(rungs) for rungs in ((), ("qint8",), ("qint8", "nf4")))
    assert whole > eight > four
    taken = list[tuple[str, ...]]()
    monkeypatch.setattr(MemorySavers, "use", lambda _, rungs: taken.append(tuple(rungs)) or ())
    need = memory_fit._need(base, 512 * 512, ()) / memory_fit.HEADROOM
    for missing in (-2, whole - eight - 2, whole - four - 2, whole - four + 2):
        free = int(need - missing)
        monkeypatch.setattr(memory_fit, "find_memory", lambda _, free=free: (free, 64 * 10**9))
        memory_fit.fit(base, ASKED, ignore)
    assert taken == [(), ("qint8",), ("qint8", "nf4"), ()]


def test_bytes_of_few_bits_and_swapped_blocks_are_counted_beforehand(settings: Settings) -> None:
    base = load(settings)
    savers = base.savers
    rungs = ((), ("qint8",), (SWAP,), ("qint8", SWAP), (OFFLOAD, SWAP, "qint8"))
    counted = [savers.needed_bytes(one) for one in rungs]
    savers.use(("qint8",))
    now = [savers.needed_bytes(one) for one in rungs]
    assert now == [counted[1], counted[1], counted[3], counted[3], counted[4]]
    assert load(settings, qtype="qint8").savers.needed_bytes(()) == counted[1]


@pytest.mark.parametrize(
    ("qtypes", "left"), [((), ("qint8", "nf4")), (("qfloat8",), ("nf4",)), (("nf4",), ())]
)
def test_what_a_setting_has_taken_is_no_rung(
    qtypes: tuple[str, ...], left: tuple[str, ...], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = load(settings)
    monkeypatch.setitem(LADDERS, "cpu", LADDERS["cuda"])
    savers = MemorySavers(model=base.model, pipe=base.pipe, device=base.device, qtypes=qtypes)
    assert savers.ladder == (TILES, OFFLOAD, SWAP, *left)


@pytest.mark.gpu
@pytest.mark.parametrize("qtype", ["none", "qint8", "nf4"])
def test_swapped_blocks_draw_the_same_on_cuda(qtype: str, settings: Settings, make_lora: MakeLora) -> None:
    """Copies from pinned memory on a stream of their own, while the block before them computes."""
    make_lora("a")
    plain, swapped = load(settings, qtype=qtype), load(settings, qtype=qtype, blocks_to_swap=200)
    held = [weight for block in swapped.model.blocks for weight in block.parameters()]
    assert all(weight.device.type == "cpu" and weight.is_pinned() for weight in held)
    for base in (plain, swapped):
        apply(base, settings, "a")
    assert torch.equal(drawn(plain), drawn(swapped))
    assert all(weight.device.type == "cpu" for weight in held)
