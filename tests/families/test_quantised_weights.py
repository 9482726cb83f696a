"""Weights held in 8 and 4 bits: their numbers, their errors, their size."""

from __future__ import annotations

from statistics import NormalDist

import pytest
import torch

from lora_studio.families import family_of
from lora_studio.families.weights.quantised_weights import (
    FORMATS,
    held_bytes,
    is_exact,
    quantise_weights,
    savings_of,
)
from lora_studio.lora.network.quantisation import BLOCK, NF4, SCALES, from_nf4, to_nf4
from tests.support.tiny import make_tiny


def random_weights(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(5)) * 0.02


def one_layer(weight: torch.Tensor) -> torch.nn.ModuleDict:
    layer = torch.nn.Linear(weight.shape[1], weight.shape[0], dtype=weight.dtype)
    layer.weight.data = weight.clone()
    return torch.nn.ModuleDict({"to_q": layer}).requires_grad_(False)


def largest_of_blocks(values: torch.Tensor) -> torch.Tensor:
    return values.flatten().view(-1, BLOCK).abs().amax(1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_int8_is_each_rows_largest_in_127_steps_and_gradients_go_through(dtype: torch.dtype) -> None:
    weight = random_weights(8, 64).to(dtype)
    inputs = random_weights(3, 64).to(dtype).requires_grad_(True)
    model = one_layer(weight)
    layer = model["to_q"]
    largest = weight.float().abs().amax(1, keepdim=True)
    quantise_weights(model, "qint8")
    steps = (weight.float() / (largest / 127)).round()
    assert steps.abs().amax() == 127
    held = layer.parametrizations.weight.original
    assert held.dtype == torch.int8
    assert torch.equal(held.float(), steps)
    formula = steps.to(dtype) * (largest / 127).to(dtype)
    assert torch.equal(layer.weight, formula)
    layer(inputs).sum().backward()
    torch.testing.assert_close(inputs.grad, formula.sum(0).expand(3, -1), rtol=2e-2, atol=1e-3)


def test_the_numbers_of_nf4_are_quantiles_of_a_normal_distribution() -> None:
    """The construction in the paper: 8 below 0 and 8 above at equal steps of probability, 0 among them, their
    ends the mean of the outermost steps of 15 and of 16."""
    end = 1 - (1 / 30 + 1 / 32) / 2
    quantile = NormalDist().inv_cdf
    above = [quantile(end - number * (end - 0.5) / 8) for number in range(8)]
    below = [-quantile(end - number * (end - 0.5) / 7) for number in range(7)]
    numbers = sorted([*above, 0.0, *below])
    assert [number / max(numbers) for number in numbers] == pytest.approx(NF4, abs=2e-7)


@pytest.mark.parametrize("shape", [(48, 64), (1, 64), (5, 13), (300, 64), (8, 4, 3, 3)])
def test_a_weight_in_nf4_is_the_nearest_number_of_its_block(shape: tuple[int, ...]) -> None:
    """Blocks of 64 in the order of the weights, whatever the shape; scales within a step of rounding."""
    weight = random_weights(*shape)
    held = to_nf4(weight)
    back = from_nf4(held, weight.shape)
    padded = torch.nn.functional.pad(weight.flatten(), (0, -weight.numel() % BLOCK))
    largest = largest_of_blocks(padded)
    ratios = padded.view(-1, BLOCK) / largest[:, None]
    levels = torch.tensor(NF4)
    nearest = levels[(ratios[..., None] - levels).abs().argmin(-1)]
    exact = (nearest * largest[:, None]).flatten()[: weight.numel()].view(shape)
    step = (largest - largest.mean()).abs().amax() / 127
    assert (back - exact).abs().amax() <= step / 2 * 1.01 + 1e-9
    assert held.codes.nbytes == len(largest) * BLOCK // 2
    assert held.scales.dtype == torch.int8
    assert len(held.scales) == len(largest)
    assert len(held.steps) == -(-len(largest) // SCALES)


def test_weights_of_zero_stay_zero_in_nf4() -> None:
    weight = random_weights(4, 64)
    weight[1] = 0
    weight[2, 5] = 0
    back = from_nf4(to_nf4(weight), weight.shape)
    assert not back[1].any()
    assert back[2, 5] == 0
    assert not from_nf4(to_nf4(torch.zeros(2, 64)), torch.Size((2, 64))).any()


def test_nf4_has_the_codes_and_numbers_of_bitsandbytes() -> None:
    """Where that is installed. Its scales are not rounded here, ours are."""
    functional = pytest.importorskip("bitsandbytes.functional")
    weight = random_weights(256, 64)
    codes, state = functional.quantize_4bit(
        weight, blocksize=BLOCK, quant_type="nf4", compress_statistics=False
    )
    held = to_nf4(weight)
    assert torch.equal(held.codes, codes.flatten())
    assert torch.equal(largest_of_blocks(weight), state.absmax)
    state.absmax = held.scales * held.steps + held.mean
    assert torch.equal(from_nf4(held, weight.shape), functional.dequantize_4bit(codes, state))


@pytest.mark.parametrize(("qtype", "most"), [("qfloat8", 0.03), ("qint8", 0.01), ("nf4", 0.1)])
def test_errors_are_as_stated(qtype: str, most: float) -> None:
    """The root of the mean square by that of the weights, at the width of a large base."""
    before = random_weights(64, 3072)
    model = one_layer(before)
    quantise_weights(model, qtype)
    error = (model["to_q"].weight - before).square().mean().sqrt() / before.square().mean().sqrt()
    assert most / 2 < error < most


@pytest.mark.parametrize("qtype", FORMATS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_memory_of_a_layer_is_counted_beforehand(qtype: str, dtype: torch.dtype) -> None:
    weight = random_weights(300, 100).to(dtype)
    model = one_layer(weight)
    counted = savings_of(model, qtype)
    assert quantise_weights(model, qtype) == counted == weight.nbytes - held_bytes(model["to_q"])
    assert savings_of(model, qtype) == quantise_weights(model, qtype) == 0, "there is nothing left to do"
    bits = 8 * held_bytes(model["to_q"]) / weight.numel()
    assert bits == pytest.approx(4.13 if qtype == "nf4" else 8 + 8 * dtype.itemsize / 100, abs=0.01)
    assert model["to_q"].weight.dtype == dtype


def test_from_8_bits_on_to_4_and_not_back() -> None:
    before = random_weights(64, 256)
    model = one_layer(before)
    quantise_weights(model, "qint8")
    in_eight_bits = model["to_q"].weight
    counted = savings_of(model, "nf4")
    assert quantise_weights(model, "nf4") == counted > 0
    assert torch.equal(model["to_q"].weight, from_nf4(to_nf4(in_eight_bits), before.shape))
    assert quantise_weights(model, "qint8") == 0


@pytest.mark.parametrize(("qtype", "least", "most"), [("qfloat8", 0.4, 0.01), ("nf4", 0.6, 0.1)])
def test_a_denoiser_in_few_bits_is_smaller_and_answers_nearly_the_same(
    qtype: str, least: float, most: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    model = family_of(str(make_tiny("sd15", tmp_path_factory.mktemp("base")))).load()
    unet, answers = model.denoiser.float(), []
    asked = (
        random_weights(1, 4, 8, 8) * 50,
        torch.tensor([400]),
        random_weights(1, 77, unet.config.cross_attention_dim) * 50,
    )
    before = sum(weight.nbytes for weight in unet.parameters())
    with torch.no_grad():
        answers.append(unet(*asked).sample)
        saved = quantise_weights(unet, qtype)
        answers.append(unet(*asked).sample)
    now = [*unet.parameters(), *unet.buffers()]
    assert sum(weight.nbytes for weight in now) == before - saved
    assert least * before < saved < 0.85 * before
    error = (answers[0] - answers[1]).square().mean() / answers[0].square().mean()
    assert 0 < error < most
    exact = [weight for path, weight in unet.named_parameters() if is_exact(path)]
    assert {weight.dtype for weight in exact} == {torch.float32}


@pytest.mark.parametrize(
    "path",
    [
        *("time_embedding.linear_1", "down_blocks.0.resnets.1.time_emb_proj"),
        "transformer_blocks.3.norm1.linear_2",
        *("norm_out.linear", "x_embedder", "layers.4.adaLN_modulation.0"),
    ],
)
def test_what_is_small_and_tells_the_time_step_stays_exact(path: str) -> None:
    assert is_exact(path)


@pytest.mark.parametrize("norm", ["norm1", "norm1_context", "norm"])
def test_flux_modulations_are_all_held_like_the_rest(norm: str) -> None:
    assert not is_exact(f"transformer_blocks.3.{norm}.linear")
