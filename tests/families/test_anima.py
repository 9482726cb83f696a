from __future__ import annotations

import json
import math
import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import (
    AnimaTextConditioner,
    ClassifierFreeGuidance,
    CosmosTransformer3DModel,
    ModularPipeline,
)
from diffusers.models.transformers import transformer_cosmos
from safetensors.torch import load_file, save_file
from transformers import Qwen3Config, Qwen3Model

from lora_studio.catalog import BASES
from lora_studio.config import TrainConfig
from lora_studio.config_groups import NetworkGroup
from lora_studio.errors import BrokenFile, ConfigError, UnknownFormat
from lora_studio.families import family_of
from lora_studio.families.anima import Anima, AnimaModel
from lora_studio.families.base_files.hub import fetch
from lora_studio.families.base_files.locate import find_base, known_base
from lora_studio.families.encoders.clip_encoder import PromptWindows
from lora_studio.families.flow import Flow
from lora_studio.families.sampling import Guidance, Sampler, sample
from lora_studio.families.weights.quantised_weights import quantise_weights
from lora_studio.generation.lora_lookup import layers_of
from lora_studio.jobs.sd_scripts.launch_files import prepare
from lora_studio.lora.file.keys import DENOISER, TEXT_ENCODERS
from lora_studio.lora.file.lora_files import find_file, read_header
from lora_studio.lora.network.attach import attach
from lora_studio.lora.network.ranks import plan_sizes
from lora_studio.settings import Settings
from lora_studio.trainer import train
from lora_studio.training.objective import TrainingBatch, sample_losses
from tests.support.clip_texts import encode_captions
from tests.support.hub_server import only_hub
from tests.support.runs import assert_same_tensors, engine_for, paused_at, state_folder_of, trained_tensors
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


def draw(model: AnimaModel, prompt: str, negative: str, scale: float, seed: int = 3) -> torch.Tensor:
    """Latents [1, 16, h, w], as Generate and the previews draw."""
    texts = model.prompts.encode_prompts(prompt, negative, PromptWindows())
    size = model.codec.latents_size(CALL["width"], CALL["height"])
    sampler = Sampler(model.process, "Euler", CALL["num_inference_steps"], size)
    generator = torch.Generator().manual_seed(seed)
    latents = sampler.start(torch.randn((1, model.codec.channels, *size), generator=generator))
    for step in sample(model, sampler, latents, texts, Guidance(scale=scale), generator=generator):
        latents = step.latents
    return latents


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
    assert torch.equal(draw(model, prompt, "", 1.0)[:, :, None], drawn_by(pipe, 1.0, prompt=prompt))


def test_latents_with_guidance_are_the_pipelines(model: AnimaModel, pipe: ModularPipeline) -> None:
    """They ask the denoiser twice, we once for both: the last bits differ."""
    words = "a much longer text that is not wanted at all, in many words"
    wanted = drawn_by(pipe, 4.0, prompt="a disc", negative_prompt=words)
    torch.testing.assert_close(draw(model, "a disc", words, 4.0)[:, :, None], wanted, rtol=0, atol=2e-5)


