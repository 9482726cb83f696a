"""Repairs and conversions of LoRA files, proven by each layer's change to a weight before and after."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from lora_studio.errors import ConfigError, FamilyMismatch, StoreError, StudioError
from lora_studio.lora.file.lora_files import read_header
from lora_studio.lora.file.spellings import canonical_name
from lora_studio.lora.inspection.file_report import inspect_file
from lora_studio.lora.network import kinds
from lora_studio.lora.network.weights import LayerWeights, read_weights
from lora_studio.lora.repair.low_rank import chosen_rank
from lora_studio.lora.repair.repair_request import RepairRequest
from lora_studio.lora.repair.repaired_file import merge_files, repair_file
from tests.support.layer_formulas import some

Tensors = dict[str, torch.Tensor]
SD1 = {"ss_base_model_version": "sd_v1", "ss_sd_model_name": "/home/ada/v1.safetensors", "ss_steps": "9"}
LINEAR = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k"
CONV = "lora_unet_up_blocks_2_resnets_1_conv1"
NORM = "lora_unet_mid_block_attentions_0_norm"
TEXT = "lora_te_text_model_encoder_layers_3_mlp_fc1"
WEIGHTS = {LINEAR: (16, 24), CONV: (16, 8, 3, 3), NORM: (16,), TEXT: (24, 12)}


def layer(name: str, parts: Mapping[str, torch.Tensor], alpha: float | None = None) -> Tensors:
    made = {f"{name}.{part}": tensor for part, tensor in parts.items()}
    return made if alpha is None else {**made, f"{name}.alpha": torch.tensor(alpha)}


def pair(name: str, rank: int = 4, alpha: float | None = 2.0, seed: int = 0) -> Tensors:
    outputs, inputs, *kernel = WEIGHTS[name]
    down, up = some(rank, inputs, *kernel, seed=seed), some(outputs, rank, *[1] * len(kernel), seed=seed + 1)
    return layer(name, {"lora_down.weight": down, "lora_up.weight": up}, alpha)


def hadamard(name: str) -> dict[str, torch.Tensor]:
    outputs, inputs = WEIGHTS[name][0], math.prod(WEIGHTS[name][1:])
    sides = {"a": (outputs, 2), "b": (2, inputs)}
    return {f"hada_w{n}_{x}": some(*sides[x], seed=int(n)) for n in "12" for x in "ab"}


CORED = {
    "lora_down.weight": some(2, 8, 1, 1),
    "lora_up.weight": some(16, 2, 1, 1),
    "lora_mid.weight": some(2, 2, 3, 3),
}
FILES: dict[str, Tensors] = {
    "LoRA": {**pair(LINEAR), **pair(TEXT, rank=3)},
    "LoCon": {**pair(LINEAR), **pair(CONV)},
    "LoCon with a core": layer(CONV, CORED, 1.0),
    "DoRA": {
        **pair(LINEAR),
        f"{LINEAR}.dora_scale": 1 + some(1, 24).abs(),
        **pair(TEXT),
        f"{TEXT}.dora_scale": 1 + some(24, 1).abs(),
    },
    "LoHa": {**layer(LINEAR, hadamard(LINEAR), 1.0), **layer(CONV, hadamard(CONV), 1.0)},
    "LoKr": {
        **layer(LINEAR, {"lokr_w1": some(4, 4), "lokr_w2_a": some(4, 2), "lokr_w2_b": some(2, 6)}, 1.0),
        **layer(TEXT, {"lokr_w1": some(4, 3), "lokr_w2": some(6, 4)}, 9.0),
        **layer(CONV, {"lokr_w1": some(2, 2), "lokr_w2": some(8, 4, 3, 3)}),
    },
    "OFT": {
        **layer(LINEAR, {"oft_blocks": some(4, 4, 4)}, 0.001),
        **layer(TEXT, {"oft_blocks": some(6, 4, 4)}, 0.0),
    },
    "full": {
        **layer(LINEAR, {"diff": some(16, 24), "diff_b": some(16)}),
        **layer(CONV, {"diff": some(16, 8, 3, 3)}),
    },
    "norms": {**layer(NORM, {"w_norm": some(16), "b_norm": some(16, seed=3)})},
}
ADDING = [kind for kind in FILES if kind not in ("DoRA", "OFT")]


def change_of(one: LayerWeights, name: str) -> torch.Tensor:
    """What a layer of a file adds to a weight, its bias' difference in a row of its own."""
    shape = torch.Size(WEIGHTS[name])
    weight = some(*shape, seed=17).double()
    parts = kinds.fitted(one.kind, {part: tensor.double() for part, tensor in one.parts.items()}, shape)
    bias = parts.pop("diff_b", torch.zeros(1).double())
    if not parts:
        return torch.cat([torch.zeros(math.prod(shape)), bias])
    if kinds.depends_on_weight(one.kind):
        made = kinds.addition(one.kind, parts, weight, one.alpha)
    else:
        made = kinds.scale_of(parts, one.alpha) * kinds.change(one.kind, parts, shape)
        if "dora_scale" in parts:
            made = kinds.decomposed(weight + made, parts["dora_scale"]) - weight
    return torch.cat([made.flatten(), bias.flatten()])


