from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import FluxPipeline, FluxTransformer2DModel
from transformers import CLIPTextConfig, CLIPTextModel

from lora_studio.config_groups import NetworkGroup
from lora_studio.errors import ConfigError
from lora_studio.events import ignore, never_stop
from lora_studio.families import family_of
from lora_studio.families.base_files.locate import find_base
from lora_studio.families.flow import Flow
from lora_studio.families.flux import Flux, FluxModel
from lora_studio.families.weights.fused_layers import fuse_layers
from lora_studio.families.weights.quantised_weights import quantise_weights
from lora_studio.jobs.sd_scripts.launch_files import prepare
from lora_studio.lora.network.attach import attach
from lora_studio.lora.network.ranks import plan_sizes
from lora_studio.settings import Settings
from lora_studio.trainer import train
from lora_studio.training.dry_run import dry_run
from tests.support.clip_texts import encode_captions
from tests.support.flow_drawing import draw
from tests.support.tiny import denoiser_training, make_tiny_flux

GOLDEN = Path(__file__).parent.parent / "golden" / "flux_lora_keys.json"
CAPTIONS = ["a disc", "word " * 40, ""]
CALL = {"num_inference_steps": 3, "width": 64, "height": 48, "output_type": "pt"}
STEPS = torch.linspace(1, 1 / 3, 3).tolist()
CLIP_L = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
D = 32
"""Width of the tiny transformer."""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_flux(tmp_path_factory.mktemp("f") / "base")


@pytest.fixture(scope="module")
def model(base: Path) -> FluxModel:
    family = family_of(str(base))
    assert isinstance(family, Flux)
    return family.load()


def pipelines_own(pipe: FluxPipeline, prompt: str, **values: Any) -> torch.Tensor:
    pipe.set_progress_bar_config(disable=True)
    found: torch.Tensor = pipe(prompt, generator=torch.Generator().manual_seed(3), **CALL, **values).images
    return found


def on_meta(**layout: int) -> FluxModel:
    """At full width, without numbers."""
    with torch.device("meta"):
        transformer = FluxTransformer2DModel(guidance_embeds=True, **layout)
        clip = CLIPTextModel(CLIPTextConfig(**CLIP_L))
    fuse_layers(transformer)
    parts = {"tokenizer": None, "text_encoder": clip, "vae": None, "transformer": transformer}
    return FluxModel(found=None, process=Flow(config={}, takes_guidance=True), **parts)


def test_keys_and_shapes_are_kohyas_to_the_last() -> None:
    model, golden = on_meta(), json.loads(GOLDEN.read_text())
    assert [one.name for one in model.targets(texts=False)] == [row[0] for row in golden["denoiser"]]
    targets = model.targets(conv=True)
    settings = NetworkGroup(network_dim=4, network_alpha=4)
    sizes = plan_sizes(settings, targets, lambda target: False)
    lora = attach(model.models(), targets, dim=4, alpha=4.0, sizes=sizes)
    rows = [[name, *(list(weight.shape) for weight in lora.weights(name).values())] for name in lora.layers]
    assert rows == [*golden["text"], *golden["denoiser"]]
    assert len(rows) == 72 + 304


@pytest.mark.parametrize("guidance", [3.5, 1.0])
def test_a_picture_is_the_pipelines(base: Path, model: FluxModel, guidance: float) -> None:
    """To the bit with the same steps where the layers side by side are one there, too. Its own steps are a
    rounding away, as are three products from one."""
    drawn = draw(model, CAPTIONS[1], distilled=guidance)
    ours = model.pipeline()
    assert torch.equal(drawn, pipelines_own(ours, CAPTIONS[1], sigmas=STEPS, guidance_scale=guidance))
    plain = FluxPipeline.from_pretrained(base)
    wanted = pipelines_own(plain, CAPTIONS[1], guidance_scale=guidance)
    torch.testing.assert_close(drawn, wanted, rtol=0, atol=1e-5)


def test_a_picture_with_an_unwanted_text_is_the_pipelines(model: FluxModel) -> None:
    """Asked twice in a batch of two, and told the usual guidance both times."""
    wanted = pipelines_own(model.pipeline(), "a disc", negative_prompt="no disc", true_cfg_scale=4.0)
    torch.testing.assert_close(draw(model, "a disc", "no disc", scale=4.0), wanted, rtol=0, atol=2e-5)


def test_schnell_is_told_no_guidance(tmp_path: Path) -> None:
    base = make_tiny_flux(tmp_path / "FLUX.1-schnell", takes_guidance=False)
    model = family_of(str(base)).load()
    assert isinstance(model, FluxModel)
    assert not model.takes_guidance
    assert "guidance_scale" in model.process.unused(denoiser_training(tmp_path, base).noise)
    assert torch.equal(draw(model, "a disc"), pipelines_own(model.pipeline(), "a disc", sigmas=STEPS))


