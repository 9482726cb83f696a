from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline

from lora_studio.errors import BrokenFile, ModelFileError
from lora_studio.families import family_of
from lora_studio.families.schedulers import build_scheduler
from lora_studio.families.sd import StableDiffusion, StableDiffusionModel
from tests.support.clip_texts import encode_captions
from tests.support.single_file import write_single_file
from tests.support.tiny import make_tiny_base


@pytest.fixture(scope="module")
def family(tiny_base: Path) -> StableDiffusion:
    return family_of(str(tiny_base))  # type: ignore[return-value]


@pytest.fixture(scope="module")
def parts(family: StableDiffusion) -> StableDiffusionModel:
    return family.load()


@pytest.fixture(scope="module")
def pipe(tiny_base: Path) -> StableDiffusionPipeline:
    return StableDiffusionPipeline.from_pretrained(tiny_base)


def test_parts_are_frozen_32_bit_and_know_their_sizes(parts: StableDiffusionModel) -> None:
    for model in (parts.unet, parts.text_encoder, parts.vae):
        assert not any(weight.requires_grad for weight in model.parameters())
        assert {weight.dtype for weight in model.parameters()} == {torch.float32}
        assert not model.training
    assert parts.codec.step == 8
    assert parts.process.alphas.shape == (1000,)


@torch.no_grad()
def test_text_is_what_the_pipeline_feeds_its_denoiser(
    parts: StableDiffusionModel, pipe: StableDiffusionPipeline
) -> None:
    captions = ["a disc", "word " * 200, ""]
    theirs, _ = pipe.encode_prompt(captions, "cpu", 1, False)
    assert torch.equal(encode_captions(parts, captions).states, theirs)
    assert torch.equal(encode_captions(parts, captions, 1).states, theirs)
    assert encode_captions(parts, captions).pooled is None


@torch.no_grad()
def test_clip_skip_takes_an_earlier_layer_through_the_last_norm(parts: StableDiffusionModel) -> None:
    last, earlier = (encode_captions(parts, ["a disc"], skip).states for skip in (1, 2))
    assert last.shape == earlier.shape
    assert not torch.allclose(last, earlier)
    tokens = parts.tokenizer(["a disc"], padding="max_length", max_length=77, return_tensors="pt").input_ids
    states = parts.text_encoder(tokens, output_hidden_states=True).hidden_states
    torch.testing.assert_close(earlier, parts.text_encoder.final_layer_norm(states[-2]))
    first = parts.text_encoder.final_layer_norm(states[0])
    assert torch.equal(encode_captions(parts, ["a disc"], 12).states, first)


@torch.no_grad()
def test_latents_are_scaled_on_the_way_in_and_out(parts: StableDiffusionModel) -> None:
    pixels = torch.rand(2, 3, 32, 48) * 2 - 1
    moments = parts.codec.scaled(parts.codec.encode(pixels))
    assert moments.mean.shape == moments.std.shape == (2, 4, 4, 6)
    plain = parts.vae.encode(pixels).latent_dist
    torch.testing.assert_close(moments.mean, plain.mean * 0.18215)
    torch.testing.assert_close(moments.std, plain.std * 0.18215)
    back = parts.codec.decode(moments.mean)
    assert back.shape == pixels.shape
    torch.testing.assert_close(back, (parts.vae.decode(plain.mean).sample / 2 + 0.5).clamp(0, 1))


def test_the_target_follows_the_prediction_type(family: StableDiffusion, tmp_path: Path) -> None:
    latents, noise, timesteps = torch.ones(1, 4, 2, 2), torch.zeros(1, 4, 2, 2), torch.tensor([500])
    velocity_base = make_tiny_base(tmp_path / "v", "v_prediction")
    epsilon, velocity = family.load(), family_of(str(velocity_base)).load()
    assert torch.equal(epsilon.process.target(latents, noise, timesteps), noise)
    assert (velocity.process.target(latents, noise, timesteps) < 0).all()


def test_v_parameterization_overrules_the_base(family: StableDiffusion) -> None:
    parts = family.load(v_parameterization=True)
    assert parts.process.config["prediction_type"] == "v_prediction"
    assert parts.pipeline().scheduler.config.prediction_type == "v_prediction"
    assert build_scheduler("Euler", parts.process.config).config.prediction_type == "v_prediction"
    assert parts.metadata()["modelspec.prediction_type"] == "v"


