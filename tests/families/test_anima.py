from __future__ import annotations

import json
import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import AnimaTextConditioner, ClassifierFreeGuidance, CosmosTransformer3DModel, ModularPipeline
from diffusers.models.transformers import transformer_cosmos
from transformers import Qwen3Config, Qwen3Model

from lora_studio.catalog import BASES
from lora_studio.config import TrainConfig
from lora_studio.config_groups import NetworkGroup
from lora_studio.errors import BrokenFile, ConfigError
from lora_studio.families import family_of
from lora_studio.families.anima import Anima, AnimaModel
from lora_studio.families.flow import Flow
from lora_studio.families.weights.quantised_weights import quantise_weights
from lora_studio.generation.lora_lookup import layers_of
from lora_studio.jobs.sd_scripts.launch_files import prepare
from lora_studio.lora.file.keys import DENOISER, TEXT_ENCODERS
from lora_studio.lora.network.attach import attach
from lora_studio.lora.network.ranks import plan_sizes
from lora_studio.settings import Settings
from tests.support.clip_texts import encode_captions
from tests.support.flow_drawing import draw_latents
from tests.support.tiny import make_pictures, make_tiny_anima, tiny_values

GOLDEN = Path(__file__).parent.parent / "golden" / "anima_lora_keys.json"
CAPTIONS = ["a disc", "word " * 40, "", "long " * 600]
CALL = {"num_inference_steps": 5, "width": 64, "height": 48}
FULL_SIZE = {"num_attention_heads": 16, "attention_head_dim": 128, "extra_pos_embed_type": None}
QWEN3 = {
    **{"hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28, "num_attention_heads": 16},
    **{"num_key_value_heads": 8, "head_dim": 128, "vocab_size": 8},
}
LATENTS = (16, 6, 8)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_anima(tmp_path_factory.mktemp("a") / "base")


@pytest.fixture(scope="module")
def model(base: Path) -> AnimaModel:
    family = family_of(str(base))
    assert isinstance(family, Anima)
    return family.load()


@pytest.fixture(scope="module")
def pipe(base: Path) -> Iterator[ModularPipeline]:
    """diffusers' own, with as much of torchvision as it asks for: the nearest pixels of a mask."""
    resize = SimpleNamespace(
        resize=lambda mask, size, interpolation: torch.nn.functional.interpolate(mask, size)
    )
    torchvision = SimpleNamespace(functional=resize, InterpolationMode=SimpleNamespace(NEAREST="nearest"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transformer_cosmos, "transforms", torchvision, raising=False)
        loaded = ModularPipeline.from_pretrained(str(base))
        loaded.load_components(dtype=torch.float32)
        loaded.set_progress_bar_config(disable=True)
        yield loaded


def drawn_by(pipe: ModularPipeline, scale: float, output: str = "latents", **values: Any) -> Any:
    pipe.update_components(guider=ClassifierFreeGuidance(guidance_scale=scale))
    generator = torch.Generator().manual_seed(3)
    return pipe(generator=generator, output_type="pt", output=output, **{**CALL, **values})


def unloaded(**parts: Any) -> AnimaModel:
    values = dict.fromkeys(
        ("found", "tokenizer", "t5_tokenizer", "text_encoder", "text_conditioner", "vae", "transformer")
    )
    return AnimaModel(**{**values, **parts}, process=Flow(config={}))


def golden(group: str) -> list[list[Any]]:
    rows = json.loads(GOLDEN.read_text("utf-8"))["groups"][group]
    every = [[name.format(n), *shapes] for n in range(rows["blocks"]) for name, *shapes in rows["rows"]]
    return [*rows.get("single", ()), *every]


def test_keys_and_shapes_are_sd_scripts_to_the_last() -> None:
    """Of what it trains by default in its order, and of all that files may have on demand."""
    with torch.device("meta"):
        model = unloaded(
            text_encoder=Qwen3Model(Qwen3Config(**QWEN3)),
            text_conditioner=AnimaTextConditioner(),
            transformer=CosmosTransformer3DModel(**FULL_SIZE),
        )
    layers = layers_of(model.models())
    on_demand = golden("llm_adapter") + golden("denoiser_excluded_by_default")
    for name, down, up in on_demand:
        assert tuple(layers[name].weight.shape) == (up[0], down[1]), name
    targets = model.targets(conv=True)
    sizes = plan_sizes(NetworkGroup(network_dim=4, network_alpha=4), targets, lambda target: False)
    lora = attach(model.models(), targets, dim=4, alpha=4.0, sizes=sizes)
    rows = [[name, *(list(weight.shape) for weight in lora.weights(name).values())] for name in lora.layers]
    assert rows == golden("text_encoder") + golden("denoiser")
    assert (len(rows), len(on_demand)) == (476, 234)
    assert {one.part for one in model.targets(texts=False)} == {DENOISER}
    assert {one.part for one in model.targets(denoiser=False)} == {TEXT_ENCODERS[0]}


@torch.no_grad()
def test_text_is_what_the_pipeline_feeds_its_denoiser(model: AnimaModel, pipe: ModularPipeline) -> None:
    """To the bit, filled up to 512 places; the longest is cut where theirs is."""
    found = encode_captions(model, CAPTIONS)
    assert found.states.shape == (4, 512, 16)
    assert found.states.isfinite().all()
    for caption, states in zip(CAPTIONS, found.states, strict=True):
        wanted = drawn_by(pipe, 1.0, "prompt_embeds", prompt=caption, num_inference_steps=1)
        assert torch.equal(states[None], wanted)
        assert model.prompts.count_caption(caption, weighted=False) >= len(caption)
    assert model.prompts.caption_limit(75)[0] == 512


@pytest.mark.parametrize("prompt", CAPTIONS[:3])
def test_latents_without_guidance_are_the_pipelines_to_the_bit(
    model: AnimaModel, pipe: ModularPipeline, prompt: str
) -> None:
    assert torch.equal(draw_latents(model, prompt, steps=5)[:, :, None], drawn_by(pipe, 1.0, prompt=prompt))


def test_latents_with_guidance_are_the_pipelines(model: AnimaModel, pipe: ModularPipeline) -> None:
    """They ask the denoiser twice, we once for both: the last bits differ."""
    words = "a much longer text that is not wanted at all, in many words"
    wanted = drawn_by(pipe, 4.0, prompt="a disc", negative_prompt=words)
    torch.testing.assert_close(
        draw_latents(model, "a disc", words, steps=5, scale=4.0)[:, :, None], wanted, rtol=0, atol=2e-5
    )


@torch.no_grad()
def test_a_picture_is_the_pipelines(model: AnimaModel, pipe: ModularPipeline) -> None:
    """Theirs multiplies by deviations as a division by their inverse."""
    wanted = drawn_by(pipe, 1.0, "images", prompt="a disc")
    found = model.codec.decode(draw_latents(model, "a disc", steps=5))
    torch.testing.assert_close(found, wanted, rtol=0, atol=2e-6)


@torch.no_grad()
def test_latents_have_their_means_and_deviations(model: AnimaModel) -> None:
    pixels = torch.rand(2, 3, 32, 48) * 2 - 1
    config = model.vae.config
    theirs = model.vae.encode(pixels[:, :, None]).latent_dist.mean[:, :, 0]
    mean, std = (torch.tensor(one).view(1, 16, 1, 1) for one in (config.latents_mean, config.latents_std))
    moments = model.codec.scaled(model.codec.encode(pixels))
    assert torch.equal(moments.mean, (theirs - mean) / std)
    assert moments.std.shape == moments.mean.shape == (2, 16, 4, 6)
    assert model.codec.decode(moments.mean).shape == pixels.shape
    assert (model.codec.step, model.codec.channels, model.codec.widest_level) == (8, 16, 12)
    assert (model.size_step, model.native_size, model.widths) == (16, (1024, 1024), (8, 2))
    assert model.found.facts.step == 16


@torch.no_grad()
def test_the_answer_is_the_transformers(model: AnimaModel) -> None:
    """Told by a channel of zeros that no picture has padding."""
    noisy, text = torch.randn(1, *LATENTS), encode_captions(model, ["a disc"])
    seen = torch.cat([noisy, torch.zeros(1, 1, *LATENTS[1:])], dim=1)[:, :, None]
    (by_hand,) = model.transformer(seen, torch.tensor([0.25]), text.states, return_dict=False)
    torch.testing.assert_close(model.denoise(noisy, torch.tensor([250.0]), text), by_hand[:, :, 0])


@torch.no_grad()
def test_a_picture_beyond_its_places_is_refused(model: AnimaModel) -> None:
    text = encode_captions(model, ["a disc"])
    with pytest.raises(ConfigError, match="2048 pixels") as refusal:
        model.denoise(torch.zeros(1, 16, 2, 258), torch.tensor([300.0]), text)
    assert refusal.value.field == "width"


def test_settings_without_effect_are_told(model: AnimaModel) -> None:
    values = {
        **dict.fromkeys(
            ("pretrained_model_name_or_path", "train_data_dir", "output_name", "output_dir"), "x"
        ),
        "network_train_unet_only": True,
    }
    assert not model.ignored_settings(TrainConfig.from_values(values))
    changes = {"clip_skip": 2, "max_token_length": 150, "network_train_unet_only": False}
    settings, texts = model.ignored_settings(TrainConfig.from_values({**values, **changes}))
    assert settings.startswith("clip_skip, max_token_length:")
    assert "spelling=comfyui" in texts


def test_the_defaults_are_sd_scripts() -> None:
    anima = BASES["anima"]
    wanted = {"network_dim": 8, "learning_rate": 1e-4, "timestep_sampling": "sigmoid"}
    assert wanted.items() <= anima.training.items()
    assert (anima.training["discrete_flow_shift"], anima.half, anima.step) == (1.0, "bf16", 16)
    assert "Non-Commercial" in anima.licence


def test_what_is_held_in_8_bits_are_the_blocks_own_layers(base: Path) -> None:
    model = family_of(str(base)).load()
    assert isinstance(model, AnimaModel)
    assert quantise_weights(model.denoiser) > 0
    held = {
        name.removesuffix(".parametrizations.weight")
        for name, module in model.denoiser.named_modules()
        if name.endswith(".parametrizations.weight")
    }
    assert held == {one.module for one in model.targets(texts=False)}


def test_sd_scripts_gets_its_own_script_and_files(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Language model and autoencoder of the base, and the denoiser as its makers publish it."""
    checkout = tmp_path / "sd-scripts"
    checkout.mkdir()
    (checkout / "anima_train_network.py").touch()
    monkeypatch.setenv("LORA_STUDIO_SD_SCRIPTS", str(checkout))
    values = tiny_values(base, make_pictures(tmp_path / "data"), tmp_path / "lora", engine="sd-scripts")

    def launch(**changes: object) -> dict[str, Any]:
        config = TrainConfig.from_values({**values, **changes})
        found = prepare(config, Settings.from_environment(), tmp_path / "job")
        assert found.command[1] == "anima_train_network.py"
        return tomllib.loads(Path(found.command[-1]).read_text("utf-8"))

    with pytest.raises(ConfigError, match="makers' own files") as refusal:
        launch()
    assert refusal.value.field == "sd_scripts_args"
    assert "pretrained_model_name_or_path" in refusal.value.hint
    given = ('pretrained_model_name_or_path = "anima.safetensors"',)
    options = launch(sd_scripts_args=given, timestep_sampling="sigma", discrete_flow_shift=3)
    assert options["pretrained_model_name_or_path"] == "anima.safetensors"
    assert options["qwen3"] == str(base / "text_encoder" / "model.safetensors")
    assert options["vae"] == str(base / "vae" / "diffusion_pytorch_model.safetensors")
    assert options["network_module"] == "networks.lora_anima"
    # These are its own defaults elsewhere, and others here.
    assert (options["timestep_sampling"], options["discrete_flow_shift"]) == ("sigma", 3.0)
    with pytest.raises(ConfigError) as refusal:
        launch(sd_scripts_args=given, algo="loha")
    assert refusal.value.field == "algo"


def test_a_base_that_lacks_a_part_is_refused(base: Path, tmp_path: Path) -> None:
    shutil.copytree(base, tmp_path / "bare")
    shutil.rmtree(tmp_path / "bare" / "text_conditioner")
    with pytest.raises(BrokenFile, match="can't be loaded"):
        family_of(str(tmp_path / "bare")).load()
