"""Files of LoRAs for FLUX.2 klein in every spelling: each changes the base's layers by the formula."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import Flux2KleinPipeline
from safetensors.torch import save_file

from lora_studio.catalog import FLUX, FLUX2, KLEIN
from lora_studio.families import family_of
from lora_studio.families.flux import FluxModel
from lora_studio.families.klein import KleinModel
from lora_studio.generation.lora_lookup import layers_of
from lora_studio.lora.file.keys import names_in_files
from lora_studio.lora.file.lora_files import read_header
from lora_studio.lora.network.layers import change_from
from lora_studio.lora.network.output_rows import OutputRows
from lora_studio.lora.network.weights import read_weights
from tests.support.flux_files import KLEIN_PARTS, KLEIN_SPELLINGS, WIDTH, changes_of, layers_in, random_lora
from tests.support.tiny import make_tiny_klein


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_klein(tmp_path_factory.mktemp("k") / "base")


@pytest.fixture(scope="module")
def model(base: Path) -> FluxModel:
    loaded = family_of(str(base)).load()
    assert isinstance(loaded, KleinModel)
    return loaded


LOKRS = {
    "ai-toolkit": ("diffusion_model.double_blocks.1.img_attn.qkv", "diffusion_model.single_blocks.0.linear2"),
    "lycoris": ("lycoris_transformer_blocks_1_attn_to_k", "lycoris_single_transformer_blocks_0_attn_to_out"),
    "paths of diffusers": ("transformer_blocks.1.attn.to_k", "single_transformer_blocks.0.attn.to_out"),
}


@pytest.mark.parametrize("spelling", LOKRS)
@torch.no_grad()
def test_a_lokr_of_each_program_goes_where_it_belongs(
    model: FluxModel, tmp_path: Path, spelling: str
) -> None:
    """On three layers that are one, or one's rows; without an alpha, as each has whole matrices."""
    attention, out = LOKRS[spelling]
    is_whole = spelling == "ai-toolkit"
    w1, w2 = torch.randn(4, 4), torch.randn(24 if is_whole else 8, 8)
    last = torch.randn(4, 4), torch.randn(8, (WIDTH + 3 * WIDTH) // 4)
    tensors = {f"{attention}.lokr_w1": w1, f"{attention}.lokr_w2": w2}
    tensors |= {f"{out}.lokr_w1": last[0], f"{out}.lokr_w2": last[1]}
    save_file(tensors, tmp_path / "x.safetensors")
    blocks = model.transformer
    found = changes_of(model, tmp_path / "x.safetensors")
    qkv = found["lora_unet_double_blocks_1_img_attn_qkv"]
    assert qkv.shape == blocks.transformer_blocks[1].attn.to_qkv.weight.shape
    product = torch.kron(w1, w2)
    rows = slice(None) if is_whole else slice(WIDTH, 2 * WIDTH)
    torch.testing.assert_close(qkv[rows], product)
    assert is_whole or not qkv[:WIDTH].any()
    torch.testing.assert_close(found["lora_unet_single_blocks_0_linear2"], torch.kron(*last))


@torch.no_grad()
def test_layers_beside_the_blocks_are_changed_as_well(model: FluxModel, tmp_path: Path) -> None:
    """None of them is trained here, other programs do. The halves of the last norm have changed places, which
    diffusers leaves as they are when it reads such a file."""
    transformer = model.transformer
    layers = {
        "img_in": transformer.x_embedder,
        "txt_in": transformer.context_embedder,
        "time_in.in_layer": transformer.time_guidance_embed.timestep_embedder.linear_1,
        "time_in.out_layer": transformer.time_guidance_embed.timestep_embedder.linear_2,
        "double_stream_modulation_img.lin": transformer.double_stream_modulation_img.linear,
        "double_stream_modulation_txt.lin": transformer.double_stream_modulation_txt.linear,
        "single_stream_modulation.lin": transformer.single_stream_modulation.linear,
        "final_layer.linear": transformer.proj_out,
        "final_layer.adaLN_modulation.1": transformer.norm_out.linear,
    }
    diffs = {name: torch.randn(layer.weight.shape) for name, layer in layers.items()}
    path = tmp_path / "x.safetensors"
    save_file({f"diffusion_model.{name}.diff": diff for name, diff in diffs.items()}, path)
    places, read = layers_of(model.models()), read_weights(path)
    assert len(read) == len(layers)
    for name, layer in layers.items():
        key = f"lora_unet_{name.replace('.', '_')}"
        place = places[key]
        assert (place.module if isinstance(place, OutputRows) else place) is layer
        assert torch.equal(change_from(place, read[key]).delta(), diffs[name])
    last = places["lora_unet_final_layer_adaLN_modulation_1"]
    assert isinstance(last, OutputRows)
    assert torch.equal(last.weight, torch.cat(layers["final_layer.adaLN_modulation.1"].weight.chunk(2)[::-1]))
    own = names_in_files("unet", "single_stream_modulation.linear", "lora_unet_single_stream_modulation_lin")
    assert "lora_unet_single_stream_modulation_linear" in own


@pytest.mark.parametrize("spelling", ["kohya", "peft", "diffusers"])
@torch.no_grad()
def test_diffusers_reads_the_same_from_it(
    model: FluxModel, base: Path, tmp_path: Path, spelling: str
) -> None:
    """Its own reader, which has no sizes in it."""
    tensors = random_lora(model)
    save_file(KLEIN_SPELLINGS[spelling](tensors), tmp_path / "x.safetensors")
    pipe = Flux2KleinPipeline.from_pretrained(base)
    plain = {name: one.clone() for name, one in pipe.transformer.state_dict().items()}
    pipe.load_lora_weights(str(tmp_path), weight_name="x.safetensors")
    pipe.fuse_lora()
    pipe.unload_lora_weights()
    ours = changes_of(model, tmp_path / "x.safetensors")
    for name, kind, number, layer in layers_in(tensors):
        start = f"{'single_' * (kind == 'single')}transformer_blocks.{number}."
        paths = [f"{start}{part}.weight" for part in KLEIN_PARTS[layer]]
        moved = [pipe.transformer.get_parameter(path) - plain[path] for path in paths]
        torch.testing.assert_close(torch.cat(moved), ours[name], rtol=1e-4, atol=1e-4)


FAMILIES_TOLD: dict[str, tuple[dict[str, tuple[int, int]], dict[str, str], str]] = {
    "4B, double blocks alone": ({"lora_unet_double_blocks_0_img_mlp_0": (18432, 3072)}, {}, KLEIN),
    "4B, single blocks alone": ({"diffusion_model.single_blocks.0.linear1": (27648, 3072)}, {}, KLEIN),
    "9B": ({"lora_unet_double_blocks_0_img_attn_proj": (4096, 4096)}, {}, KLEIN),
    "diffusers": ({"transformer.transformer_blocks.0.ff.linear_in": (18432, 3072)}, {}, KLEIN),
    "dev": ({"lora_unet_double_blocks_0_img_attn_proj": (6144, 6144)}, {}, FLUX2),
    "dev, diffusers": ({"transformer.transformer_blocks.0.ff.linear_in": (36864, 6144)}, {}, FLUX2),
    "dev, single": (
        {"diffusion_model.single_blocks.0.linear1": (55296, 6144)},
        {"ss_base_model_version": "flux2"},
        FLUX2,
    ),
    "a word for all of FLUX.2": (
        {"diffusion_model.single_blocks.0.linear1": (27648, 3072)},
        {"ss_base_model_version": "flux2", "modelspec.architecture": "flux.2/lora"},
        KLEIN,
    ),
    "words of musubi-tuner": (
        {"lora_unet_double_blocks_0_img_attn_proj": (3072, 3072)},
        {"ss_base_model_version": "flux_2_klein_4b"},
        KLEIN,
    ),
    "FLUX.1": ({"lora_unet_double_blocks_0_img_mlp_0": (12288, 3072)}, {}, FLUX),
}


@pytest.mark.parametrize("case", FAMILIES_TOLD)
def test_the_family_of_a_file_is_told(tmp_path: Path, case: str) -> None:
    layers, words, family = FAMILIES_TOLD[case]
    tensors = {
        f"{name}.{part}": torch.empty(shape)
        for name, (out, ins) in layers.items()
        for part, shape in (("lora_A.weight", (1, ins)), ("lora_B.weight", (out, 1)))
    }
    save_file(tensors, tmp_path / "x.safetensors", metadata=words)
    assert read_header(tmp_path / "x.safetensors").family == family
