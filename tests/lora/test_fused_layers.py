"""Networks of every kind on layers that are one in a file and several in the base, or the other way round:
each changes the base's weights by its formula, in drawing and in what is trained on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch.nn.functional import linear

from lora_studio.families import family_of
from lora_studio.generation.lora_lookup import layers_of
from lora_studio.lora.network.attach import attach
from lora_studio.lora.network.initial_weights import continue_from, merge_into_base
from lora_studio.lora.network.layers import Shape
from lora_studio.lora.network.output_rows import OutputRows, SideBySide, modules_of, store
from tests.support.layer_formulas import Formula, Tensors, product, put_on, some
from tests.support.tiny import make_tiny_flux, make_tiny_zimage

INPUTS = 32
"""Of all these layers in the tiny bases; query, key and value have as many outputs each."""


def factors(outputs: int) -> tuple[torch.Tensor, torch.Tensor]:
    return some(outputs, 4, seed=1), some(4, INPUTS, seed=2)


def lora(outputs: int) -> tuple[Tensors, Formula]:
    up, down = factors(outputs)
    tensors = {"lora_up.weight": up, "lora_down.weight": down, "alpha": torch.tensor(2.0)}
    return tensors, product(up, down, 0.5)


def dora(axis: int) -> Callable[[int], tuple[Tensors, Formula]]:
    def made(outputs: int) -> tuple[Tensors, Formula]:
        tensors, plain = lora(outputs)
        sides = (outputs, 1) if axis == 1 else (1, INPUTS)
        magnitude = 1 + some(*sides).abs()

        def change(weight: torch.Tensor) -> torch.Tensor:
            moved = weight + plain(weight)
            return magnitude * moved / moved.norm(dim=axis, keepdim=True) - weight

        return {**tensors, "dora_scale": magnitude}, change

    return made


def loha(outputs: int) -> tuple[Tensors, Formula]:
    (a1, b1), (a2, b2) = factors(outputs), (some(outputs, 4, seed=3), some(4, INPUTS, seed=4))
    tensors = {"hada_w1_a": a1, "hada_w1_b": b1, "hada_w2_a": a2, "hada_w2_b": b2}
    return {**tensors, "alpha": torch.tensor(2.0)}, lambda _: 0.5 * (a1 @ b1) * (a2 @ b2)


def lokr(outputs: int) -> tuple[Tensors, Formula]:
    """The smaller matrix has 8 rows, which three layers can't share."""
    w1, w2 = some(8, 4), some(outputs // 8, 8)
    return {"lokr_w1": w1, "lokr_w2": w2}, lambda _: torch.kron(w1, w2)


def lokr_of_factors(outputs: int) -> tuple[Tensors, Formula]:
    w1, a, b = some(4, 4), some(outputs // 4, 2), some(2, 8)
    tensors = {"lokr_w1": w1, "lokr_w2_a": a, "lokr_w2_b": b, "alpha": torch.tensor(1.0)}
    return tensors, lambda _: 0.5 * torch.kron(w1, a @ b)


def oft(outputs: int) -> tuple[Tensors, Formula]:
    """Two blocks, so that of three layers the second has a half of each."""
    blocks = 0.2 * some(2, outputs // 2, outputs // 2)

    def change(weight: torch.Tensor) -> torch.Tensor:
        skew, eye = blocks - blocks.mT, torch.eye(outputs // 2)
        turn = (eye + skew) @ torch.linalg.inv(eye - skew)
        return torch.block_diag(*turn).T @ weight - weight

    return {"oft_blocks": blocks, "alpha": torch.tensor(0.0)}, change


def factor_of_outputs(outputs: int) -> tuple[Tensors, Formula]:
    factor = some(outputs)
    return {"weight": factor, "on_input": torch.tensor(False)}, lambda weight: factor[:, None] * weight


def glora(outputs: int) -> tuple[Tensors, Formula]:
    a1, a2, (b1, b2) = some(INPUTS, 4), some(4, INPUTS), factors(outputs)
    tensors = {"a1.weight": a1, "a2.weight": a2, "b1.weight": b1, "b2.weight": b2}
    return tensors, lambda weight: weight @ a1 @ a2 + b1 @ b2


def difference(outputs: int) -> tuple[Tensors, Formula]:
    diff = some(outputs, INPUTS)
    return {"diff": diff}, lambda _: diff


def replacement(outputs: int) -> tuple[Tensors, Formula]:
    new = some(outputs, INPUTS)
    return {"set_weight": new}, lambda weight: new - weight


KINDS: dict[str, Callable[[int], tuple[Tensors, Formula]]] = {
    "LoRA": lora,
    "DoRA of outputs": dora(1),
    "DoRA of inputs": dora(0),
    "LoHa": loha,
    "LoKr": lokr,
    "LoKr of factors": lokr_of_factors,
    "OFT": oft,
    "(IA)3": factor_of_outputs,
    "GLoRA": glora,
    "difference": difference,
    "replacement": replacement,
}
Bases = dict[str, Any]
ZIMAGE = ("layers.1.attention.to_q", "layers.1.attention.to_k", "layers.1.attention.to_v")
FLUX = "transformer_blocks.1.attn.to_qkv"
PLACES: dict[str, tuple[str, str, tuple[str, ...], slice]] = {
    "Z-Image": ("zimage", "diffusion_model.layers.1.attention.qkv", ZIMAGE, slice(0, 96)),
    "FLUX": ("flux", "lora_unet_double_blocks_1_img_attn_qkv", (FLUX,), slice(0, 96)),
    "FLUX in diffusers": ("flux", "transformer.transformer_blocks.1.attn.to_k", (FLUX,), slice(32, 64)),
}
"""The base, the layer's name in the file, what is there in the base, and the rows of it that are changed."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("fused")
    return {"zimage": make_tiny_zimage(folder / "z"), "flux": make_tiny_flux(folder / "f")}


@pytest.fixture(scope="module")
def bases(folders: dict[str, Path]) -> Bases:
    return {name: family_of(str(folder)).load() for name, folder in folders.items()}


def weight_of(modules: list[Any]) -> torch.Tensor:
    return torch.cat([module.weight.detach().clone() for module in modules])


class Components:
    """A loaded base as `put_on` takes it."""

    def __init__(self, base: Any) -> None:
        self.components = base.models()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("place", PLACES)
@torch.no_grad()
def test_a_network_changes_the_weights_by_its_formula(
    bases: Bases, tmp_path: Path, place: str, kind: str
) -> None:
    family, name, paths, rows = PLACES[place]
    base = bases[family]
    modules = [base.denoiser.get_submodule(path) for path in paths]
    weight = weight_of(modules)
    tensors, formula = KINDS[kind](rows.stop - rows.start)
    wanted = torch.zeros_like(weight)
    wanted[rows] = formula(weight[rows])
    file = tmp_path / "x.safetensors"
    save_file({f"{name}.{part}": tensor for part, tensor in tensors.items()}, file)
    inputs = some(2, 5, INPUTS, seed=9)

    def outputs() -> torch.Tensor:
        return torch.cat([module(inputs) for module in modules], dim=-1)

    plain = outputs()
    for strength in (1.0, 0.5):
        stack, said = put_on(Components(base), file, strength)
        assert said == []
        for _ in range(2):  # a second picture may well be of the same tensor
            torch.testing.assert_close(
                outputs() - plain, strength * linear(inputs, wanted), rtol=1e-4, atol=2e-5
            )
        stack.apply([])
    assert torch.equal(outputs(), plain)

    saved = [module.weight.data for module in modules]
    assert not merge_into_base(base.models(), base.targets(texts=False), str(file), 1.0)
    torch.testing.assert_close(weight_of(modules) - weight, wanted, rtol=1e-4, atol=2e-5)
    for module, before in zip(modules, saved, strict=True):
        module.weight.data = before


@torch.no_grad()
def test_a_layer_and_a_part_of_it_in_one_file_are_both_put_on(bases: Bases, tmp_path: Path) -> None:
    """As other programs do it; neither takes the other's place."""
    modules = [bases["zimage"].denoiser.get_submodule(path) for path in ZIMAGE]
    whole, of_whole = lora(96)
    part, of_part = lora(32)
    file = tmp_path / "x.safetensors"
    start = "diffusion_model.layers.1.attention"
    save_file(
        {f"{start}.qkv.{key}": one for key, one in whole.items()}
        | {f"{start}.to_k.{key}": one for key, one in part.items()},
        file,
    )
    wanted = of_whole(weight_of(modules))
    wanted[32:64] += of_part(modules[1].weight)
    inputs = some(2, 5, INPUTS)
    plain = torch.cat([module(inputs) for module in modules], dim=-1)
    stack, said = put_on(Components(bases["zimage"]), file)
    assert said == []
    added = torch.cat([module(inputs) for module in modules], dim=-1) - plain
    stack.apply([])
    torch.testing.assert_close(added, linear(inputs, wanted), rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize(
    ("kind", "shape"),
    [
        ("LoRA", Shape()),
        ("DoRA of outputs", Shape(dora_wd=True, wd_on_output=True)),
        ("LoHa", Shape(kind="loha")),
        ("LoKr", Shape(kind="lokr")),
    ],
)
@torch.no_grad()
def test_a_training_goes_on_from_thirds_where_there_are_such(
    bases: Bases, folders: dict[str, Path], tmp_path: Path, kind: str, shape: Shape
) -> None:
    """A LoKr whose matrices three layers can't share is named as left out."""
    fresh = family_of(str(folders["zimage"])).load()
    targets = [target for target in fresh.targets() if "layers.1.attention" in target.module]
    network = attach(fresh.models(), targets, dim=4, alpha=2.0, shape=shape)
    tensors, formula = KINDS[kind](96)
    file = tmp_path / "x.safetensors"
    output = targets[-1].name
    beside = {"alpha": torch.tensor(2.0), **network.weights(output)}
    save_file(
        {f"lora_unet_layers_1_attention_qkv.{part}": one for part, one in tensors.items()}
        | {f"{output}.{part}": one.detach().clone() for part, one in beside.items()},
        file,
    )
    left = continue_from(str(file), network)
    if kind == "LoKr":
        assert left == ["lora_unet_layers_1_attention_qkv"]
        return
    assert left == []
    modules = [bases["zimage"].denoiser.get_submodule(path) for path in ZIMAGE]
    inputs = some(2, 5, INPUTS)
    trained = [fresh.denoiser.get_submodule(path)(inputs) for path in ZIMAGE]
    plain = [module(inputs) for module in modules]
    wanted = linear(inputs, formula(weight_of(modules)))
    added = torch.cat(trained, dim=-1) - torch.cat(plain, dim=-1)
    torch.testing.assert_close(added, wanted, rtol=1e-4, atol=2e-5)


@torch.no_grad()
def test_the_places_of_layers_that_files_have_otherwise(bases: Bases) -> None:
    layers = layers_of(bases["zimage"].models())
    fused = layers["lora_unet_layers_1_attention_qkv"]
    assert isinstance(fused, SideBySide)
    assert fused.shape == fused.weight.shape == (96, 32)
    assert fused.bias is None
    assert not fused.training
    assert [id(one) for one in modules_of(fused)] == [
        id(bases["zimage"].denoiser.get_submodule(path)) for path in ZIMAGE
    ]
    with_bias = SideBySide([torch.nn.Linear(4, 2), torch.nn.Linear(4, 3)])
    values = some(5)
    store(with_bias, "bias", values)
    assert torch.equal(with_bias.bias, values)
    inputs = some(3, 4)
    whole = linear(inputs, with_bias.weight, values)
    torch.testing.assert_close(with_bias.outputs(inputs), whole)
    rows = layers_of(bases["flux"].models())["lora_unet_transformer_blocks_1_attn_to_k"]
    assert isinstance(rows, OutputRows)
    assert modules_of(rows) == (bases["flux"].denoiser.get_submodule(FLUX),)
