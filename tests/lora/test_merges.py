"""Merges and repairs that must leave nothing out in silence: what one file has twice, what is no number, what
16 bits can't hold, what would take hours."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from lora_studio.errors import BrokenFile, ConfigError, DiskFull
from lora_studio.lora.file.contents import contents_of
from lora_studio.lora.inspection.file_report import inspect_file
from lora_studio.lora.network.weights import LayerWeights, read_weights
from lora_studio.lora.repair import repair_budget
from lora_studio.lora.repair.repair_budget import change_of
from lora_studio.lora.repair.repair_request import RepairRequest
from lora_studio.lora.repair.repaired_file import merge_files, repair_file
from tests.support.layer_formulas import some

Tensors = dict[str, torch.Tensor]
LAYER = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
OTHER = LAYER.replace("to_q", "to_k")
BY_STABILITY = "lora_unet_input_blocks_1_1_transformer_blocks_0_attn1_to_q"
SD1 = {"ss_base_model_version": "sd_v1"}
MERGE = RepairRequest()


def pair(
    name: str, outputs: int = 12, inputs: int = 8, rank: int = 2, alpha: float = 1.0, seed: int = 0
) -> Tensors:
    return {
        f"{name}.lora_up.weight": some(outputs, rank, seed=seed),
        f"{name}.lora_down.weight": some(rank, inputs, seed=seed + 1),
        f"{name}.alpha": torch.tensor(alpha),
    }


def file_of(folder: Path, tensors: Tensors, name: str = "x", metadata: dict[str, str] | None = None) -> Path:
    path = folder / f"{name}.safetensors"
    save_file({key: one.contiguous() for key, one in tensors.items()}, path, metadata or SD1)
    return path


def change(layer: LayerWeights) -> torch.Tensor:
    parts = {part: one.double() for part, one in layer.parts.items()}
    scale = layer.alpha / layer.dim if layer.alpha else 1.0
    return scale * parts["lora_up.weight"] @ parts["lora_down.weight"]


def changes(path: Path) -> dict[str, torch.Tensor]:
    return {name: change(layer) for name, layer in read_weights(path).items()}


def metadata_of(path: Path) -> dict[str, str]:
    with safe_open(path, framework="pt") as file:
        return dict(file.metadata())


@pytest.mark.parametrize(
    ("key", "bad"),
    [(f"{LAYER}.lora_up.weight", math.nan), (f"{LAYER}.alpha", math.nan), (f"{LAYER}.alpha", math.inf)],
)
def test_what_is_no_number_is_left_out_or_refused(tmp_path: Path, key: str, bad: float) -> None:
    sound = {**pair(LAYER), **pair(OTHER)}
    broken = {**sound, key: torch.full_like(sound[key], bad)}
    first, second = file_of(tmp_path, broken, "broken"), file_of(tmp_path, sound, "sound")
    new = tmp_path / "y.safetensors"
    for request in (
        RepairRequest(alpha="folded"),
        RepairRequest(new_rank=1),
        RepairRequest(spelling="kohya"),
    ):
        with pytest.raises(BrokenFile, match=LAYER) as refusal:
            repair_file(first, request, new)
        assert "drop_broken" in refusal.value.hint
    with pytest.raises(BrokenFile, match=LAYER):
        merge_files([(second, 1.0), (first, 1.0)], MERGE, new)
    assert not new.exists()

    drop = RepairRequest(drop_broken=True)
    (note,) = merge_files([(second, 1.0), (first, 1.0)], drop, new)
    assert LAYER in note
    assert first.name in note
    found = changes(new)
    torch.testing.assert_close(found[LAYER], changes(second)[LAYER], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found[OTHER], 2 * changes(second)[OTHER], rtol=1e-5, atol=1e-6)


def test_what_a_merge_leaves_out_is_said(tmp_path: Path) -> None:
    more = {"bundle_emb.zwx.string_to_param.*": some(2, 8), "what.hra_u": torch.ones(3)}
    first, second = file_of(tmp_path, pair(LAYER)), file_of(tmp_path, {**pair(LAYER), **more}, "b")
    notes = merge_files([(first, 1.0), (second, 1.0)], MERGE, tmp_path / "y.safetensors")
    assert all(note.startswith("b.safetensors: ") for note in notes)
    assert "what.hra_u" in notes[0]
    assert "zwx" in notes[1]
    assert len(notes) == 2


def test_a_layer_that_a_file_has_by_two_names_counts_twice(tmp_path: Path) -> None:
    twice = file_of(tmp_path, {**pair(LAYER), **pair(BY_STABILITY, seed=5)})
    once, new = file_of(tmp_path, pair(LAYER, seed=9), "b"), tmp_path / "y.safetensors"
    merge_files([(once, 1.0), (twice, 0.5)], MERGE, new)
    theirs = changes(twice)
    wanted = changes(once)[LAYER] + 0.5 * (theirs[LAYER] + theirs[BY_STABILITY])
    assert changes(new).keys() == {LAYER}
    torch.testing.assert_close(changes(new)[LAYER], wanted, rtol=1e-5, atol=1e-6)
    with pytest.raises(ConfigError, match="Two layers of the file"):
        repair_file(twice, RepairRequest(spelling="kohya"), tmp_path / "z.safetensors")


ZIMAGE = {"ss_base_model_version": "zimage"}
ATTENTION = "diffusion_model.layers.0.attention"


def of_pairs(name: str, outputs: int, seed: int = 0) -> Tensors:
    made = pair(name, outputs, 16, seed=seed)
    renamed = {"lora_up": "lora_B", "lora_down": "lora_A"}
    return {
        key.replace(old, new): one for old, new in renamed.items() for key, one in made.items() if old in key
    }


def test_fused_attention_is_merged_fused(tmp_path: Path) -> None:
    first = file_of(tmp_path, of_pairs(f"{ATTENTION}.qkv", 48), metadata=ZIMAGE)
    second = file_of(tmp_path, of_pairs(f"{ATTENTION}.qkv", 48, seed=4), "b", ZIMAGE)
    new = tmp_path / "y.safetensors"
    merge_files([(first, 1.0), (second, 0.5)], MERGE, new)
    assert {key.rpartition(".lora_")[0] for key in load_file(new) if "lora_" in key} == {f"{ATTENTION}.qkv"}
    for name, found in changes(new).items():
        wanted = changes(first)[name] + 0.5 * changes(second)[name]
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)


def test_fused_and_parted_attention_are_merged_in_the_files_names(tmp_path: Path) -> None:
    first = file_of(tmp_path, of_pairs(f"{ATTENTION}.qkv", 48), metadata=ZIMAGE)
    second = file_of(tmp_path, of_pairs(f"{ATTENTION}.to_v", 16, seed=4), "b", ZIMAGE)
    new = tmp_path / "y.safetensors"
    merge_files([(first, 1.0), (second, 0.5)], MERGE, new)
    assert {key.rpartition(".lora_")[0] for key in load_file(new) if "lora_" in key} == {
        f"{ATTENTION}.to_{part}" for part in "qkv"
    }
    for name, found in changes(new).items():
        wanted = changes(first)[name] + 0.5 * changes(second).get(name, torch.zeros(16, 16))
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)


def test_a_merged_file_has_names_of_one_kind(tmp_path: Path) -> None:
    kohya = file_of(tmp_path, pair(LAYER))
    theirs = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1"
    others = file_of(tmp_path, {**of_pairs(f"{theirs}.to_k", 12), **of_pairs(f"{theirs}.to_v", 12)}, "b")
    merge_files([(others, 1.0), (kohya, 1.0)], MERGE, tmp_path / "y.safetensors")
    names = {key.partition(".")[0] for key in load_file(tmp_path / "y.safetensors")}
    assert names == {LAYER, OTHER, LAYER.replace("to_q", "to_v")}


@pytest.mark.parametrize(
    ("diffusers", "makers"),
    [
        ("transformer_blocks.0.attn.to_out.0", "double_blocks_0_img_attn_proj"),
        ("transformer_blocks.0.ff.net.0.proj", "double_blocks_0_img_mlp_0"),
        ("single_transformer_blocks.7.proj_out", "single_blocks_7_linear2"),
        ("x_embedder", "img_in"),
    ],
)
def test_flux_layers_are_one_by_both_names(tmp_path: Path, diffusers: str, makers: str) -> None:
    flux = {"ss_base_model_version": "flux1"}
    theirs = file_of(tmp_path, of_pairs(f"transformer.{diffusers}", 16), metadata=flux)
    ours = file_of(tmp_path, pair(f"lora_unet_{makers}", 16, 16, seed=3), "b", flux)
    merge_files([(theirs, 1.0), (ours, 1.0)], MERGE, tmp_path / "y.safetensors")
    found = changes(tmp_path / "y.safetensors")
    wanted = sum(next(iter(changes(path).values())) for path in (theirs, ours))
    torch.testing.assert_close(found.pop(f"lora_unet_{makers}"), wanted, rtol=1e-5, atol=1e-6)
    assert not found


@pytest.mark.parametrize(("alpha", "rank", "size"), [(1.0, 128, 2e-4), (1.0, 64, 1e-3), (16.0, 32, 1e-3)])
def test_sixteen_bits_hold_what_an_alpha_makes_small(
    tmp_path: Path, alpha: float, rank: int, size: float
) -> None:
    """Multiplied into one factor, alpha / rank of 1 / 128 left 2.2 % of error in a merge."""

    def lora(seed: int) -> Tensors:
        made = pair(LAYER, 320, 320, rank, alpha, seed)
        made[f"{LAYER}.lora_up.weight"] *= size
        made[f"{LAYER}.lora_down.weight"] /= math.sqrt(3 * 320)
        return {key: one if "alpha" in key else one.half() for key, one in made.items()}

    first, second = file_of(tmp_path, lora(0)), file_of(tmp_path, lora(2), "b")
    new = tmp_path / "y.safetensors"
    merge_files([(first, 0.5), (second, 0.5)], MERGE, new)
    wanted = 0.5 * (changes(first)[LAYER] + changes(second)[LAYER])
    assert (changes(new)[LAYER] - wanted).norm() < 1e-3 * wanted.norm()
    for request in (RepairRequest(alpha="folded"), RepairRequest(spelling="diffusers")):
        new.unlink()
        repair_file(first, request, new)
        wanted = changes(first)[LAYER]
        assert (changes(new)[LAYER] - wanted).norm() < 1e-3 * wanted.norm()
        assert load_file(new)[next(iter(load_file(new)))].dtype == torch.float16


def test_metadata_is_true_of_what_a_network_has_become(tmp_path: Path) -> None:
    loha = {f"{LAYER}.hada_w{n}_{x}": some(*((12, 2) if x == "a" else (2, 8))) for n in "12" for x in "ab"}
    said = {**SD1, "ss_network_module": "lycoris.kohya", "ss_network_args": json.dumps({"algo": "loha"})}
    old, new = file_of(tmp_path, loha, metadata=said), tmp_path / "y.safetensors"
    repair_file(old, RepairRequest(save_precision="fp16"), new)
    assert metadata_of(new)["ss_network_args"] == said["ss_network_args"]
    for number, write in enumerate(
        (
            lambda target: repair_file(old, RepairRequest(new_rank=2), target),
            lambda target: merge_files([(old, 1.0), (old, 0.5)], MERGE, target),
        )
    ):
        write(tmp_path / f"{number}.safetensors")
        found = metadata_of(tmp_path / f"{number}.safetensors")
        assert found["ss_network_module"] == "networks.lora"
        assert "ss_network_args" not in found
        assert inspect_file(tmp_path / f"{number}.safetensors").what == "LoRA"


def test_whole_numbers_get_the_format_that_is_asked_for(tmp_path: Path) -> None:
    tensors = {key: (100 * one).to(torch.int8) for key, one in pair(LAYER, alpha=2.0).items()}
    old, new = file_of(tmp_path, tensors), tmp_path / "y.safetensors"
    repair_file(old, RepairRequest(save_precision="bf16"), new)
    assert {one.dtype for key, one in load_file(new).items() if "alpha" not in key} == {torch.bfloat16}
    torch.testing.assert_close(changes(new)[LAYER], changes(old)[LAYER], rtol=0.05, atol=1)


def test_the_format_that_can_not_hold_a_number_is_named(tmp_path: Path) -> None:
    large = pair(LAYER)
    large[f"{LAYER}.lora_up.weight"] *= 1e38
    large[f"{LAYER}.lora_down.weight"] *= 1e38
    path = file_of(tmp_path, large)
    with pytest.raises(ConfigError, match="float can't hold"):
        merge_files([(path, 100.0), (path, 1.0)], MERGE, tmp_path / "y.safetensors")


SHAPES: dict[str, tuple[dict[str, tuple[int, ...]], tuple[int, int, int]]] = {
    "LoRA": ({"lora_up.weight": (12, 2), "lora_down.weight": (2, 8)}, (12, 8, 2)),
    "LoCon": ({"lora_up.weight": (12, 2, 1, 1), "lora_down.weight": (2, 8, 3, 3)}, (12, 72, 2)),
    "a core": (
        {"lora_up.weight": (12, 2), "lora_down.weight": (2, 8), "lora_mid.weight": (2, 2, 3, 3)},
        (12, 72, 12),
    ),
    "LoHa": (
        {"hada_w1_a": (12, 2), "hada_w1_b": (2, 8), "hada_w2_a": (12, 3), "hada_w2_b": (3, 8)},
        (12, 8, 6),
    ),
    "LoKr": ({"lokr_w1": (3, 2), "lokr_w2": (4, 4)}, (12, 8, 8)),
    "a difference": ({"diff": (12, 8)}, (12, 8, 8)),
}


@pytest.mark.parametrize(("shapes", "wanted"), SHAPES.values(), ids=SHAPES)
def test_the_sides_and_the_rank_of_a_change_are_told_by_shapes(
    shapes: dict[str, tuple[int, ...]], wanted: tuple[int, int, int]
) -> None:
    table = {f"{LAYER}.{part}": ("F16", sides) for part, sides in shapes.items()}
    found = change_of(contents_of(table).layers[LAYER])
    assert found
    assert (found.outputs, found.inputs, found.rank) == wanted


def full_matrix(folder: Path) -> Path:
    return file_of(folder, {f"{LAYER}.lokr_w1": some(90, 90).half(), f"{LAYER}.lokr_w2": some(90, 90).half()})


def test_what_would_take_hours_is_told_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A merge of 32 KB twice is an SVD of 8,100 by 8,100; what it is made of is resized in no time."""
    monkeypatch.setattr(repair_budget, "MOST_OPERATIONS", 1 << 43)
    path, new = full_matrix(tmp_path), tmp_path / "y.safetensors"
    with pytest.raises(ConfigError, match="trillion multiplications"):
        merge_files([(path, 1.0), (path, 1.0)], MERGE, new)
    repair_file(path, RepairRequest(new_rank=2), new)
    assert changes(new)[LAYER].shape == (8100, 8100)


REFUSALS: dict[str, tuple[Callable[[pytest.MonkeyPatch], None], type[Exception]]] = {
    "numbers": (lambda patch: patch.setattr(repair_budget, "MOST_NUMBERS", 10), ConfigError),
    "the disk": (lambda patch: patch.setenv("LORA_STUDIO_KEEP_FREE_GB", "999999"), DiskFull),
}


@pytest.mark.parametrize(("limit", "error"), REFUSALS.values(), ids=REFUSALS)
def test_what_has_no_room_is_told_before_a_layer_is_read(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    limit: Callable[[pytest.MonkeyPatch], None],
    error: type[Exception],
) -> None:
    path = file_of(tmp_path, pair(LAYER))
    limit(monkeypatch)
    monkeypatch.setattr("lora_studio.lora.network.weights.OpenLayers.read", None)
    with pytest.raises(error):
        merge_files([(path, 1.0), (path, 1.0)], MERGE, tmp_path / "y.safetensors")
    with pytest.raises(error):
        repair_file(path, RepairRequest(new_rank=1), tmp_path / "y.safetensors")
    assert os.listdir(tmp_path) == [path.name]
