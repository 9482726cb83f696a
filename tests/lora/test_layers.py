"""Each kind against formulas: LyCORIS' documentation's, and what A1111 and ComfyUI make of the file."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from lora_studio.families.base import Target
from lora_studio.lora.network.attach import AttachedLora, attach
from lora_studio.lora.network.layers import Dropouts, Shape, factorization
from tests.support.lora_kinds import KINDS, inputs, stirred

LINEAR = Target(part="unet", module="linear", name="lora_unet_linear")
CONV = Target(part="unet", module="conv", name="lora_unet_conv")
POINT = Target(part="unet", module="point", name="lora_unet_point")
TARGETS = (LINEAR, CONV, POINT)
ALPHA = 3.0


def model(dtype: torch.dtype = torch.float32) -> torch.nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        parts = torch.nn.Module()
        parts.linear = torch.nn.Linear(40, 24)
        parts.conv = torch.nn.Conv2d(12, 16, 3, stride=2, padding=1)
        parts.point = torch.nn.Conv2d(12, 16, 1)
        return parts.to(dtype).requires_grad_(False)


def attached(base: torch.nn.Module, shape: Shape) -> AttachedLora:
    return attach({"unet": base}, TARGETS, dim=2, alpha=ALPHA, shape=shape, seed=3)


def with_weight(base: torch.nn.Module, module: str, weight: torch.Tensor) -> torch.Tensor:
    if module == "linear":
        return functional.linear(inputs(module), weight, base.linear.bias)
    own = getattr(base, module)
    return functional.conv2d(inputs(module), weight, own.bias, own.stride, own.padding)


def by_hand(weight: torch.Tensor, parts: dict[str, torch.Tensor]) -> torch.Tensor:
    """The changed weight, from a file's tensors alone."""
    weight, parts = weight.double(), {name: tensor.double() for name, tensor in parts.items()}
    outputs = weight.shape[0]
    if "oft_blocks" in parts:
        skew = parts["oft_blocks"] - parts["oft_blocks"].mT
        bound, length = parts["alpha"] * outputs, skew.square().sum().sqrt()
        if bound > 0 and length > bound:
            skew = skew * bound / length
        eye = torch.eye(skew.shape[-1], dtype=torch.float64)
        turn = torch.block_diag(*[(eye + block) @ torch.linalg.inv(eye - block) for block in skew])
        return (turn.T @ weight.flatten(1)).reshape(weight.shape)
    if "hada_w1_a" in parts:
        change = (parts["hada_w1_a"] @ parts["hada_w1_b"]) * (parts["hada_w2_a"] @ parts["hada_w2_b"])
        rank = parts["hada_w1_b"].shape[0]
    elif "lora_up.weight" in parts:
        rank = parts["lora_down.weight"].shape[0]
        change = torch.einsum(
            "or,ri->oi",
            parts["lora_up.weight"].reshape(-1, rank),
            parts["lora_down.weight"].reshape(rank, -1),
        )
    else:
        change, rank = kronecker(parts)
    change = change.reshape(weight.shape) * (parts["alpha"] / rank if rank else 1)
    if "dora_scale" not in parts:
        return weight + change
    moved, scale = weight + change, parts["dora_scale"]
    norms = torch.empty_like(scale)
    if scale.shape[0] == outputs:
        norms.copy_(torch.stack([row.norm() for row in moved]).reshape(scale.shape))
    else:
        norms.copy_(torch.stack([column.norm() for column in moved.transpose(0, 1)]).reshape(scale.shape))
    return moved * scale / norms


def kronecker(parts: dict[str, torch.Tensor]) -> tuple[torch.Tensor, int]:
    small, large = parts.get("lokr_w1"), parts.get("lokr_w2")
    rank = 0
    if small is None:
        small, rank = parts["lokr_w1_a"] @ parts["lokr_w1_b"], parts["lokr_w1_b"].shape[0]
    if large is None:
        large, rank = parts["lokr_w2_a"] @ parts["lokr_w2_b"], parts["lokr_w2_b"].shape[0]
    rows = [torch.cat([entry * large for entry in row], dim=1) for row in small]
    return torch.cat(rows), rank


@pytest.mark.parametrize("shape", KINDS.values(), ids=KINDS)
def test_a_fresh_network_changes_nothing_to_the_bit(shape: Shape) -> None:
    base = model()
    before = {target.module: getattr(base, target.module)(inputs(target.module)) for target in TARGETS}
    lora = attached(base, shape)
    for module, output in before.items():
        assert torch.equal(getattr(base, module)(inputs(module)), output)
    assert lora.changes_nothing(lora.tensors())
    assert lora.changes_nothing(lora.tensors(torch.float16))