def changes(path: Path) -> dict[str, torch.Tensor]:
    known = {canonical_name(name): name for name in WEIGHTS}
    return {
        known[canonical_name(name)]: change_of(one, known[canonical_name(name)])
        for name, one in read_weights(path).items()
    }


def assert_same(
    found: Mapping[str, torch.Tensor], wanted: Mapping[str, torch.Tensor], tolerance: float
) -> None:
    assert found.keys() == wanted.keys()
    for name, change in wanted.items():
        difference = (found[name] - change).norm() / change.norm()
        assert difference <= tolerance, (name, float(difference))


def file_of(folder: Path, tensors: Tensors, metadata: dict[str, str] | None = None, name: str = "x") -> Path:
    path = folder / f"{name}.safetensors"
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, path, metadata or SD1)
    return path


KEEPING: dict[str, tuple[RepairRequest, float]] = {
    "Kohya's names": (RepairRequest(spelling="kohya"), 1e-6),
    "ComfyUI's names": (RepairRequest(spelling="comfyui"), 1e-6),
    "float": (RepairRequest(save_precision="float"), 1e-6),
    "fp16": (RepairRequest(save_precision="fp16"), 2e-3),
    "bf16": (RepairRequest(save_precision="bf16"), 2e-2),
    "alpha folded": (RepairRequest(alpha="folded"), 1e-6),
    "alpha written": (RepairRequest(alpha="written"), 1e-6),
    "without private metadata": (RepairRequest(strip_private=True), 0.0),
    "without NaN": (RepairRequest(drop_broken=True), 1e-6),
    "all at once": (
        RepairRequest(spelling="comfyui", save_precision="fp16", alpha="written", strip_private=True),
        2e-3,
    ),
}


@pytest.mark.parametrize(("request_", "tolerance"), KEEPING.values(), ids=KEEPING)
@pytest.mark.parametrize("kind", FILES)
def test_what_keeps_the_change_keeps_it(
    tmp_path: Path, kind: str, request_: RepairRequest, tolerance: float
) -> None:
    old, new = file_of(tmp_path, FILES[kind]), tmp_path / "new" / "y.safetensors"
    before = old.read_bytes()
    assert repair_file(old, request_, new) == []
    assert old.read_bytes() == before
    assert_same(changes(new), changes(old), tolerance)
    assert os.listdir(new.parent) == ["y.safetensors"]
    with safe_open(new, framework="pt") as file:
        said = file.metadata()
    assert said["ss_steps"] == "9"
    assert ("ada" in json.dumps(said)) is not request_.strip_private
    if request_.spelling == "comfyui":
        with safe_open(new, framework="pt") as file:
            assert all(key.startswith(("diffusion_model.", "text_encoders.clip_l.")) for key in file.keys())  # noqa: SIM118