@torch.no_grad()
def test_a_picture_is_the_pipelines(model: AnimaModel, pipe: ModularPipeline) -> None:
    """Theirs multiplies by deviations as a division by their inverse."""
    wanted = drawn_by(pipe, 1.0, "images", prompt="a disc")
    found = model.codec.decode(draw(model, "a disc", "", 1.0))
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
def test_an_answer_does_not_depend_on_its_company(model: AnimaModel) -> None:
    noisy, times = torch.randn(3, *LATENTS), torch.tensor([1000.0, 500.0, 20.0])
    text = encode_captions(model, CAPTIONS[:3])
    together = model.denoise(noisy, times, text)
    for index, caption in enumerate(CAPTIONS[:3]):
        one = slice(index, index + 1)
        alone = model.denoise(noisy[one], times[one], encode_captions(model, [caption]))
        torch.testing.assert_close(alone[0], together[index], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_what_the_blocks_see_of_a_picture(model: AnimaModel) -> None:
    seen: list[torch.Tensor] = []
    text = encode_captions(model, ["a disc"])
    with model.watched(seen.append):
        model.denoise(torch.randn(1, *LATENTS), torch.tensor([300.0]), text)
    assert [tuple(one.shape) for one in seen] == [(1, 32, 12)] * 2
    model.denoise(torch.randn(1, *LATENTS), torch.tensor([300.0]), text)
    assert len(seen) == 2


@torch.no_grad()
def test_a_picture_beyond_its_places_is_refused(model: AnimaModel) -> None:
    text = encode_captions(model, ["a disc"])
    with pytest.raises(ConfigError, match="2048 pixels") as refusal:
        model.denoise(torch.zeros(1, 16, 2, 258), torch.tensor([300.0]), text)
    assert refusal.value.field == "width"


@torch.no_grad()
def test_language_model_and_adapter_go_and_come_back(base: Path) -> None:
    model = family_of(str(base)).load()
    assert isinstance(model, AnimaModel)
    model.place("cpu", torch.float32)
    before = encode_captions(model, ["a disc"])
    model.free_text()
    assert set(model.models()) == {DENOISER}
    assert model.pipeline().text_conditioner is None
    assert torch.equal(encode_captions(model, ["a disc"]).states, before.states)
    assert model.text_encoder is not None


@torch.no_grad()
def test_in_bf16_the_way_stays_in_32_bit(base: Path, model: AnimaModel) -> None:
    rounded = family_of(str(base)).load()
    assert isinstance(rounded, AnimaModel)
    for part in rounded.models().values():
        part.to(torch.bfloat16)
    assert rounded.dtype == draw(rounded, "a disc", "", 3.0).dtype == torch.float32
    difference = (draw(model, "a disc", "", 3.0) - draw(rounded, "a disc", "", 3.0)).abs().mean()
    assert 0 < difference < 0.05


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


def test_the_loss_is_the_formula(base: Path, tmp_path: Path) -> None:
    """(n - x - answer) squared, with the answer by hand; times the weight of the noise level."""
    changes = {"network_train_unet_only": True, "weighting_scheme": "cosmap"}
    values = tiny_values(base, make_pictures(tmp_path / "data"), tmp_path / "lora", **changes)
    engine = engine_for(TrainConfig.from_values(values))
    generator = torch.Generator().manual_seed(0)
    latents, noise = (torch.randn((2, *LATENTS), generator=generator) for _ in range(2))
    drawn = TrainingBatch(latents=latents, noise=noise, timesteps=torch.tensor([250.0, 900.0]))
    text = engine.encode_text(["a disc", "another text"])
    with torch.no_grad():
        found = sample_losses(engine, drawn, text)
        for index, sigma in enumerate((0.25, 0.9)):
            noisy = (1 - sigma) * latents[index] + sigma * noise[index]
            (answer,) = engine.base.denoiser(
                torch.cat([noisy, torch.zeros(1, 6, 8)])[None, :, None],
                torch.tensor([sigma]),
                text.states[index : index + 1],
                return_dict=False,
            )
            weight = 2 / (math.pi * (1 - 2 * sigma + 2 * sigma**2))
            wanted = weight * (noise[index] - latents[index] - answer[0, :, 0]).square().mean()
            torch.testing.assert_close(found[index], wanted, rtol=1e-4, atol=1e-6)


def test_a_run_goes_on_as_if_it_had_never_ended(base: Path, tmp_path: Path) -> None:
    values = {
        **{"timestep_sampling": "sigmoid", "max_train_steps": 3},
        **{"network_dropout": 0.2, "train_batch_size": 2},
    }
    pictures = make_pictures(tmp_path / "data")

    def config(name: str) -> TrainConfig:
        return TrainConfig.from_values(tiny_values(base, pictures, tmp_path / name, **values))

    whole = trained_tensors(config("whole"))
    paused_at(config("parts"), 2)
    result = train(config("parts"), resume_from=state_folder_of(config("parts")))
    assert_same_tensors(load_file(result.file), whole)
    header = read_header(find_file(Path(result.path)))
    assert header.family == "anima"
    card = (Path(result.path) / "README.md").read_text("utf-8")
    assert "works as it is in LoRA Studio and ComfyUI" in card
    assert "DiffusionPipeline" not in card
    assert "spelling=diffusers" in card


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


def test_a_single_file_of_the_denoiser_is_named(tmp_path: Path) -> None:
    file = tmp_path / "anima-base.safetensors"
    save_file({"net.blocks.0.self_attn.q_proj.weight": torch.zeros(8, 2048)}, file)
    with pytest.raises(UnknownFormat) as refusal:
        find_base(str(file))
    assert "Anima" in refusal.value.message


def test_the_hub_is_asked_for_the_family_and_then_for_the_files(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its list of parts has another name, and says where they come from, which nobody follows."""
    shutil.copytree(base, tmp_path / "hub" / "somebody" / "a-mix")
    with only_hub(tmp_path / "hub", tmp_path / "cache", monkeypatch) as server:
        found = known_base("somebody/a-mix")
        assert (found.family, found.facts.step, found.traits.native_size) == ("anima", 16, 1024)
        assert not [name for name in server.fetched() if name.endswith(".safetensors")]
        assert fetch("somebody/a-mix") is not None
        assert "text_conditioner/diffusion_pytorch_model.safetensors" in server.fetched()
        assert not [name for name in server.fetched() if name.startswith("guider")]
        asked = len(server.asked)
        loaded = family_of(find_base("somebody/a-mix")).load()
        assert encode_captions(loaded, ["a disc"]).states.shape[-1] == 16
        assert len(server.asked) == asked, "nothing was asked of the network"


def test_a_base_that_lacks_a_part_is_refused(base: Path, tmp_path: Path) -> None:
    shutil.copytree(base, tmp_path / "bare")
    shutil.rmtree(tmp_path / "bare" / "text_conditioner")
    with pytest.raises(BrokenFile, match="can't be loaded"):
        family_of(str(tmp_path / "bare")).load()