@pytest.mark.parametrize("shape", KINDS.values(), ids=KINDS)
def test_the_layer_gives_what_the_files_tensors_say(shape: Shape) -> None:
    base = model()
    plain = {target.module: getattr(base, target.module)(inputs(target.module)) for target in TARGETS}
    lora = stirred(attached(base, shape))
    tensors = lora.tensors()
    assert not lora.changes_nothing(tensors)
    for target in TARGETS:
        parts = {
            key.split(".", 1)[1]: tensor for key, tensor in tensors.items() if key.startswith(target.name)
        }
        weight = by_hand(getattr(base, target.module).weight, parts).float()
        got = getattr(base, target.module)(inputs(target.module))
        torch.testing.assert_close(got, with_weight(base, target.module, weight), rtol=1e-4, atol=1e-5)
        assert (got - plain[target.module]).abs().max() > 1e-2


@pytest.mark.parametrize("shape", KINDS.values(), ids=KINDS)
def test_the_gradient_is_that_of_the_formula(shape: Shape) -> None:
    base = model()
    lora = stirred(attached(base, shape))
    for target in TARGETS:
        weights = lora.weights(target.name)
        base.train()
        getattr(base, target.module)(inputs(target.module)).square().sum().backward()
        leaves = {name: weight.detach().double().requires_grad_() for name, weight in weights.items()}
        alpha = torch.tensor(lora.alpha_of(target.name))
        weight = by_hand(getattr(base, target.module).weight, {**leaves, "alpha": alpha})
        with_double(base, target.module, weight).square().sum().backward()
        for name, leaf in leaves.items():
            assert weights[name].grad is not None
            assert leaf.grad is not None
            torch.testing.assert_close(weights[name].grad.double(), leaf.grad, rtol=2e-3, atol=2e-3)


def with_double(base: torch.nn.Module, module: str, weight: torch.Tensor) -> torch.Tensor:
    own = getattr(base, module)
    if module == "linear":
        return functional.linear(inputs(module).double(), weight, own.bias.double())
    return functional.conv2d(inputs(module).double(), weight, own.bias.double(), own.stride, own.padding)


@pytest.mark.parametrize("shape", KINDS.values(), ids=KINDS)
def test_the_base_in_half_precision_leaves_the_networks_own_weights_in_32_bit(shape: Shape) -> None:
    base = model(torch.bfloat16)
    lora = stirred(attached(base, shape))
    assert {weight.dtype for weight in lora.parameters("unet")} == {torch.float32}
    with torch.autocast("cpu", torch.bfloat16):
        got = base.linear(inputs("linear").bfloat16())
    parts = {
        key.split(".", 1)[1]: tensor for key, tensor in lora.tensors().items() if key.startswith(LINEAR.name)
    }
    wanted = functional.linear(
        inputs("linear"), by_hand(base.linear.weight, parts).float(), base.linear.bias.float()
    )
    assert (got.float() - wanted).abs().max() < 0.03 * wanted.abs().max()


@pytest.mark.parametrize("shape", [Shape(), *KINDS.values()], ids=["lora", *KINDS])
def test_the_state_is_put_back_to_the_bit(shape: Shape) -> None:
    lora = stirred(attached(model(), shape))
    other = attached(model(), shape)
    other.load_state(lora.state())
    for name in lora.layers:
        for part, weight in lora.weights(name).items():
            assert torch.equal(weight, other.weights(name)[part])
    kept = lora.state()
    stirred(lora)
    assert not torch.equal(kept[next(iter(kept))], lora.state()[next(iter(kept))])


@pytest.mark.parametrize("shape", [Shape(), *KINDS.values()], ids=["lora", *KINDS])
def test_the_network_can_be_left_out_for_a_while(shape: Shape) -> None:
    base = model()
    plain = base.conv(inputs("conv"))
    lora = stirred(attached(base, shape))
    changed = base.conv(inputs("conv"))
    with lora.left_out():
        assert torch.equal(base.conv(inputs("conv")), plain)
    assert torch.equal(base.conv(inputs("conv")), changed)


def test_a_dora_with_other_magnitudes_does_something() -> None:
    lora = attached(model(), Shape(dora_wd=True))
    lora.weights(CONV.name)["dora_scale"].data[0, 0] *= 1.01
    assert not lora.changes_nothing(lora.tensors())


