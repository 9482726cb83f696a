from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import Flux2KleinPipeline, Flux2Transformer2DModel

from lora_studio.catalog import BASES, FLOW_SAMPLERS
from lora_studio.config_groups import NetworkGroup
from lora_studio.errors import ConfigError
from lora_studio.families import family_of
from lora_studio.families.base_files.found_base import FoundBase
from lora_studio.families.base_files.locate import find_base, known_base
from lora_studio.families.klein import Klein, KleinFlow, KleinModel
from lora_studio.families.sampling import Sampler
from lora_studio.families.weights.fused_layers import fuse_layers
from lora_studio.families.weights.quantised_weights import quantise_weights
from lora_studio.jobs.sd_scripts.launch_files import script_for
from lora_studio.lora.network.attach import attach
from lora_studio.lora.network.ranks import plan_sizes
from lora_studio.trainer import train
from tests.support.clip_texts import encode_captions
from tests.support.flow_drawing import draw
from tests.support.hub_server import only_hub
from tests.support.tiny import denoiser_training, make_tiny_klein

GOLDEN = Path(__file__).parent.parent / "golden" / "klein_lora_keys.json"
CAPTIONS = ["a disc", "word " * 40, ""]
CALL = {"num_inference_steps": 3, "width": 64, "height": 48, "output_type": "pt"}
SIZES = {
    "4b": {"num_layers": 5, "num_single_layers": 20, "num_attention_heads": 24},
    "9b": {"num_layers": 8, "num_single_layers": 24, "num_attention_heads": 32},
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_klein(tmp_path_factory.mktemp("k") / "base")


@pytest.fixture(scope="module")
def model(base: Path) -> KleinModel:
    family = family_of(str(base))
    assert isinstance(family, Klein)
    loaded = family.load()
    assert isinstance(loaded, KleinModel)
    return loaded


@pytest.fixture(scope="module")
def pipe(base: Path) -> Flux2KleinPipeline:
    loaded = Flux2KleinPipeline.from_pretrained(base)
    loaded.set_progress_bar_config(disable=True)
    return loaded


def pipelines_own(pipe: Flux2KleinPipeline, prompt: str, scale: float = 1.0, **values: Any) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    found: torch.Tensor = pipe(
        prompt=prompt, guidance_scale=scale, generator=generator, **CALL, **values
    ).images
    return found


STEPS = torch.linspace(1, 1 / 3, 3).tolist()
"""Of a number format that its own steps are a rounding away from."""


@pytest.mark.parametrize("size", SIZES)
def test_keys_and_shapes_are_musubis_to_the_last(size: str) -> None:
    with torch.device("meta"):
        text_width = 3 * {"4b": 2560, "9b": 4096}[size]
        transformer = Flux2Transformer2DModel(
            **SIZES[size], joint_attention_dim=text_width, guidance_embeds=False
        )
    fuse_layers(transformer)
    parts = {"tokenizer": None, "text_encoder": None, "vae": None, "transformer": transformer}
    model = KleinModel(found=None, process=KleinFlow(config={}), **parts)
    targets = model.targets(conv=True)
    sizes = plan_sizes(NetworkGroup(network_dim=4, network_alpha=4), targets, lambda target: False)
    lora = attach(model.models(), targets, dim=4, alpha=4.0, sizes=sizes)
    rows = [[name, *(list(weight.shape) for weight in lora.weights(name).values())] for name in lora.layers]
    assert rows == json.loads(GOLDEN.read_text())[f"klein_{size}"]
    assert len(rows) == {"4b": 80, "9b": 112}[size]
    assert not model.targets(denoiser=False)
    assert model.metadata()["ss_base_model_version"] == f"flux_2_klein_{size}"
    assert model.metadata()["modelspec.architecture"] == f"Flux.2-klein-{size}/lora"


@torch.no_grad()
def test_texts_are_what_the_pipeline_feeds_its_denoiser(model: KleinModel, pipe: Flux2KleinPipeline) -> None:
    """To the bit, though the language model ends behind the last layer that is asked."""
    captions = [*CAPTIONS, "long " * 600]
    found = encode_captions(model, captions)
    for index, caption in enumerate(captions):
        assert torch.equal(found.states[index], pipe.encode_prompt(caption, device="cpu")[0][0])
    assert found.states.shape[1:] == (model.prompts.caption_limit(75)[0], 3 * 16)
    assert len(model.text_encoder.model.layers) == 28 < len(pipe.text_encoder.model.layers)
    template = pipe.tokenizer.apply_chat_template(
        [{"role": "user", "content": "a disc"}], add_generation_prompt=True, enable_thinking=False
    )
    assert model.prompts.count_caption("a disc", weighted=False) == len(template["input_ids"])


@pytest.mark.parametrize("prompt", CAPTIONS)
def test_a_picture_is_the_pipelines(model: KleinModel, pipe: Flux2KleinPipeline, prompt: str) -> None:
    """To the bit with the same steps where query, key and value are one layer there, too."""
    drawn = draw(model, prompt)
    assert torch.equal(drawn, pipelines_own(model.pipeline(), prompt, sigmas=STEPS))
    torch.testing.assert_close(drawn, pipelines_own(pipe, prompt), rtol=0, atol=1e-5)


def test_a_picture_with_guidance_is_the_pipelines(model: KleinModel, pipe: Flux2KleinPipeline) -> None:
    """Asked twice in a batch of two."""
    drawn = draw(model, "a disc", scale=4.0)
    torch.testing.assert_close(drawn, pipelines_own(pipe, "a disc", 4.0), rtol=0, atol=2e-5)


@torch.no_grad()
def test_latents_are_the_pipelines(model: KleinModel, pipe: Flux2KleinPipeline) -> None:
    """Squares of 2 x 2 with the statistics of the batch norm; what is kept on a disk depends on them."""
    pixels = torch.rand(1, 3, 32, 48) * 2 - 1
    scaled = model.codec.scaled(model.codec.encode(pixels))
    assert torch.equal(scaled.mean, pipe._encode_vae_image(pixels, torch.Generator()))
    assert (model.size_step, model.codec.channels, model.native_size) == (16, 128, (1024, 1024))
    assert model.codec.is_centred
    norm = torch.sqrt(model.vae.bn.running_var + model.vae.config.batch_norm_eps)
    moments, noise = model.codec.encode(pixels), torch.randn(scaled.mean.shape)
    torch.testing.assert_close(scaled.std, moments.std / norm.view(1, -1, 1, 1))
    drawn = model.codec.sample(moments, noise, torch.float32)
    torch.testing.assert_close(drawn, scaled.mean + scaled.std * noise)
    assert "bn.running_var" in dict(model.codec.encoding_weights())


@torch.no_grad()
def test_the_answer_is_the_transformers(model: KleinModel) -> None:
    """A token is a latent pixel, known by its row and column; a word by its number."""
    noisy, text = torch.randn(1, 128, 4, 3), encode_captions(model, ["a disc"])
    by_hand = model.transformer(
        hidden_states=torch.stack([noisy[0, :, y, x] for y in range(4) for x in range(3)])[None],
        timestep=torch.tensor([0.25]),
        encoder_hidden_states=text.states,
        txt_ids=torch.tensor([[0.0, 0, 0, word] for word in range(512)]),
        img_ids=torch.tensor([[0.0, y, x, 0] for y in range(4) for x in range(3)]),
        return_dict=False,
    )[0]
    found = model.denoise(noisy, torch.tensor([250.0]), text)
    assert torch.equal(found[0, :, 1, 2], by_hand[0, 5])
    assert torch.equal(found, model.denoise(noisy, torch.tensor(250), text))


@pytest.mark.parametrize("sampler", FLOW_SAMPLERS)
def test_every_sampler_has_the_shift_of_its_steps(model: KleinModel, sampler: str) -> None:
    """At 1024 px, and with a shift that is asked for."""
    few, many = (Sampler(model.process, sampler, steps, (64, 64)).times for steps in (4, 50))
    middle = 1 - 1 / 4 if sampler == "Euler" else few[1].item() / 1000
    shifts = [torch.exp(torch.tensor(model.process.mu((64, 64), steps))) for steps in (4, 50)]
    assert shifts[0] > shifts[1], "the fewer, the more they lie towards noise"
    if sampler == "Euler":
        expected = 1000 * middle * shifts[0] / (1 + (shifts[0] - 1) * middle)
        assert few[1].item() == pytest.approx(expected.item(), rel=1e-5)
    asked = Sampler(model.process.with_shift(1.0), sampler, 4, (64, 64)).times
    assert asked[1] < few[1]
    assert len(many) >= 50


def test_a_distilled_base_is_known_by_its_list_of_parts_and_not_trained(base: Path, tmp_path: Path) -> None:
    """Whatever it is called; its size says which base to train."""
    mix = shutil.copytree(base, tmp_path / "my mix")
    index, config = mix / "model_index.json", mix / "transformer" / "config.json"
    index.write_text(index.read_text().replace('"is_distilled": false', '"is_distilled": true'))
    traits = find_base(str(mix)).traits
    assert (traits.num_inference_steps, traits.guidance_scale, traits.step) == (4, 1.0, 16)
    with pytest.raises(ConfigError) as refusal:
        train(denoiser_training(tmp_path, mix))
    assert refusal.value.field == "pretrained_model_name_or_path"
    assert "FLUX.2 klein base 4B (klein-base-4b)" in refusal.value.hint
    config.write_text(config.read_text().replace('"num_attention_heads": 2', '"num_attention_heads": 32'))
    assert find_base(str(mix)).traits.train_instead == "klein-base-9b"
    plain = find_base(str(base))
    assert (plain.family, plain.traits.train_instead, plain.traits.guidance_scale) == ("klein", "", 4.0)


def test_a_distilled_base_of_the_hub_is_known_before_it_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_tiny_klein(tmp_path / "hub" / "somebody" / "mix", distilled=True)
    with only_hub(tmp_path / "hub", tmp_path / "cache", monkeypatch) as server:
        found = known_base("somebody/mix")
        assert (found.family, found.traits.train_instead) == ("klein", "klein-base-4b")
        assert not [name for name in server.fetched() if name.endswith(".safetensors")]


def test_the_catalogs_defaults_are_musubis() -> None:
    wanted = {
        **{"network_dim": 32, "learning_rate": 1e-4, "timestep_sampling": "flux2_shift"},
        **{"network_train_unet_only": True, "sample_guidance": 4.0},
    }
    for size in ("4b", "9b"):
        entry = BASES[f"klein-base-{size}"]
        assert wanted.items() <= entry.training.items()
        assert (entry.num_inference_steps, entry.half, entry.step) == (50, "bf16", 16)
        assert BASES[f"klein-{size}"].train_instead == entry.name
    assert BASES["klein-base-4b"].licence == "Apache-2.0"
    assert "Non-Commercial" in BASES["klein-base-9b"].licence


def test_sd_scripts_has_no_such_way_to_draw_a_time(tmp_path: Path) -> None:
    found = FoundBase(name="flux1-dev", path_or_id="x/y", family="flux", layout="hub")
    config = denoiser_training(tmp_path, tmp_path, timestep_sampling="flux2_shift")
    with pytest.raises(ConfigError) as refusal:
        script_for(config, found)
    assert refusal.value.field == "timestep_sampling"


def test_what_stays_exact_in_8_bits(base: Path) -> None:
    transformer = family_of(str(base)).load().denoiser
    assert quantise_weights(transformer) > 0
    exact = {
        path
        for path, module in transformer.named_modules()
        if isinstance(module, torch.nn.Linear) and not hasattr(module, "parametrizations")
    }
    assert not {path for path in exact if "_blocks" in path}
    assert {"x_embedder", "context_embedder", "norm_out.linear", "proj_out"} < exact
    assert {"single_stream_modulation.linear", "time_guidance_embed.timestep_embedder.linear_1"} < exact
