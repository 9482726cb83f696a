"""Blocks that lie in the machine's memory: the same numbers to the bit, forwards and backwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from lora_studio.config import TrainConfig
from lora_studio.families import family_of
from lora_studio.families.weights.block_swap import BlockSwap, lies_in_host_memory, saved_bytes
from lora_studio.families.weights.loading import place_model
from lora_studio.families.weights.quantised_weights import quantise_weights
from tests.support.runs import data_for, engine_for, run_steps
from tests.support.tiny import ALL_SHAPES, make_pictures, make_tiny, tiny_values


def layers_of(blocks: list) -> list[torch.nn.Linear]:
    return [
        layer
        for block in blocks
        for layer in block.modules()
        if isinstance(layer, torch.nn.Linear) and not layer.weight.requires_grad
    ]


@contextmanager
def only_copies(swap: BlockSwap) -> Iterator[list[bool]]:
    """Notes at each call of a swapped layer, and at each gradient, whether gradients were on, and fails where
    a layer computes with what waits in the machine's memory."""
    layers, calls = layers_of(swap.blocks), list[bool]()
    waiting = {id(layer): layer.weight for layer in layers}

    def check(layer: torch.nn.Module, given: object) -> None:
        assert layer.weight is not waiting[id(layer)]
        calls.append(torch.is_grad_enabled())

    hooks = [layer.register_forward_pre_hook(check) for layer in layers]
    yield calls
    for hook in hooks:
        hook.remove()
    assert all(layer.weight is waiting[id(layer)] for layer in layers), "all wait again"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pictures(tmp_path_factory.mktemp("pictures"), ((64, 64),) * 2)


@pytest.mark.parametrize(
    "shape",
    [
        shape if shape in ("sdxl", "flux") else pytest.param(shape, marks=pytest.mark.slow)
        for shape in sorted({*ALL_SHAPES} - {"sd15", "sd2_v"})
    ],
)
def test_a_training_is_the_same_to_the_bit(shape: str, pictures: Path, tmp_path: Path) -> None:
    """SDXL's denoiser is of Stable Diffusion's kind. The way back computes with copies, too: blocks are those
    that gradient checkpointing computes again as a whole."""
    base, ends = make_tiny(shape, tmp_path / "base"), []
    for count in (0, 3):
        values = tiny_values(base, pictures, tmp_path / "lora", network_train_unet_only=True)
        values |= {"gradient_checkpointing": True, "max_train_steps": 2, "blocks_to_swap": count}
        engine = engine_for(TrainConfig.from_values(values))
        optimizer = torch.optim.SGD(engine.parameter_groups(), lr=0.1)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: 1.0)
        steps = run_steps(engine, data_for(engine), optimizer, schedule)
        if engine.swap is None:
            losses = [done.loss for done in steps]
        else:
            assert any("without a graphics card" in note for note in engine.memory_notes)
            with only_copies(engine.swap) as calls:
                losses = [done.loss for done in steps]
            layers = len(layers_of(engine.swap.blocks))
            assert calls == [True] * (2 * 2 * layers), "there and back, twice"
        ends.append((losses, engine.lora.state()))
    assert ends[0][0] == ends[1][0]
    for key, tensor in ends[0][1].items():
        assert torch.equal(tensor, ends[1][1][key]), key


@pytest.fixture
def chain() -> tuple[torch.nn.Sequential, torch.Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        blocks = [torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU()) for _ in range(5)]
        return torch.nn.Sequential(*blocks).requires_grad_(False), torch.randn(2, 4)


def test_blocks_are_spread_evenly_and_all_of_them_at_most(chain: tuple[torch.nn.Sequential, object]) -> None:
    blocks = [*chain[0]]
    assert BlockSwap(blocks, 2).blocks == [blocks[1], blocks[3]]
    assert BlockSwap(blocks, 9).blocks == blocks
    assert saved_bytes(blocks) == 3 * 4 * (16 + 4), "two are on the device at once"