@pytest.mark.parametrize("shape", [Shape(), Shape(kind="loha"), Shape(kind="diag-oft")], ids=str)
def test_module_dropout_leaves_out_the_whole_change_in_training_only(shape: Shape) -> None:
    base = model()
    plain = base.linear(inputs("linear"))
    stirred(attached(base, replace(shape, dropouts=Dropouts(module=0.5))))
    base.eval()
    full = base.linear(inputs("linear"))
    base.train()
    torch.manual_seed(0)
    left_out = [torch.equal(base.linear(inputs("linear")), plain) for _ in range(200)]
    assert 70 < sum(left_out) < 130
    outputs = [base.linear(inputs("linear")) for _ in range(8)]
    assert all(torch.equal(output, plain) or torch.equal(output, full) for output in outputs)


def test_a_layer_that_is_left_out_gets_no_gradient() -> None:
    """So that the optimizer passes it over, as in Kohya's trainer."""
    base = model()
    lora = stirred(attached(base, Shape(dropouts=Dropouts(module=0.999999))))
    base.train()
    (base.linear(inputs("linear")).sum() + 0 * lora.weights(CONV.name)["lora_up.weight"].sum()).backward()
    assert all(weight.grad is None for weight in lora.weights(LINEAR.name).values())


def test_rank_dropout_leaves_out_ranks_of_single_pictures_and_scales_the_rest() -> None:
    base = model()
    shape = Shape(dropouts=Dropouts(rank=0.25))
    lora = attach({"unet": base}, TARGETS, dim=64, alpha=64.0, shape=shape, seed=3)
    base.train()
    for target, batch_first in ((LINEAR, (3, 5, 64)), (CONV, (3, 64, 5, 4))):
        rank = lora.layers[target.name].lora_A["default"]
        base.eval()
        full = rank(inputs(target.module))
        base.train()
        got = rank(inputs(target.module))
        assert got.shape == batch_first
        axis = 2 if target is LINEAR else 1
        share = got / full
        per_rank = share.movedim(axis, 1).flatten(2)
        assert torch.isin(per_rank.round(decimals=4), torch.tensor([0.0, round(4 / 3, 4)])).all()
        assert (per_rank == per_rank[:, :, :1]).logical_or((per_rank - per_rank[:, :, :1]).abs() < 1e-4).all()
        assert not torch.equal(per_rank[0, :, 0] > 0, per_rank[1, :, 0] > 0)
        assert (per_rank[:, :, 0] == 0).float().mean() == pytest.approx(0.25, abs=0.1)


def test_rank_dropout_of_other_kinds_leaves_out_rows() -> None:
    base = model()
    plain = base.linear(inputs("linear"))
    stirred(attached(base, Shape(kind="lokr", dropouts=Dropouts(rank=0.5))))
    base.train()
    added = base.linear(inputs("linear")) - plain
    dropped = (added == 0).all(dim=0).all(dim=0)
    assert 4 < dropped.sum() < 20


@pytest.mark.parametrize(
    ("number", "factor", "wanted"),
    [
        *((127, factor, (1, 127)) for factor in (-1, 2, 16)),
        *((128, -1, (8, 16)), (128, 2, (2, 64)), (128, 4, (4, 32)), (128, 16, (8, 16))),
        *((250, -1, (10, 25)), (250, 8, (5, 50)), (250, 4, (2, 125))),
        *((360, 16, (15, 24)), (360, 4, (4, 90)), (512, 8, (8, 64)), (1024, -1, (32, 32))),
    ],
)
def test_sides_are_split_as_lycoris_does(number: int, factor: int, wanted: tuple[int, int]) -> None:
    assert factorization(number, factor) == wanted


def test_shapes_are_lycoris_own() -> None:
    shapes = {
        key.removeprefix("lora_unet_conv."): tuple(tensor.shape)
        for shape in (Shape(kind="loha"), Shape(kind="lokr"), Shape(kind="diag-oft"), Shape(dora_wd=True))
        for key, tensor in attached(model(), shape).tensors().items()
        if key.startswith(CONV.name)
    }
    assert shapes == {
        "alpha": (),
        **{"hada_w1_a": (16, 2), "hada_w1_b": (2, 108), "hada_w2_a": (16, 2), "hada_w2_b": (2, 108)},
        **{"lokr_w1": (4, 3), "lokr_w2": (4, 4, 3, 3)},
        "oft_blocks": (8, 2, 2),
        **{"lora_down.weight": (2, 12, 3, 3), "lora_up.weight": (16, 2, 1, 1), "dora_scale": (1, 12, 1, 1)},
    }