def test_only_the_metadata_changes_where_only_that_is_asked_for(tmp_path: Path) -> None:
    tensors = {**FILES["LoRA"], "what.is.this": torch.arange(5), "b": some(2).to(torch.float8_e5m2)}
    old, new = file_of(tmp_path, tensors), tmp_path / "y.safetensors"
    repair_file(old, RepairRequest(strip_private=True), new, "A new name")
    assert read_header(new).tensor_hash == read_header(old).tensor_hash
    assert read_header(new).title == "A new name"


@pytest.mark.parametrize("kind", FILES)
def test_diffusers_names_are_for_two_factors(tmp_path: Path, kind: str) -> None:
    old, new = file_of(tmp_path, FILES[kind]), tmp_path / "y.safetensors"
    if kind not in ("LoRA", "LoCon"):
        with pytest.raises(ConfigError, match="two factors"):
            repair_file(old, RepairRequest(spelling="diffusers"), new)
        assert not new.exists()
        return
    repair_file(old, RepairRequest(spelling="diffusers"), new)
    assert_same(changes(new), changes(old), 1e-6)
    keys = load_file(new).keys()
    assert all(key.startswith(("unet.", "text_encoder.")) and "lora_" in key for key in keys)
    back = tmp_path / "z.safetensors"
    repair_file(new, RepairRequest(spelling="kohya"), back)
    assert_same(changes(back), changes(old), 1e-6)
    assert {key.split(".")[0] for key in load_file(back)} == {key.split(".")[0] for key in FILES[kind]}


@pytest.mark.parametrize("kind", FILES)
def test_as_many_ranks_as_there_are_change_nothing(tmp_path: Path, kind: str) -> None:
    old, new = file_of(tmp_path, FILES[kind]), tmp_path / "y.safetensors"
    if kind == "OFT":
        with pytest.raises(ConfigError, match="depends on the base"):
            repair_file(old, RepairRequest(new_rank=4), new)
        return
    repair_file(old, RepairRequest(new_rank=64), new)
    assert_same(changes(new), changes(old), 1e-5)
    assert {one.kind for one in read_weights(new).values()} <= {
        "lora",
        *(["full"] if kind == "norms" else []),
    }


@pytest.mark.parametrize("kind", [kind for kind in ADDING if kind not in ("norms", "full")])
def test_fewer_ranks_are_the_nearest_change_that_has_them(tmp_path: Path, kind: str) -> None:
    old, new = file_of(tmp_path, FILES[kind]), tmp_path / "y.safetensors"
    repair_file(old, RepairRequest(new_rank=2), new)
    for name, change in changes(old).items():
        whole = change[:-1].reshape(WEIGHTS[name][0], -1)
        u, values, v = torch.linalg.svd(whole, full_matrices=False)
        best = (u[:, :2] * values[:2]) @ v[:2]
        assert (changes(new)[name][:-1] - best.flatten()).norm() <= 1e-5 * whole.norm()
        assert read_weights(new)[name].dim == 2
    with safe_open(new, framework="pt") as file:
        assert file.metadata()["ss_network_dim"] == "2"


def test_ranks_are_chosen_as_sd_scripts_chooses_them() -> None:
    values = torch.tensor([4.0, 2.0, 1.0, 0.5])
    for method, param, most, wanted in (
        ("sv_ratio", 3.0, 0, 2),
        ("sv_fro", 0.9, 0, 2),
        ("sv_fro", 0.98, 0, 3),
        ("sv_cumulative", 0.5, 0, 1),
        ("sv_cumulative", 0.9, 0, 3),
        ("sv_cumulative", 0.9, 2, 2),
    ):
        request = RepairRequest(dynamic_method=method, dynamic_param=param, new_rank=most)
        assert chosen_rank(values, request) == wanted, (method, param, most)
    assert chosen_rank(torch.zeros(3), RepairRequest(dynamic_method="sv_fro", dynamic_param=0.5)) == 1


