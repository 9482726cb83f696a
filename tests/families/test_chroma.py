from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from diffusers import ChromaPipeline, ChromaTransformer2DModel
from safetensors.torch import save_file

from lora_studio.config import TrainConfig
from lora_studio.config_groups import NetworkGroup
from lora_studio.families import family_of
from lora_studio.families.base_files.found_base import FoundBase
from lora_studio.families.base_files.locate import find_base
from lora_studio.families.flow import Flow
from lora_studio.families.flux import Chroma, ChromaModel
from lora_studio.families.weights.fused_layers import fuse_layers
from lora_studio.families.weights.quantised_weights import quantise_weights
from lora_studio.generation.lora_lookup import check_family, check_fit, find_loras, layers_of
from lora_studio.jobs.sd_scripts.launch_files import prepare
from lora_studio.lora.network.attach import attach
from lora_studio.lora.network.ranks import plan_sizes
from lora_studio.request import LoraUse
from lora_studio.settings import Settings
from tests.support.clip_texts import encode_captions
from tests.support.flow_drawing import draw
from tests.support.tiny import denoiser_training, make_pictures, make_tiny_chroma, make_tiny_flux, tiny_values

GOLDEN = Path(__file__).parent.parent / "golden" / "flux_lora_keys.json"
CAPTIONS = ["a disc", "word " * 40, ""]
CALL = {"num_inference_steps": 3, "width": 64, "height": 48, "output_type": "pt"}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_chroma(tmp_path_factory.mktemp("c") / "base")


@pytest.fixture(scope="module")
def model(base: Path) -> ChromaModel:
    family = family_of(str(base))
    assert isinstance(family, Chroma)
    return family.load()


def pipelines_own(pipe: ChromaPipeline, model: ChromaModel, *texts: str, scale: float) -> torch.Tensor:
    """With texts of their own lengths: its mask has nothing to do then."""
    pipe.set_progress_bar_config(disable=True)
    values: dict[str, torch.Tensor] = {}
    for name, text in zip(("prompt", "negative_prompt"), texts, strict=False):
        states = encode_captions(model, [text]).states
        values |= {f"{name}_embeds": states, f"{name}_attention_mask": torch.ones(states.shape[:2])}
    generator = torch.Generator().manual_seed(3)
    found: torch.Tensor = pipe(**values, guidance_scale=scale, generator=generator, **CALL).images
    return found


def test_keys_and_shapes_are_kohyas_to_the_last() -> None:
    """Those of FLUX.1 without modulation."""
    with torch.device("meta"):
        transformer = ChromaTransformer2DModel()
    fuse_layers(transformer)
    parts = {"tokenizer": None, "text_encoder": None, "vae": None, "transformer": transformer}
    model = ChromaModel(found=None, process=Flow(config={}), **parts)
    targets = model.targets(conv=True)
    settings = NetworkGroup(network_dim=4, network_alpha=4)
    sizes = plan_sizes(settings, targets, lambda target: False)
    lora = attach(model.models(), targets, dim=4, alpha=4.0, sizes=sizes)
    rows = [[name, *(list(weight.shape) for weight in lora.weights(name).values())] for name in lora.layers]
    golden = json.loads(GOLDEN.read_text())["denoiser"]
    assert rows == [row for row in golden if not row[0].endswith(("_mod_lin", "_modulation_lin"))]
    assert len(rows) == 228


def test_a_picture_is_the_pipelines(base: Path, model: ChromaModel) -> None:
    drawn = draw(model, CAPTIONS[1])
    torch.testing.assert_close(
        drawn, pipelines_own(model.pipeline(), model, CAPTIONS[1], scale=1.0), rtol=0, atol=5e-6
    )
    plain = ChromaPipeline.from_pretrained(base)
    torch.testing.assert_close(drawn, pipelines_own(plain, model, CAPTIONS[1], scale=1.0), rtol=0, atol=1e-5)