@pytest.mark.parametrize(
    ("second", "velocity", "version"),
    [(False, False, "sd_v1"), (False, True, "sd_v1_v"), (True, False, "sd_v2"), (True, True, "sd_v2_v")],
)
def test_the_base_model_has_the_reference_trainers_name(
    family: StableDiffusion, second: bool, velocity: bool, version: str
) -> None:
    """get_model_version_str_for_sd1_sd2 of sd-scripts."""
    named = type(family)(replace(family.found, family="sd2" if second else "sd1"))
    parts = named.load(v_parameterization=velocity)
    assert parts.metadata()["ss_base_model_version"] == version


def test_targets_are_all_layers_of_the_transformers_and_nothing_else(parts: StableDiffusionModel) -> None:
    names = {target.name for target in parts.targets()}
    assert "lora_unet_mid_block_attentions_0_proj_in" in names
    assert "lora_te_text_model_encoder_layers_1_mlp_fc2" in names
    assert not any(
        word in name for name in names for word in ("norm", "resnets", "conv", "time_emb", "embeddings")
    )
    assert {target.part for target in parts.targets(texts=False)} == {"unet"}
    assert {target.part for target in parts.targets(denoiser=False)} == {"text_encoder"}


def test_only_heavy_frozen_layers_are_held_in_bf16(family: StableDiffusion) -> None:
    parts = family.load()
    trained = parts.unet.mid_block.attentions[0].proj_in
    trained.weight.requires_grad_(True)
    parts.place("cpu", torch.bfloat16)
    assert trained.weight.dtype == torch.float32
    assert parts.unet.conv_in.weight.dtype == torch.bfloat16
    assert parts.unet.conv_norm_out.weight.dtype == torch.float32
    assert parts.vae.dtype == torch.float32


@pytest.mark.parametrize("with_weights", [True, False])
def test_a_single_file_is_the_same_model_offline(tmp_path: Path, with_weights: bool) -> None:
    base = make_tiny_base(tmp_path / "tiny", "v_prediction", seed=4)
    wanted = family_of(str(base)).load()
    file = write_single_file(base, tmp_path / "tiny.safetensors")
    if not with_weights:
        for weights in base.rglob("*.safetensors"):
            weights.unlink()
    parts = family_of(str(file)).load()
    assert parts.process.config["prediction_type"] == "v_prediction"
    for name in ("unet", "vae", "text_encoder"):
        ours, theirs = getattr(parts, name).state_dict(), getattr(wanted, name).state_dict()
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours), name


def test_a_hub_id_that_cannot_be_fetched_is_told() -> None:
    with pytest.raises(ModelFileError, match="nobody/nothing is not on this machine"):
        family_of("nobody/nothing").load()


@pytest.mark.parametrize(
    "broken", ["unet/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors"]
)
@pytest.mark.parametrize("how", ["missing", "truncated"])
def test_a_damaged_folder_is_told(tiny_base: Path, tmp_path: Path, broken: str, how: str) -> None:
    base = tmp_path / "damaged"
    shutil.copytree(tiny_base, base)
    content = (base / broken).read_bytes()
    (base / broken).unlink()
    if how == "truncated":
        (base / broken).write_bytes(content[: len(content) // 2])
    with pytest.raises(BrokenFile, match="can't be loaded"):
        family_of(str(base)).load()


def test_loading_says_nothing_on_the_console(tiny_base: Path, capfd: pytest.CaptureFixture[str]) -> None:
    family = family_of(str(tiny_base))
    family.load().pipeline()
    assert capfd.readouterr() == ("", "")


class _Runs:
    """A pickle that leaves a file when it is read."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> object:
        return Path.touch, (self.trace,)


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_pickled_weights_are_never_opened(tiny_base: Path, tmp_path: Path, part: str) -> None:
    names = {"text_encoder": ("model.safetensors", "pytorch_model.bin")}
    whole, old = names.get(part, ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin"))
    base = tmp_path / "base"
    shutil.copytree(tiny_base, base)
    (base / part / whole).unlink()
    torch.save(_Runs(tmp_path / "ran"), base / part / old)
    with pytest.raises(BrokenFile):
        family_of(str(base)).load()
    assert not (tmp_path / "ran").exists()