def test_a_share_of_the_norm_is_kept(tmp_path: Path) -> None:
    old, new = file_of(tmp_path, FILES["LoHa"]), tmp_path / "y.safetensors"
    repair_file(old, RepairRequest(dynamic_method="sv_fro", dynamic_param=0.95), new)
    for name, change in changes(old).items():
        kept = changes(new)[name]
        assert kept.norm() >= 0.95 * change.norm()
        assert (kept - change).norm() <= math.sqrt(1 - 0.95**2) * change.norm() + 1e-6


@pytest.mark.parametrize("kind", ADDING)
@pytest.mark.parametrize("other", ["LoRA", "LoHa", "full", "norms"])
def test_a_merged_file_adds_what_its_files_add(tmp_path: Path, kind: str, other: str) -> None:
    first, second = file_of(tmp_path, FILES[kind]), file_of(tmp_path, FILES[other], name="b")
    new = tmp_path / "y.safetensors"
    merge_files([(first, 0.7), (second, -1.5)], RepairRequest(), new)
    ours, theirs, wanted = changes(first), changes(second), {}
    for name in ours | theirs:
        parts = [ratio * found[name] for ratio, found in ((0.7, ours), (-1.5, theirs)) if name in found]
        most = max(part.numel() for part in parts)
        wanted[name] = sum(torch.cat([part, part.new_zeros(most - part.numel())]) for part in parts)
    found = {name: change[: len(wanted[name])] for name, change in changes(new).items()}
    assert_same(found, wanted, 1e-5)


def test_layers_of_different_spellings_are_one(tmp_path: Path) -> None:
    first = file_of(tmp_path, FILES["LoCon"])
    second = tmp_path / "b.safetensors"
    repair_file(first, RepairRequest(spelling="comfyui"), second)
    merge_files([(first, 1.0), (second, 1.0)], RepairRequest(new_rank=4), tmp_path / "y.safetensors")
    doubled = {name: 2 * change for name, change in changes(first).items()}
    assert_same(changes(tmp_path / "y.safetensors"), doubled, 1e-5)


@pytest.mark.parametrize("kind", ["DoRA", "OFT"])
def test_what_depends_on_the_base_is_not_merged(tmp_path: Path, kind: str) -> None:
    first, second = file_of(tmp_path, FILES["LoRA"]), file_of(tmp_path, FILES[kind], name="b")
    with pytest.raises(ConfigError, match="depends on the base"):
        merge_files([(second, 1.0), (first, 1.0)], RepairRequest(), tmp_path / "y.safetensors")
    assert not (tmp_path / "y.safetensors").exists()


def test_files_of_different_families_are_not_merged(tmp_path: Path) -> None:
    first = file_of(tmp_path, FILES["LoRA"])
    second = file_of(tmp_path, FILES["LoRA"], {"ss_base_model_version": "sdxl_base_v1-0"}, name="b")
    with pytest.raises(FamilyMismatch):
        merge_files([(first, 1.0), (second, 1.0)], RepairRequest(), tmp_path / "y.safetensors")


def test_a_layer_of_two_sizes_is_named_plainly(tmp_path: Path) -> None:
    for name, size in (("a", 4), ("b", 6)):
        save_file({"lora_unet_x\x1b[31m.diff": torch.ones(size, size)}, tmp_path / f"{name}.safetensors")
    pair = [(tmp_path / f"{name}.safetensors", 1.0) for name in "ab"]
    with pytest.raises(ConfigError) as refusal:
        merge_files(pair, RepairRequest(), tmp_path / "y.safetensors")
    assert str(refusal.value).isprintable()


@pytest.mark.parametrize("ratio", [math.nan, math.inf, 1e9])
def test_a_ratio_is_a_number(tmp_path: Path, ratio: float) -> None:
    first = file_of(tmp_path, FILES["LoRA"])
    with pytest.raises(ConfigError, match="ratio"):
        merge_files([(first, ratio), (first, 1.0)], RepairRequest(), tmp_path / "y.safetensors")


