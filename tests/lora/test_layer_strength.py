"""Norms of a LoRA's layers, told by the factors, against the change made whole."""

from __future__ import annotations

import math

import pytest
import torch

from lora_studio.lora.file.contents import contents_of
from lora_studio.lora.inspection import layer_strength
from lora_studio.lora.inspection.layer_strength import MOST_OPERATIONS, operations_of, strength_of
from lora_studio.lora.network import kinds
from lora_studio.lora.network.weights import LayerWeights
from tests.support.layer_formulas import some

Parts = dict[str, torch.Tensor]
OUT, IN = 12, 8
ADDING: dict[str, tuple[str, Parts, tuple[int, ...]]] = {
    "LoRA": ("lora", {"lora_down.weight": some(3, IN), "lora_up.weight": some(OUT, 3)}, (OUT, IN)),
    "LoRA of more ranks than sides": (
        "lora",
        {"lora_down.weight": some(20, IN), "lora_up.weight": some(OUT, 20)},
        (OUT, IN),
    ),
    "LoCon": (
        "lora",
        {"lora_down.weight": some(2, IN, 3, 3), "lora_up.weight": some(OUT, 2, 1, 1)},
        (OUT, IN, 3, 3),
    ),
    "LoCon with a core": (
        "lora",
        {
            "lora_down.weight": some(2, IN, 1, 1),
            "lora_up.weight": some(OUT, 3, 1, 1),
            "lora_mid.weight": some(3, 2, 3, 3),
        },
        (OUT, IN, 3, 3),
    ),
    "LoHa": (
        "loha",
        {
            f"hada_w{n}_{x}": some(*((OUT, 2) if x == "a" else (2, IN)), seed=int(n))
            for n in "12"
            for x in "ab"
        },
        (OUT, IN),
    ),
    "LoHa with cores": (
        "loha",
        {f"hada_w{n}_{x}": some(2, OUT if x == "a" else IN, seed=int(n)) for n in "12" for x in "ab"}
        | {f"hada_t{n}": some(2, 2, 3, 3, seed=int(n)) for n in "12"},
        (OUT, IN, 3, 3),
    ),
    "LoKr": ("lokr", {"lokr_w1": some(3, 2), "lokr_w2_a": some(4, 2), "lokr_w2_b": some(2, 4)}, (OUT, IN)),
    "LoKr of matrices": ("lokr", {"lokr_w1": some(3, 2), "lokr_w2": some(4, 4, 3, 3)}, (OUT, IN, 3, 3)),
    "LoKr with a core": (
        "lokr",
        {
            "lokr_w1_a": some(3, 1),
            "lokr_w1_b": some(1, 2),
            "lokr_w2_a": some(2, 4),
            "lokr_w2_b": some(2, 4),
            "lokr_t2": some(2, 2, 3, 3),
        },
        (OUT, IN, 3, 3),
    ),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize(("kind", "parts", "shape"), ADDING.values(), ids=ADDING)
def test_the_norm_is_that_of_the_change(
    kind: str, parts: Parts, shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    parts = {name: tensor.to(dtype) for name, tensor in parts.items()}
    exact = {name: tensor.double() for name, tensor in parts.items()}
    change = kinds.scale_of(parts, 1.5) * kinds.change(kind, exact, torch.Size(shape))
    found = strength_of(LayerWeights(kind=kind, parts=parts, alpha=1.5))
    assert found.norm == pytest.approx(float(change.norm()), rel=1e-5)
    assert found.is_finite
    assert not found.is_zero


def test_differences_and_biases_count_together() -> None:
    weights = {"diff": some(OUT), "diff_b": some(OUT, seed=1)}
    found = strength_of(LayerWeights(kind="full", parts=weights, alpha=None))
    assert found.norm == pytest.approx(math.hypot(*(float(one.norm()) for one in weights.values())))


@pytest.mark.parametrize(
    ("kind", "parts"),
    [
        ("diag-oft", {"oft_blocks": some(3, 4, 4)}),
        ("boft", {"oft_blocks": 0.01 * some(2, 4, 4, 4)}),
        ("oftv2", {"oft_R.weight": 0.01 * some(3, 6)}),
        ("ia3", {"weight": some(12, 1), "on_input": torch.tensor(False)}),
    ],
)
def test_a_turn_is_told_as_a_share_of_the_weight(kind: str, parts: Parts) -> None:
    weight = torch.eye(16 if kind == "boft" else 12)
    change = kinds.addition(kind, parts, weight, 0.0)
    found = strength_of(LayerWeights(kind=kind, parts=parts, alpha=0.0))
    assert found.norm is None
    assert found.relative == pytest.approx(float(change.norm() / weight.norm()), rel=0.03)


@pytest.mark.parametrize("place", ["a weight", "alpha"])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_no_number_has_no_norm(place: str, bad: float) -> None:
    parts = {"lora_down.weight": some(2, IN), "lora_up.weight": some(OUT, 2)}
    if place == "a weight":
        parts["lora_up.weight"][0, 0] = bad
    layer = LayerWeights(kind="lora", parts=parts, alpha=bad if place == "alpha" else 1.0)
    found = strength_of(layer)
    assert not found.is_finite
    assert found.norm is None


def test_a_layer_that_adds_nothing_is_found() -> None:
    parts = {"lora_down.weight": some(2, IN), "lora_up.weight": torch.zeros(OUT, 2)}
    assert strength_of(LayerWeights(kind="lora", parts=parts, alpha=1.0)).is_zero


@pytest.mark.parametrize(
    "shapes",
    [
        {
            "hada_w1_a": (1 << 20, 1),
            "hada_w1_b": (1, 1 << 20),
            "hada_w2_a": (1 << 20, 1),
            "hada_w2_b": (1, 1 << 20),
        },
        {"lora_up.weight": (1 << 19, 1 << 12), "lora_down.weight": (1 << 12, 1 << 19)},
        {"lora_up.weight": (1 << 15, 1), "lora_down.weight": (1, 1 << 15), "lora_mid.weight": (1, 1, 3, 3)},
        {"lokr_w1": (4, 4), "lokr_w2_a": (1, 1 << 15), "lokr_w2_b": (1, 1 << 15), "lokr_t2": (1, 1, 3, 3)},
    ],
)
def test_what_would_take_hours_is_known_before(shapes: dict[str, tuple[int, ...]]) -> None:
    contents = contents_of({f"lora_unet_x.{part}": ("F16", shape) for part, shape in shapes.items()})
    (layer,) = contents.layers.values()
    assert operations_of(layer) > MOST_OPERATIONS


@pytest.mark.parametrize(
    ("rank", "sides"),
    [
        (8, [(3072, 3072)] * 800 + [(12288, 3072)] * 240),
        (
            32,
            [(9216, 3072), (3072, 3072), (12288, 3072), (3072, 12288), (18432, 3072)] * 38
            + [(21504, 3072), (3072, 15360), (9216, 3072)] * 38,
        ),
    ],
    ids=["the largest family", "FLUX.1"],
)
def test_the_layers_of_large_models_are_measured(rank: int, sides: list[tuple[int, int]]) -> None:
    """A LoHa of all of their layers."""
    total = 0
    for outputs, inputs in sides:
        shapes = {
            f"lora_unet_x.hada_w{n}_{x}": ("F16", (outputs, rank) if x == "a" else (rank, inputs))
            for n in "12"
            for x in "ab"
        }
        total += operations_of(next(iter(contents_of(shapes).layers.values())))
    assert total < MOST_OPERATIONS


def test_rows_at_once_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    kind, parts, _ = ADDING["LoHa"]
    whole = strength_of(LayerWeights(kind=kind, parts=parts, alpha=1.0)).norm
    monkeypatch.setattr(layer_strength, "AT_ONCE", 3 * IN)
    assert strength_of(LayerWeights(kind=kind, parts=parts, alpha=1.0)).norm == pytest.approx(whole)