@pytest.mark.parametrize("negative", ["", "a much longer text that is not wanted at all"])
def test_a_picture_with_an_unwanted_text_is_the_pipelines(model: ChromaModel, negative: str) -> None:
    wanted = pipelines_own(model.pipeline(), model, "a disc", negative, scale=4.0)
    torch.testing.assert_close(draw(model, "a disc", negative, scale=4.0), wanted, rtol=0, atol=2e-5)


@torch.no_grad()
def test_texts_are_the_pipelines_with_one_token_of_padding(model: ChromaModel) -> None:
    """As its mask says; of those that are too long there is no padding to take."""
    captions = [*CAPTIONS, "long " * 600]
    found = encode_captions(model, captions)
    for caption, row in zip(captions, found.rows, strict=True):
        states, _, mask, *_ = model.pipeline().encode_prompt(caption, do_classifier_free_guidance=False)
        assert torch.equal(row, states[0][mask[0].bool()])
        assert len(row) == min(512, model.prompts.count_caption(caption, weighted=False) + 1)


def test_the_base_is_told_and_its_texts_stay(base: Path, model: ChromaModel, tmp_path: Path) -> None:
    found = find_base(str(base))
    assert (found.family, found.facts.step, found.traits.guidance_scale) == ("chroma", 16, 5.0)
    config = TrainConfig.from_values(tiny_values(base, make_pictures(tmp_path), tmp_path / "lora"))
    assert any("text encoder" in sentence for sentence in model.ignored_settings(config))
    assert not [one for one in model.targets() if one.part != "unet"]
    told = model.metadata()
    assert told["ss_base_model_version"] == told["ss_model_type"] == "chroma"


def test_what_stays_exact_in_8_bits(base: Path) -> None:
    transformer = family_of(str(base)).load().denoiser
    assert quantise_weights(transformer) > 0
    exact = {
        path.split(".")[0]
        for path, module in transformer.named_modules()
        if isinstance(module, torch.nn.Linear) and not hasattr(module, "parametrizations")
    }
    assert exact == {"x_embedder", "context_embedder", "distilled_guidance_layer", "proj_out"}


def test_a_lora_of_flux_goes_on_as_far_as_it_fits(model: ChromaModel, tmp_path: Path) -> None:
    """Its modulation has no place here, which is said."""
    flux = family_of(str(make_tiny_flux(tmp_path / "flux"))).load()
    tensors = attach(flux.models(), flux.targets(texts=False), dim=2, alpha=2.0).tensors()
    (tmp_path / "x").mkdir()
    save_file(tensors, tmp_path / "x" / "x.safetensors", metadata={"ss_base_model_version": "flux1"})
    (lora,) = find_loras([LoraUse(slug="x")], tmp_path)
    assert lora.header.family == "flux"
    check_family(lora, FoundBase(name="c", path_or_id="", family="chroma", layout="folder"))
    fit = check_fit(lora, layers_of(model.models()), "c")
    assert fit.layers.keys() == {one.name for one in model.targets()}
    assert {one.name.split("_")[-2] for one in fit.left_out} == {"mod", "modulation"}


def test_sd_scripts_is_told_what_it_needs(base: Path, tmp_path: Path) -> None:
    (tmp_path / "checkout").mkdir()
    (tmp_path / "checkout" / "flux_train_network.py").touch()
    settings = Settings(home=tmp_path, models=tmp_path, sd_scripts=tmp_path / "checkout")
    given = ('pretrained_model_name_or_path = "c.safetensors"', 'ae = "ae.safetensors"')
    config = denoiser_training(tmp_path, base, engine="sd-scripts", sd_scripts_args=given)
    prepare(config, settings, tmp_path / "job")
    told = (tmp_path / "job" / "arguments.toml").read_text("utf-8")
    for line in (
        'model_type = "chroma"',
        "apply_t5_attn_mask = true",
        "guidance_scale = 0.0",
        f't5xxl = "{base}/text_encoder/model.safetensors"',
    ):
        assert line in told
    assert "clip_l" not in told