def test_broken_layers_are_left_out(tmp_path: Path) -> None:
    bad = {**FILES["LoRA"], f"{TEXT}.lora_up.weight": torch.full((24, 3), torch.nan)}
    old, new = file_of(tmp_path, bad), tmp_path / "y.safetensors"
    (note,) = repair_file(old, RepairRequest(drop_broken=True), new)
    assert TEXT in note
    assert changes(new).keys() == {LINEAR}
    with pytest.raises(StudioError):
        repair_file(file_of(tmp_path, {key: x * torch.nan for key, x in FILES["LoRA"].items()}, name="z"),
                    RepairRequest(drop_broken=True), tmp_path / "w.safetensors")  # fmt: skip


def test_no_file_is_ever_overwritten(tmp_path: Path) -> None:
    old = file_of(tmp_path, FILES["LoRA"])
    before = old.read_bytes()
    for request in (RepairRequest(alpha="folded"), RepairRequest(strip_private=True)):
        with pytest.raises(StoreError):
            repair_file(old, request, old)
    assert old.read_bytes() == before
    assert os.listdir(tmp_path) == ["x.safetensors"]


def test_numbers_too_large_for_a_format_are_named(tmp_path: Path) -> None:
    large = {**FILES["LoRA"], f"{LINEAR}.lora_up.weight": torch.full((16, 4), 1e6)}
    with pytest.raises(ConfigError, match="that fp16 can't"):
        repair_file(
            file_of(tmp_path, large), RepairRequest(save_precision="fp16"), tmp_path / "y.safetensors"
        )
    assert os.listdir(tmp_path) == ["x.safetensors"]


def test_an_alpha_of_the_header_is_written(tmp_path: Path) -> None:
    """Programs that read no header draw the new file as it was trained."""
    module = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k"
    tensors = {f"{module}.lora_A.weight": some(4, 24), f"{module}.lora_B.weight": some(16, 4)}
    said = {**SD1, "lora_adapter_metadata": json.dumps({"unet.r": 4, "unet.lora_alpha": 16})}
    old, new = file_of(tmp_path, tensors, said), tmp_path / "y.safetensors"
    repair_file(old, RepairRequest(spelling="kohya"), new)
    assert_same(changes(new), changes(old), 1e-6)
    assert float(load_file(new)[f"{LINEAR}.alpha"]) == 16
    assert inspect_file(old).programs[0].outcome == "refused"
    assert [one.outcome for one in inspect_file(new).programs] == ["whole"] * 5


def test_embeddings_and_strange_tensors_are_taken_over(tmp_path: Path) -> None:
    tensors = {**FILES["LoRA"], "bundle_emb.w.string_to_param.*": some(2, 8), "what": torch.ones(2)}
    old = file_of(tmp_path, tensors)
    repair_file(old, RepairRequest(save_precision="fp16"), tmp_path / "y.safetensors")
    assert {"bundle_emb.w.string_to_param.*", "what"} <= load_file(tmp_path / "y.safetensors").keys()
    (note,) = repair_file(old, RepairRequest(spelling="diffusers"), tmp_path / "z.safetensors")
    assert "2 tensors are left out" in note


def test_fused_attention_stays_fused(tmp_path: Path) -> None:
    name = "diffusion_model.layers.0.attention.qkv"
    tensors = {f"{name}.lora_A.weight": some(2, 3840), f"{name}.lora_B.weight": some(12, 2)}
    old, new = file_of(tmp_path, tensors, {"ss_base_model_version": "zimage"}), tmp_path / "y.safetensors"
    repair_file(old, RepairRequest(save_precision="fp16"), new)
    assert load_file(new).keys() == tensors.keys()
    repair_file(old, RepairRequest(spelling="diffusers"), tmp_path / "z.safetensors")
    assert {key.rpartition(".lora_")[0] for key in load_file(tmp_path / "z.safetensors")} == {
        f"transformer.layers.0.attention.to_{x}" for x in "qkv"
    }
    ours, theirs = read_weights(old), read_weights(tmp_path / "z.safetensors")
    for layer_name, one in ours.items():
        both = (kinds.change("lora", x.parts, torch.Size((4, 3840))) for x in (one, theirs[layer_name]))
        torch.testing.assert_close(*both)
