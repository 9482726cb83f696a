"""Files of LoRAs for FLUX.1 in every spelling: each changes the base's layers by the formula."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import FluxTransformer2DModel
from diffusers.loaders.lora_conversion_utils import (
    _convert_kohya_flux_lora_to_diffusers,
    _convert_xlabs_flux_lora_to_diffusers,
)
from safetensors.torch import save_file

from lora_studio.families import family_of
from lora_studio.families.flow import Flow
from lora_studio.families.flux import Flux, FluxModel
from lora_studio.families.weights.fused_layers import fuse_layers
from lora_studio.generation.lora_lookup import layers_of
from lora_studio.lora.file.keys import DOWN, UP, names_of_rows, same_layer, spelled_key
from lora_studio.lora.network.layers import change_from, put_on
from lora_studio.lora.network.output_rows import OutputRows, join_rows, modules_of
from lora_studio.lora.network.weights import LayerWeights, read_weights
from tests.support.flux_files import WIDTH, matrices
from tests.support.tiny import make_tiny_flux


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_flux(tmp_path_factory.mktemp("f") / "base")


@pytest.fixture(scope="module")
def model(base: Path) -> FluxModel:
    family = family_of(str(base))
    assert isinstance(family, Flux)
    return family.load()


def one_block() -> FluxModel:
    """One block of each kind at full width, without numbers."""
    with torch.device("meta"):
        transformer = FluxTransformer2DModel(guidance_embeds=True, num_layers=1, num_single_layers=1)
    fuse_layers(transformer)
    parts = {"tokenizer": None, "text_encoder": None, "vae": None, "transformer": transformer}
    return FluxModel(found=None, process=Flow(config={}), **parts)


@torch.no_grad()
def test_layers_that_are_one_here_may_be_of_any_kind(model: FluxModel, tmp_path: Path) -> None:
    """A LoKr of one of three, as SimpleTuner writes it; a whole difference of two swapped halves."""
    w1, w2, diff = torch.randn(4, 4), torch.randn(8, 8), torch.randn(2 * WIDTH, WIDTH)
    path = tmp_path / "x.safetensors"
    start = "lycoris_transformer_blocks_1_attn_to_k"
    save_file(
        {
            f"{start}.lokr_w1": w1,
            f"{start}.lokr_w2": w2,
            "diffusion_model.final_layer.adaLN_modulation.1.diff": diff,
        },
        path,
    )
    layers = layers_of(model.models())
    read = read_weights(path)
    key, norm = layers["lora_unet_transformer_blocks_1_attn_to_k"], model.transformer.norm_out.linear
    assert torch.equal(
        key.weight, model.transformer.transformer_blocks[1].attn.to_qkv.weight[WIDTH : 2 * WIDTH]
    )
    change = change_from(key, read["lora_unet_transformer_blocks_1_attn_to_k"])
    assert torch.equal(change.delta(), torch.kron(w1, w2))
    last = layers["lora_unet_final_layer_adaLN_modulation_1"]
    assert isinstance(last, OutputRows)
    assert torch.equal(last.weight, torch.cat(norm.weight.chunk(2)[::-1]))
    assert torch.equal(last.bias, torch.cat(norm.bias.chunk(2)[::-1]))
    changed = change_from(last, read["lora_unet_final_layer_adaLN_modulation_1"])
    inputs, plain = torch.randn(2, WIDTH), norm.weight.clone()
    before, handle = norm(inputs), put_on(norm, [changed])
    added = norm(inputs) - before
    handle.remove()
    torch.testing.assert_close(added, inputs @ torch.cat(diff.chunk(2)[::-1]).T, rtol=1e-4, atol=1e-4)
    assert torch.equal(norm.weight, plain)


def test_diffusers_reads_the_same_from_our_file_at_full_width() -> None:
    """Its reading has the sizes of the whole model in it: one block of each kind, of rank 1."""
    model = one_block()
    targets = model.targets(texts=False)
    ours = {
        f"{one.name}.{part}": torch.randn(shape) if len(shape) else torch.tensor(0.5)
        for one in targets
        for out, ins in [model.denoiser.get_submodule(one.module).weight.shape]
        for part, shape in (("lora_down.weight", (1, ins)), ("lora_up.weight", (out, 1)), ("alpha", ()))
    }
    theirs = _convert_kohya_flux_lora_to_diffusers({key: one.clone() for key, one in ours.items()})
    layers = layers_of(model.models())
    read = {key.removesuffix(".lora_A.weight") for key in theirs if key.endswith(".lora_A.weight")}
    assert len(read) == len(targets) + 2 + 2 + 3
    for path in read:
        layer = layers[same_layer(path)]
        module = layer.module if isinstance(layer, OutputRows) else layer
        (name,) = [one.name for one in targets if model.denoiser.get_submodule(one.module) is module]
        down, up = matrices(ours, name)
        (span,) = layer.pieces if isinstance(layer, OutputRows) else ((0, len(up)),)
        theirs_up, theirs_down = (theirs[f"{path}.lora_{letter}.weight"] for letter in "BA")
        torch.testing.assert_close(theirs_up @ theirs_down[:, :3], up[slice(*span)] @ down[:, :3])
        torch.testing.assert_close(theirs_up[:3] @ theirs_down, up[slice(*span)][:3] @ down)


def test_diffusers_reads_xlabs_names_as_we_do() -> None:
    """By the module that each of its paths leads to."""
    names = [f"double_blocks.0.processor.{one}" for one in ("qkv_lora1", "proj_lora1", "qkv_lora2")]
    names += ["double_blocks.0.processor.proj_lora2", "single_blocks.0.processor.proj_lora"]
    layers = layers_of(one_block().models())
    for name in names:
        file = {f"{name}.{part}.weight": torch.zeros(3, 3) for part in ("down", "up")}
        (ours, _, _) = spelled_key(f"{name}.up.weight")
        paths = {key.rsplit(".lora_", 1)[0] for key in _convert_xlabs_flux_lora_to_diffusers(file)}
        assert paths
        assert {modules_of(layers[same_layer(path)]) for path in paths} == {modules_of(layers[ours])}


def test_rows_of_a_layer_have_a_name_each() -> None:
    assert names_of_rows("unet", "transformer_blocks.3.ff.net.2", (WIDTH, 4 * WIDTH)) == {}
    assert names_of_rows("text_encoder", "norm_out.linear", (2 * WIDTH, WIDTH)) == {}
    rows = names_of_rows("unet", "single_transformer_blocks.7.proj_mlp", (7 * WIDTH, WIDTH))
    assert rows["lora_unet_single_transformer_blocks_7_proj_mlp"] == ((3 * WIDTH, 7 * WIDTH),)


def test_t5_has_one_name_in_all_files() -> None:
    layer = "encoder_block_0_layer_0_SelfAttention_q"
    names = [
        f"lora_te3_{layer}",
        f"lora_te2_{layer}",
        "text_encoder_2.encoder.block.0.layer.0.SelfAttention.q",
    ]
    names += ["text_encoders.t5xxl.transformer.encoder.block.0.layer.0.SelfAttention.q"]
    assert {same_layer(name) for name in names} == {f"lora_te3_{layer}"}


def test_rows_of_other_sizes_are_nobodys_rows() -> None:
    path, shape = "single_transformer_blocks.7.proj_mlp", (7 * WIDTH, WIDTH)
    (name,) = (one for one in names_of_rows("unet", path, shape) if one.endswith("proj_mlp"))
    for up, down in ((4 * WIDTH + 1, WIDTH), (4 * WIDTH, WIDTH + 1)):
        parts = {UP: torch.ones(up, 2), DOWN: torch.ones(2, down)}
        file = {name: LayerWeights(kind="lora", parts=parts, alpha=2.0)}
        assert join_rows(file, [("unet", path, "whole", shape)]) == file