@pytest.mark.parametrize("grads", [False, True])
def test_the_next_block_is_on_its_way(
    chain: tuple[torch.nn.Sequential, torch.Tensor], grads: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each comes once for its turn, none is fetched in vain."""
    model, inputs = chain
    fetched: list[tuple[int, int]] = []
    fetch, entered = BlockSwap.fetch, list[int]()

    def seen(self: BlockSwap, number: int):  # type: ignore[no-untyped-def]
        fetched.append((number, len(entered)))
        return fetch(self, number)

    monkeypatch.setattr(BlockSwap, "fetch", seen)
    swap = BlockSwap([*model], 5)
    swap.start("cpu")
    for number, block in enumerate(model):
        block.register_forward_pre_hook(lambda *_, number=number: entered.append(number))
    with torch.set_grad_enabled(grads):
        for _ in range(2):
            for number in range(5):
                model[number](inputs)
            for number in (4, 3, 2, 1, 0) if grads else ():
                model[number](inputs)
    turns = [number for number, _ in fetched]
    there_and_back = [0, 1, 2, 3, 4, 3, 2, 1, 0, 1, 2, 3, 4, 3, 2, 1, 0]
    assert turns == (there_and_back if grads else [0, 1, 2, 3, 4] * 2 + [0])
    assert [when for _, when in fetched][:5] == [0, 0, 1, 2, 3], "while the one before it begins"


def test_what_moves_the_model_leaves_them_and_stop_brings_them_back(
    chain: tuple[torch.nn.Sequential, torch.Tensor],
) -> None:
    model, inputs = chain
    before = model(inputs)
    swap = BlockSwap([*model], 2)
    swap.start("cpu")
    model.to("meta")
    assert [block[0].weight.is_meta for block in model] == [True, False, True, False, True]
    swap.stop("meta")
    assert all(weight.is_meta for weight in model.parameters())
    assert not any(lies_in_host_memory(module) for module in model.modules())
    model.to_empty(device="cpu")
    assert model(inputs).shape == before.shape


def test_a_layer_that_fails_leaves_its_block_as_it_was(
    chain: tuple[torch.nn.Sequential, torch.Tensor],
) -> None:
    model, inputs = chain
    swap, before = BlockSwap([*model], 5), model(inputs)
    swap.start("cpu")
    waiting = [block[0].weight for block in model]

    def fail(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    hook = model[2][1].register_forward_hook(fail)
    with pytest.raises(torch.OutOfMemoryError):
        model(inputs)
    hook.remove()
    assert all(block[0].weight is held for block, held in zip(model, waiting, strict=True))
    assert torch.equal(model(inputs), before)


@pytest.mark.parametrize("qtype", ["", "qint8", "nf4"])
def test_what_is_trained_goes_to_the_device_and_the_rest_waits(
    qtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is held in few bits keeps its formats on the way."""
    model = family_of(str(make_tiny("zimage", tmp_path))).load()
    swap = BlockSwap(model.blocks, 1)
    trained = next(swap.blocks[0].parameters())
    trained.requires_grad_(True)
    if qtype:
        assert quantise_weights(model.denoiser, qtype) > 0
    kept = [tensor for tensor in (*model.denoiser.parameters(), *model.denoiser.buffers()) if tensor.nbytes]
    formats = [tensor.dtype for tensor in kept]
    assert (torch.int8 in formats) == bool(qtype)  # nf4: of the scales
    assert (torch.uint8 in formats) == (qtype == "nf4")
    moved, move = dict[int, object](), torch.Tensor.to

    def noted(tensor: torch.Tensor, device: object, *how: object) -> torch.Tensor:
        moved[tensor.data_ptr()] = device
        return move(tensor, "cpu", *how)

    with monkeypatch.context() as patched:
        patched.setattr(torch.Tensor, "to", noted)
        place_model(model.denoiser, "device", torch.float32)
    waiting = {
        tensor.data_ptr() for block in swap.blocks for tensor in (*block.parameters(), *block.buffers())
    }
    for tensor in kept:
        waits = tensor.data_ptr() in waiting and tensor is not trained
        assert moved[tensor.data_ptr()] == ("cpu" if waits else "device")
    assert [tensor.dtype for tensor in kept] == formats


@pytest.mark.gpu
@pytest.mark.parametrize("qtype", ["", "qint8", "nf4"])
@pytest.mark.parametrize("grads", [False, True])
def test_blocks_come_from_pinned_memory_on_a_stream_of_their_own(grads: bool, qtype: str) -> None:
    """Wide enough that a copy takes longer than a launch: where the computing stream didn't wait for it, or
    the memory of a copy went to others too early, the numbers would be others."""
    with torch.random.fork_rng():
        torch.manual_seed(4)
        blocks = [torch.nn.Sequential(torch.nn.Linear(2048, 2048), torch.nn.Tanh()) for _ in range(6)]
        inputs = torch.randn(64, 2048).cuda().requires_grad_(grads)
    model = torch.nn.Sequential(*blocks).requires_grad_(False)
    if qtype:
        assert quantise_weights(model, qtype) > 0
    model.cuda()

    def outcome() -> list[torch.Tensor]:
        output = inputs
        with torch.set_grad_enabled(grads):
            for block in blocks:  # computed again on the way back, as in a training
                output = checkpoint(block, output, use_reentrant=False)
        if not grads:
            return [output]
        (gradient,) = torch.autograd.grad(output.square().sum(), inputs)
        return [output.detach(), gradient]

    before = outcome()
    swap = BlockSwap(blocks, 5)
    swap.start("cuda")
    held = [tensor for block in swap.blocks for tensor in (*block.parameters(), *block.buffers())]
    assert held
    assert all(tensor.device.type == "cpu" and tensor.is_pinned() for tensor in held)
    assert swap._stream != torch.cuda.current_stream()
    for _ in range(20):
        for tensor, exact in zip(outcome(), before, strict=True):
            assert torch.equal(tensor, exact)
    swap.stop("cuda")
    assert all(tensor.is_cuda for tensor in model.parameters())
    assert torch.equal(outcome()[0], before[0])
