"""Files for FLUX and what is built like it in the makers' names and in diffusers', which have other layers:
each conversion is proven by what the file adds to the base's weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import FluxTransformer2DModel
from diffusers.loaders.lora_conversion_utils import _convert_kohya_flux_lora_to_diffusers
from safetensors.torch import load_file, save_file

from lora_studio.errors import ConfigError
from lora_studio.families import family_of
from lora_studio.families.flux import FluxModel
from lora_studio.lora.file.keys import same_layer
from lora_studio.lora.file.spellings import spelled_as
from lora_studio.lora.inspection.file_report import inspect_file
from lora_studio.lora.network.attach import attach
from lora_studio.lora.network.initial_weights import continue_from, merge_into_base, sizes_from
from lora_studio.lora.repair.repair_request import RepairRequest
from lora_studio.lora.repair.repaired_file import merge_files, repair_file
from tests.lora.test_flux_files import one_block
from tests.support.flux_files import (
    FLUX_SPELLINGS,
    KLEIN_SPELLINGS,
    WIDTH,
    Tensors,
    changes_of,
    layers_in,
    matrices,
    random_lora,
)
from tests.support.layer_formulas import some
from tests.support.tiny import make_tiny_chroma, make_tiny_flux, make_tiny_klein

MAKE = {"flux": make_tiny_flux, "chroma": make_tiny_chroma, "klein": make_tiny_klein}
VERSIONS = {"flux": "flux1", "chroma": "chroma", "klein": "flux_2_klein_4b"}
SPELLED: dict[str, dict[str, Callable[[Tensors], Tensors]]] = {
    "flux": FLUX_SPELLINGS,
    "chroma": {name: FLUX_SPELLINGS[name] for name in ("kohya", "comfyui", "diffusers")},
    "klein": KLEIN_SPELLINGS,
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, FluxModel]:
    folder = tmp_path_factory.mktemp("bases")
    return {family: family_of(str(make(folder / family))).load() for family, make in MAKE.items()}


@pytest.fixture(scope="module")
def files(models: dict[str, FluxModel]) -> dict[str, Tensors]:
    return {family: random_lora(model) for family, model in models.items()}


def saved(folder: Path, tensors: Tensors, family: str = "flux", name: str = "x") -> Path:
    path = folder / f"{name}.safetensors"
    save_file(tensors, path, {"ss_base_model_version": VERSIONS[family]})
    return path


def assert_adds_the_same(found: Tensors, wanted: Tensors, factor: float = 1.0) -> None:
    assert found.keys() == wanted.keys()
    for name, change in wanted.items():
        torch.testing.assert_close(found[name], factor * change, rtol=1e-4, atol=1e-4)


IN_FILES = [(family, one) for family, spelled in SPELLED.items() for one in spelled]


@pytest.mark.parametrize(("family", "spelling"), IN_FILES)
@torch.no_grad()
def test_a_file_changes_the_same_in_every_spelling(
    models: dict[str, FluxModel], files: dict[str, Tensors], tmp_path: Path, family: str, spelling: str
) -> None:
    tensors = files[family]
    found = changes_of(models[family], saved(tmp_path, SPELLED[family][spelling](tensors), family))
    names = [layer[0] for layer in layers_in(tensors)]
    if spelling == "xlabs":  # they have the attention only
        names = [name for name in names if "attn" in name or "linear" in name]
    assert found.keys() == set(names)
    for name in names:
        down, up = matrices(tensors, name)
        if spelling == "xlabs" and name.endswith("linear1"):
            up = torch.cat([up[: 3 * WIDTH], torch.zeros_like(up[3 * WIDTH :])])
        torch.testing.assert_close(found[name], up @ down, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("family", "single"), [("flux", 12), ("klein", 3)])
@torch.no_grad()
def test_another_programs_file_is_trained_on_and_merged(
    models: dict[str, FluxModel], files: dict[str, Tensors], tmp_path: Path, family: str, single: int
) -> None:
    """Its ranks side by side are one layer's: three times as many, four times in a single block of FLUX.1."""
    model, tensors = models[family], files[family]
    file = str(saved(tmp_path, SPELLED[family]["diffusers"](tensors), family))
    fresh = family_of(model.found).load()
    targets = fresh.targets(texts=False)
    sizes = sizes_from(file, targets, fresh.models())
    ranks = {"qkv": 9, "linear1": single}
    assert all(size.dim == ranks.get(name.split("_")[-1], 3) for name, size in sizes.items())
    assert sizes.keys() == {target.name for target in targets}
    lora = attach(fresh.models(), targets, dim=3, alpha=1.5, sizes=sizes)
    assert not continue_from(file, lora)
    merged = family_of(model.found).load()
    assert not merge_into_base(merged.models(), merged.targets(), file, 1.0)
    for target in targets:
        down, up = matrices(tensors, target.name)
        ours_down, ours_up = (weight for weight in lora.weights(target.name).values())
        scale = lora.alpha_of(target.name) / len(ours_down)
        torch.testing.assert_close(scale * ours_up @ ours_down, up @ down, rtol=1e-4, atol=1e-4)
        moved = merged.denoiser.get_submodule(target.module).weight
        plain = model.denoiser.get_submodule(target.module).weight
        torch.testing.assert_close(moved - plain, up @ down, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("target", ["kohya", "comfyui", "diffusers"])
@pytest.mark.parametrize(("family", "spelling"), IN_FILES)
@torch.no_grad()
def test_every_spelling_becomes_every_other(
    models: dict[str, FluxModel],
    files: dict[str, Tensors],
    tmp_path: Path,
    family: str,
    spelling: str,
    target: str,
) -> None:
    old = saved(tmp_path, SPELLED[family][spelling](files[family]), family)
    new = tmp_path / "new.safetensors"
    assert repair_file(old, RepairRequest(spelling=target), new) == []
    assert_adds_the_same(changes_of(models[family], new), changes_of(models[family], old))
    keys = load_file(new).keys()
    start = {"kohya": "lora_unet_", "comfyui": "diffusion_model.", "diffusers": "transformer."}[target]
    assert all(key.startswith(start) for key in keys)
    if target == "diffusers":
        assert not [key for key in keys if "alpha" in key]
    elif spelling != "xlabs":
        names = {key.partition(".")[0] for key in files[family]}
        assert {same_layer(key.rpartition(".lora_")[0]) for key in keys if "lora_" in key[11:]} >= names


@torch.no_grad()
def test_taken_apart_and_put_together_again_it_is_the_same_file(
    files: dict[str, Tensors], tmp_path: Path
) -> None:
    """As one matrix down of all three stays one: the ranks don't grow."""
    for family, tensors in files.items():
        first = saved(tmp_path, tensors, family, family)
        apart, again = tmp_path / f"{family}-apart.safetensors", tmp_path / f"{family}-again.safetensors"
        repair_file(first, RepairRequest(spelling="diffusers"), apart)
        repair_file(apart, RepairRequest(spelling="kohya"), again)
        shapes = {key: one.shape for key, one in load_file(again).items() if "alpha" not in key}
        assert shapes == {key: one.shape for key, one in tensors.items() if "alpha" not in key}


@torch.no_grad()
def test_other_ranks_scales_and_missing_parts_are_put_together(
    models: dict[str, FluxModel], tmp_path: Path
) -> None:
    start = "lora_transformer_transformer_blocks_1_attn"
    single = "lora_transformer_single_transformer_blocks_0"
    tensors: Tensors = {}
    for name, rank, alpha, outputs in (
        (f"{start}_to_q", 2, 1.0, WIDTH),
        (f"{start}_to_v", 5, 5.0, WIDTH),
        (f"{start}_add_k_proj", 3, 1.5, WIDTH),
        (f"{single}_attn_to_k", 3, 1.5, WIDTH),
        (f"{single}_proj_mlp", 1, 2.0, 4 * WIDTH),
        ("lora_transformer_norm_out_linear", 2, 2.0, 2 * WIDTH),
    ):
        tensors |= {
            f"{name}.lora_down.weight": some(rank, WIDTH),
            f"{name}.lora_up.weight": some(outputs, rank),
            f"{name}.alpha": torch.tensor(alpha),
        }
    old, new = saved(tmp_path, tensors), tmp_path / "y.safetensors"
    model = models["flux"]
    model_changes = changes_by_module(model, old)
    repair_file(old, RepairRequest(spelling="comfyui"), new)
    assert {key.rpartition(".lora_")[0] for key in load_file(new) if "lora_A" in key} == {
        "diffusion_model.double_blocks.1.img_attn.qkv",
        "diffusion_model.double_blocks.1.txt_attn.qkv",
        "diffusion_model.single_blocks.0.linear1",
        "diffusion_model.final_layer.adaLN_modulation.1",
    }
    assert_adds_the_same(changes_by_module(model, new), model_changes)
    back = tmp_path / "z.safetensors"
    repair_file(new, RepairRequest(spelling="diffusers"), back)
    assert_adds_the_same(changes_by_module(model, back), model_changes)


def changes_by_module(model: FluxModel, file: Path) -> Tensors:
    """As `changes_of`, of layers that a network of ours doesn't train, too."""
    from lora_studio.generation.lora_lookup import layers_of
    from lora_studio.lora.network.layers import change_from
    from lora_studio.lora.network.output_rows import OutputRows
    from lora_studio.lora.network.weights import read_weights

    layers = layers_of(model.models())
    paths = {module: path for path, module in model.denoiser.named_modules()}
    found: Tensors = {}
    for name, layer in read_weights(file).items():
        base = layers[name]
        delta = change_from(base, layer).delta()
        if isinstance(base, OutputRows):
            delta = base.widened(delta.T, torch.zeros(delta.shape[1], len(base.module.weight))).T
            base = base.module
        found[paths[base]] = found.get(paths[base], 0) + delta
    return found


@pytest.mark.parametrize("request_", [RepairRequest(), RepairRequest(new_rank=48)], ids=["exact", "resized"])
@torch.no_grad()
def test_files_in_both_names_are_merged_to_one(
    models: dict[str, FluxModel], files: dict[str, Tensors], tmp_path: Path, request_: RepairRequest
) -> None:
    first = saved(tmp_path, files["flux"])
    second = saved(tmp_path, SPELLED["flux"]["diffusers"](files["flux"]), name="b")
    merge_files([(second, 0.5), (first, 1.0)], request_, tmp_path / "y.safetensors")
    found = changes_of(models["flux"], tmp_path / "y.safetensors")
    assert_adds_the_same(found, changes_of(models["flux"], first), 1.5)


@torch.no_grad()
def test_a_dora_is_put_together_and_a_lokr_where_it_is_resized(
    models: dict[str, FluxModel], tmp_path: Path
) -> None:
    model, start = models["flux"], "transformer.transformer_blocks.0.attn"
    dora: Tensors = {}
    for part in ("to_q", "to_k", "to_v"):
        dora |= {
            f"{start}.{part}.lora_A.weight": some(2, WIDTH),
            f"{start}.{part}.lora_B.weight": some(WIDTH, 2, seed=ord(part[-1])),
            f"{start}.{part}.lora_magnitude_vector": 1 + some(WIDTH).abs(),
        }
    old, new = saved(tmp_path, dora), tmp_path / "y.safetensors"
    repair_file(old, RepairRequest(spelling="kohya"), new)
    assert_adds_the_same(changes_of(model, new), changes_of(model, old))

    lokr = {
        f"{start}.{part}.{factor}": some(*sides)
        for part in ("to_q", "to_v")
        for factor, sides in (("lokr_w1", (4, 4)), ("lokr_w2", (8, 8)))
    }
    old = saved(tmp_path, lokr, name="lokr")
    with pytest.raises(ConfigError, match="LoKr can't be put together") as refusal:
        repair_file(old, RepairRequest(spelling="kohya"), tmp_path / "z.safetensors")
    assert "new_rank" in refusal.value.hint
    repair_file(old, RepairRequest(spelling="kohya", new_rank=64), tmp_path / "z.safetensors")
    assert_adds_the_same(changes_of(model, tmp_path / "z.safetensors"), changes_of(model, old))


def test_diffusers_makes_the_same_of_kohyas_file_at_full_width(tmp_path: Path) -> None:
    """Its reading has the sizes of the whole model in it: one block of each kind, of rank 1."""
    model = one_block()
    ours = {
        f"{one.name}.{part}": some(*shape)
        for one in model.targets(texts=False)
        for out, ins in [model.denoiser.get_submodule(one.module).weight.shape]
        for part, shape in (("lora_down.weight", (1, ins)), ("lora_up.weight", (out, 1)))
    }
    repair_file(saved(tmp_path, ours), RepairRequest(spelling="diffusers"), tmp_path / "y.safetensors")
    found = load_file(tmp_path / "y.safetensors")
    theirs = _convert_kohya_flux_lora_to_diffusers({key: one.clone() for key, one in ours.items()})
    assert found.keys() == {key for key in theirs if "lora_" in key}
    for key in found:
        if key.endswith("lora_B.weight"):
            down = key.replace("lora_B", "lora_A")
            torch.testing.assert_close(
                found[key] @ found[down][:, :3], theirs[key].float() @ theirs[down][:, :3].float()
            )
    with torch.device("meta"):
        whole = FluxTransformer2DModel(guidance_embeds=True, num_layers=1, num_single_layers=1)
    paths = {f"transformer.{path}" for path, _ in whole.named_modules()}
    assert {key.rpartition(".lora_")[0] for key in found} <= paths


@pytest.mark.parametrize(
    ("family", "theirs", "diffusers"),
    [
        ("flux", "img_in", "x_embedder"),
        ("flux", "time_in_in_layer", "time_text_embed.timestep_embedder.linear_1"),
        ("flux", "guidance_in_out_layer", "time_text_embed.guidance_embedder.linear_2"),
        ("klein", "time_in_out_layer", "time_guidance_embed.timestep_embedder.linear_2"),
        ("klein", "double_stream_modulation_img_lin", "double_stream_modulation_img.linear"),
        ("klein", "single_blocks_7_linear1", "single_transformer_blocks.7.attn.to_qkv_mlp_proj"),
        (
            "chroma",
            "distilled_guidance_layer_layers_2_in_layer",
            "distilled_guidance_layer.layers.2.linear_1",
        ),
        ("flux", "single_blocks_7_modulation_lin", "single_transformer_blocks.7.norm.linear"),
        ("flux", "double_blocks_7_img_attn_qkv", ""),
        ("flux", "single_blocks_7_linear1", ""),
        ("flux", "final_layer_adaLN_modulation_1", ""),
    ],
)
def test_single_layers_have_a_name_in_both(family: str, theirs: str, diffusers: str) -> None:
    name = f"lora_unet_{theirs}"
    assert spelled_as("diffusers", name, name, family) == (f"transformer.{diffusers}" if diffusers else "")
    if diffusers:
        there = f"transformer.{diffusers}"
        assert spelled_as("kohya", same_layer(there), there, family) == name
        assert same_layer(spelled_as("comfyui", same_layer(there), there, family)) == name


def test_text_encoders_keep_their_names() -> None:
    clip, t5 = (
        "lora_te1_text_model_encoder_layers_3_mlp_fc1",
        "lora_te3_encoder_block_2_layer_1_DenseReluDense_wi_0",
    )
    assert spelled_as("diffusers", same_layer(clip), clip, "flux") == (
        "text_encoder.text_model.encoder.layers.3.mlp.fc1"
    )
    for name in (clip, t5):
        theirs = spelled_as("comfyui", same_layer(name), name, "flux")
        assert theirs.startswith("text_encoders.")
        assert spelled_as("kohya", same_layer(theirs), theirs, "flux") == name
    assert spelled_as("diffusers", t5, t5, "flux") == ""
    assert spelled_as("comfyui", "lora_te3_what_is_this", "lora_te3_what_is_this", "flux") == ""


BLOCK = "transformer.transformer_blocks.0.attn"
SINGLE = "transformer.single_transformer_blocks.0"


@pytest.mark.parametrize(
    ("target", "layers"),
    [
        ("kohya", {f"{BLOCK}.to_q": (WIDTH, 8), f"{BLOCK}.to_k": (16, WIDTH)}),
        ("kohya", {f"{SINGLE}.attn.to_q": (16, WIDTH)}),
        ("kohya", {f"{SINGLE}.proj_mlp": (WIDTH, WIDTH)}),
        ("diffusers", {"lora_unet_double_blocks_0_img_attn_qkv": (95, WIDTH)}),
        ("diffusers", {"lora_unet_single_blocks_0_linear1": (96, WIDTH)}),
        ("diffusers", {"lora_unet_final_layer_adaLN_modulation_1": (3, WIDTH)}),
        (
            "diffusers",
            {"diffusion_model.double_blocks.0.img_attn.qkv": (96, WIDTH), f"{BLOCK}.to_q": (WIDTH, WIDTH)},
        ),
    ],
)
def test_odd_sizes_are_a_sentence_and_no_file(
    tmp_path: Path, target: str, layers: dict[str, tuple[int, int]]
) -> None:
    tensors = {
        f"{name}.{part}": some(*shape)
        for name, (outputs, inputs) in layers.items()
        for part, shape in (("lora_A.weight", (2, inputs)), ("lora_B.weight", (outputs, 2)))
    }
    old = saved(tmp_path, tensors)
    with pytest.raises(ConfigError) as refusal:
        repair_file(old, RepairRequest(spelling=target), tmp_path / "y.safetensors")
    assert refusal.value.field == "spelling"
    assert not (tmp_path / "y.safetensors").exists()
    assert inspect_file(old).kinds


@torch.no_grad()
def test_names_that_a_program_lacks_are_a_reason_to_convert(
    files: dict[str, Tensors], tmp_path: Path
) -> None:
    """ComfyUI finds klein's layers by its makers' names alone; a DoRA can't always be put together."""
    tensors = SPELLED["klein"]["diffusers"](files["klein"])
    file, kind = saved(tmp_path, tensors, "klein"), "spelling=kohya"
    assert kind in {one.fix for one in inspect_file(file).suggestions}
    repair_file(file, RepairRequest(spelling="kohya"), tmp_path / "y.safetensors")
    report = inspect_file(tmp_path / "y.safetensors")
    assert kind not in {one.fix for one in report.suggestions}
    assert {one.program: one.outcome for one in report.programs}["ComfyUI"] == "whole"
    whole = saved(tmp_path, {f"{BLOCK}.to_q.diff": some(WIDTH, WIDTH)}, "klein", "diff")
    assert kind not in {one.fix for one in inspect_file(whole).suggestions}
