"""Shapes of layers' tensors: what doesn't go together is left out, and what would take the memory of the
machine is refused before anything is multiplied."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from lora_studio.errors import ConfigError, UnknownFormat
from lora_studio.lora.file.contents import contents_of
from lora_studio.lora.file.layer_shapes import LARGEST_MADE, Shapes, go_together, products_of
from lora_studio.lora.file.tensor_table import read_tensor_table
from lora_studio.lora.inspection.file_report import TOO_LARGE, inspect_file
from lora_studio.lora.network import kinds, layer_fit
from lora_studio.lora.network.weights import LayerWeights
from lora_studio.lora.repair.low_rank import largest_made, low_rank_of, resized
from lora_studio.lora.repair.repair_request import RepairRequest
from lora_studio.lora.repair.repaired_file import merge_files, repair_file
from tests.support.layer_formulas import some

LAYER = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
OTHER = LAYER.replace("to_q", "to_k")
LOHA_CORES = {
    **{"hada_t1": (2, 3, 3, 3), "hada_w1_a": (2, 8), "hada_w1_b": (3, 6)},
    **{"hada_t2": (4, 1, 3, 3), "hada_w2_a": (4, 8), "hada_w2_b": (1, 6)},
}
TOGETHER: dict[str, Shapes] = {
    "LoRA": {"lora_up.weight": (8, 2), "lora_down.weight": (2, 6)},
    "LoCon": {"lora_up.weight": (8, 2, 1, 1), "lora_down.weight": (2, 6, 3, 3)},
    "LoCon with a core": {
        "lora_up.weight": (8, 2, 1, 1),
        "lora_down.weight": (3, 6, 1, 1),
        "lora_mid.weight": (2, 3, 3, 3),
    },
    "LoHa": {"hada_w1_a": (8, 2), "hada_w1_b": (2, 6), "hada_w2_a": (8, 3), "hada_w2_b": (3, 6)},
    "LoHa with cores": LOHA_CORES,
    "LoKr": {"lokr_w1": (2, 3), "lokr_w2_a": (4, 2), "lokr_w2_b": (2, 2)},
    "LoKr with a core": {
        "lokr_w1": (2, 3),
        "lokr_w2_a": (2, 4),
        "lokr_w2_b": (1, 2),
        "lokr_t2": (2, 1, 3, 3),
    },
    "norm": {"diff": (8,)},
}
APART: dict[str, Shapes] = {
    "ranks": {"lora_up.weight": (8, 4), "lora_down.weight": (2, 6)},
    "a core's ranks": {**TOGETHER["LoCon with a core"], "lora_mid.weight": (3, 2, 3, 3)},
    "one half's ranks": {**TOGETHER["LoHa"], "hada_w2_b": (2, 6)},
    "the halves' outputs": {**TOGETHER["LoHa"], "hada_w2_a": (7, 3)},
    "the halves' inputs": {**TOGETHER["LoHa"], "hada_w2_b": (3, 5)},
    "one half's core": {key: sides for key, sides in LOHA_CORES.items() if key != "hada_t2"},
    "the cores' kernels": {**LOHA_CORES, "hada_t2": (4, 1, 1, 1)},
    "a factor's ranks": {**TOGETHER["LoKr"], "lokr_w2_b": (3, 2)},
    "a factor of a line": {**TOGETHER["LoKr"], "lokr_w1": (2,)},
}
SMALL_BUT: dict[str, Shapes] = {
    "a second core": {
        **{"hada_t1": (1, 1, 1, 1), "hada_w1_a": (1, 20000), "hada_w1_b": (1, 20000)},
        **{"hada_t2": (1, 1, 1, 1), "hada_w2_a": (1, 20000), "hada_w2_b": (1, 20000)},
    },
    "a core between many ranks": {
        "lora_mid.weight": (1, 20000, 1, 1),
        "lora_up.weight": (20000, 1, 1, 1),
        "lora_down.weight": (20000, 1, 1, 1),
    },
    "a LoKr's core": {
        **{"lokr_w1": (1, 1), "lokr_w2_a": (1, 20000), "lokr_w2_b": (1, 20000), "lokr_t2": (1, 1, 1, 1)},
    },
}
FULL_LOKR: Shapes = {"lokr_w1": (128, 128), "lokr_w2": (128, 128)}
"""66 KB of a weight of 16,384 x 16,384."""


def file_of(folder: Path, shapes: Shapes, name: str = "x", layer: str = LAYER) -> Path:
    path = folder / f"{name}.safetensors"
    save_file({f"{layer}.{part}": some(*sides).half() for part, sides in shapes.items()}, path)
    return path


@pytest.mark.parametrize("shapes", TOGETHER.values(), ids=TOGETHER)
def test_what_a_change_needs_is_told_by_its_shapes(shapes: Shapes) -> None:
    """Against the tensors that are made: the change, and with a core the product of it and either factor."""
    assert go_together(shapes)
    parts = {part: some(*sides) for part, sides in shapes.items()}
    kind = kinds.kind_of(shapes)
    if kind == "full":
        assert products_of(shapes) == []
        return
    change = kinds.PRODUCTS[kind](kinds.fitted(kind, parts, torch.Size((8, 6))) if kind != "lora" else parts)
    products = products_of(shapes)
    made = [one.outputs * one.inputs * one.kernel for one in products]
    assert change.numel() == (math.prod(made) if kind == "lokr" else made[0])
    assert all(one.largest >= numbers for one, numbers in zip(products, made, strict=True))


@pytest.mark.parametrize("shapes", APART.values(), ids=APART)
def test_what_does_not_go_together_is_left_out_everywhere(tmp_path: Path, shapes: Shapes) -> None:
    bad, good = file_of(tmp_path, shapes), file_of(tmp_path, TOGETHER["LoRA"], "good")
    for act in (inspect_file, lambda path: repair_file(path, RepairRequest(new_rank=1), tmp_path / "y")):
        with pytest.raises(UnknownFormat):
            act(bad)
    both = tmp_path / "both.safetensors"
    save_file({**load_file(bad), **load_file(file_of(tmp_path, TOGETHER["LoRA"], "z", OTHER))}, both)
    report = inspect_file(both)
    assert report.kinds == {"LoRA": 1}
    assert "don't go together" in report.left_out
    merge_files([(good, 1.0), (both, 1.0)], RepairRequest(), tmp_path / "sum.safetensors")
    merged = load_file(tmp_path / "sum.safetensors")
    assert merged[f"{LAYER}.lora_up.weight"].shape == merged[f"{OTHER}.lora_up.weight"].shape == (8, 2)


@pytest.mark.parametrize("shapes", SMALL_BUT.values(), ids=SMALL_BUT)
def test_a_small_file_takes_no_large_memory(tmp_path: Path, shapes: Shapes) -> None:
    """Each would take 1.6 GB and more; no tensor of a quarter of that is made."""
    path = file_of(tmp_path, shapes)
    with LargestTensor() as largest:
        report = inspect_file(path)
        assert report.norm is None
        assert TOO_LARGE in report.notes
        for write in (
            lambda target: repair_file(path, RepairRequest(new_rank=4), target),
            lambda target: merge_files([(path, 1.0), (path, 1.0)], RepairRequest(), target),
        ):
            with pytest.raises(ConfigError, match=r"too large to be worked on|trillion multiplications"):
                write(tmp_path / "y.safetensors")
    assert largest.numbers < 1 << 22


def test_a_core_that_takes_more_than_any_layer_is_not_drawn_with(tmp_path: Path) -> None:
    """240 KB that fit a layer of 20,000 weights, by way of a tensor of 1.6 GB."""
    half = {"t{}": (1, 20000, 1, 1), "w{}_a": (1, 20000), "w{}_b": (20000, 1)}
    shapes = {f"hada_{part.format(number)}": sides for number in "12" for part, sides in half.items()}
    layer = torch.nn.Conv2d(1, 20000, 1, device="meta")
    assert kinds.fits("loha", shapes, layer.weight.shape)
    contents = contents_of(read_tensor_table(file_of(tmp_path, shapes))[1])
    fit = layer_fit.fit_to(contents, {LAYER: layer})
    assert (fit.layers, [left.why for left in fit.left_out]) == ({}, [layer_fit.TOO_LARGE])


def test_a_loha_of_more_pairs_than_memory_is_not_resized(tmp_path: Path) -> None:
    """Its factors are all pairs of its ranks: of 9 MB, 1.3 GB."""
    sides = {"a": (16384, 70), "b": (70, 16384)}
    path = file_of(tmp_path, {f"hada_w{number}_{x}": sides[x] for number in "12" for x in "ab"})
    with LargestTensor() as largest, pytest.raises(ConfigError, match="too large to be worked on"):
        repair_file(path, RepairRequest(new_rank=4), tmp_path / "y.safetensors")
    assert largest.numbers <= 2 * 70 * 16384  # the bytes of a tensor that is read


def test_what_is_too_large_to_be_measured_is_looked_through_for_nan(tmp_path: Path) -> None:
    path = file_of(tmp_path, SMALL_BUT["a core between many ranks"])
    tensors = load_file(path)
    tensors[f"{LAYER}.lora_up.weight"][7] = math.nan
    save_file(tensors, path)
    report = inspect_file(path)
    assert (report.broken_count, report.broken[0]) == (1, LAYER)
    assert report.here.startswith("It is refused here")


def test_a_lokr_is_resized_by_its_factors_and_merged_within_bounds(tmp_path: Path) -> None:
    path = file_of(tmp_path, FULL_LOKR)
    assert largest_made(FULL_LOKR) > LARGEST_MADE
    with LargestTensor() as largest:
        repair_file(path, RepairRequest(new_rank=4), tmp_path / "y.safetensors")
        with pytest.raises(ConfigError, match="too large to be worked on"):
            merge_files([(path, 1.0), (path, 1.0)], RepairRequest(), tmp_path / "z.safetensors")
    assert largest.numbers <= 16384 * 4


class LargestTensor(torch.overrides.TorchFunctionMode):
    """The numbers of the largest tensor that an operation gave, while it is entered."""

    numbers = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        made = func(*args, **(kwargs or {}))
        if isinstance(made, torch.Tensor):
            self.numbers = max(self.numbers, made.numel())
        return made


LOKR_SHAPES: dict[str, Shapes] = {
    "matrices": {"lokr_w1": (2, 3), "lokr_w2": (4, 2)},
    "factors": {"lokr_w1_a": (4, 1), "lokr_w1_b": (1, 3), "lokr_w2_a": (4, 2), "lokr_w2_b": (2, 4)},
    "a core": TOGETHER["LoKr with a core"],
    "a kernel": {"lokr_w1": (2, 3), "lokr_w2": (4, 2, 3, 3)},
}


@pytest.mark.parametrize("shapes", LOKR_SHAPES.values(), ids=LOKR_SHAPES)
def test_a_lokr_by_its_factors_is_the_nearest_of_its_rank(shapes: Shapes) -> None:
    parts = {part: some(*sides, seed=place).double() for place, (part, sides) in enumerate(shapes.items())}
    layer = LayerWeights(kind="lokr", parts=parts, alpha=None)
    whole = kinds.PRODUCTS["lokr"](parts).flatten(1)
    exact = low_rank_of(LAYER, layer)
    torch.testing.assert_close(exact.up @ exact.down, whole)
    u, values, v = torch.linalg.svd(whole, full_matrices=False)
    for request, rank in (
        (RepairRequest(new_rank=2), 2),
        (RepairRequest(new_rank=99), None),
        (RepairRequest(dynamic_method="sv_ratio", dynamic_param=1e6), int((values > values[0] / 1e6).sum())),
    ):
        found = resized(LAYER, layer, request)
        assert rank is None or found.rank == rank
        best = (u[:, : found.rank] * values[: found.rank]) @ v[: found.rank]
        torch.testing.assert_close(found.up @ found.down, best)
        assert found.inside == exact.inside