@pytest.mark.parametrize("name", ["FLUX.1-schnell", "my schnell mix"])
def test_schnell_is_known_by_its_name_and_not_trained(base: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / name).symlink_to(base)
    found = find_base(str(tmp_path / name))
    assert (found.family, found.traits.num_inference_steps, found.traits.step) == ("flux", 4, 16)
    with pytest.raises(ConfigError) as refusal:
        train(denoiser_training(tmp_path, tmp_path / name))
    assert refusal.value.field == "pretrained_model_name_or_path"
    assert "flux1-dev" in refusal.value.hint
    assert not find_base(str(base)).traits.train_instead


@torch.no_grad()
def test_texts_are_what_the_pipeline_feeds_its_denoiser(model: FluxModel) -> None:
    captions = [*CAPTIONS, "long " * 600]
    found = encode_captions(model, captions)
    assert found.pooled is not None
    for index, caption in enumerate(captions):
        states, pooled, _ = model.pipeline().encode_prompt(caption, device="cpu")
        assert torch.equal(found.states[index], states[0])
        assert torch.equal(found.pooled[index], pooled[0])
    assert found.states.shape[1] == model.prompts.caption_limit(75)[0] == 512
    assert model.prompts.count_caption("long " * 600, weighted=False) > 512


@torch.no_grad()
def test_the_answer_is_the_transformers(model: FluxModel) -> None:
    """Packed by hand: a token is a square of 2 x 2 latent pixels, known by its row and column."""
    noisy, text = torch.randn(1, 16, 8, 6), encode_captions(model, ["a disc"])
    tokens = [noisy[0, :, y : y + 2, x : x + 2].flatten() for y in range(0, 8, 2) for x in range(0, 6, 2)]
    by_hand = model.transformer(
        hidden_states=torch.stack(tokens)[None],
        timestep=torch.tensor([0.25]),
        guidance=torch.tensor([1.5]),
        pooled_projections=text.pooled,
        encoder_hidden_states=text.states,
        txt_ids=torch.zeros(512, 3),
        img_ids=torch.tensor([[0.0, y, x] for y in range(4) for x in range(3)]),
        return_dict=False,
    )[0]
    found = model.denoise(noisy, torch.tensor([250.0]), text, guidance=1.5)
    assert torch.equal(found[0, :, 2:4, 4:6].flatten(), by_hand[0, 5])
    usual = model.denoise(noisy, torch.tensor(250), text)
    assert torch.equal(usual, model.denoise(noisy, torch.tensor(250), text, guidance=3.5))
    assert not torch.equal(usual, found)


def test_a_plan_is_measured(base: Path, tmp_path: Path) -> None:
    estimate = dry_run(denoiser_training(tmp_path, base), ignore, never_stop)
    assert estimate is not None
    assert estimate.seconds_per_step > 0
    assert estimate.images == 4


def test_what_stays_exact_in_8_bits(base: Path) -> None:
    transformer = family_of(str(base)).load().denoiser
    assert quantise_weights(transformer) > 0
    exact = {
        path
        for path, module in transformer.named_modules()
        if isinstance(module, torch.nn.Linear) and not hasattr(module, "parametrizations")
    }
    assert not [path for path in exact if "_blocks" in path]
    assert {"x_embedder", "context_embedder", "norm_out.linear", "proj_out"} < exact


def test_sd_scripts_is_told_what_it_needs(base: Path, tmp_path: Path) -> None:
    (tmp_path / "checkout").mkdir()
    (tmp_path / "checkout" / "flux_train_network.py").touch()
    settings = Settings(home=tmp_path, models=tmp_path, sd_scripts=tmp_path / "checkout")
    config = denoiser_training(tmp_path, base, engine="sd-scripts", guidance_scale=1.0)
    with pytest.raises(ConfigError) as refusal:
        prepare(config, settings, tmp_path / "job")
    assert refusal.value.field == "sd_scripts_args"
    assert "ae =" in refusal.value.hint
    given = ('pretrained_model_name_or_path = "f.safetensors"', 'ae = "ae.safetensors"')
    config = denoiser_training(tmp_path, base, engine="sd-scripts", guidance_scale=1.0, sd_scripts_args=given)
    launch = prepare(config, settings, tmp_path / "job")
    assert launch.command[1] == "flux_train_network.py"
    told = (tmp_path / "job" / "arguments.toml").read_text("utf-8")
    for line in (
        'network_module = "networks.lora_flux"',
        "guidance_scale = 1.0",
        'model_prediction_type = "raw"',
        "network_train_unet_only = true",
        f'clip_l = "{base}/text_encoder/model.safetensors"',
        f't5xxl = "{base}/text_encoder_2/model.safetensors"',
    ):
        assert line in told
