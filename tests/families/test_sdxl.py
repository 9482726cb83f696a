from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionXLPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from lora_studio.config import TrainConfig
from lora_studio.config_groups import NetworkGroup
from lora_studio.data.buckets import Placement
from lora_studio.families import family_of
from lora_studio.families.base import Target, TextOutput
from lora_studio.families.ddpm import DDPM
from lora_studio.families.sdxl import StableDiffusionXL, StableDiffusionXLModel
from lora_studio.lora.network.attach import attach
from lora_studio.lora.network.ranks import plan_sizes
from lora_studio.training.objective import sizes_of
from tests.support.clip_texts import encode_captions, prompt_arguments
from tests.support.single_file import write_single_file
from tests.support.tiny import make_tiny_sdxl

GOLDEN = Path(__file__).parent.parent / "golden" / "sdxl_lora_keys.json"
CAPTIONS = ["a disc", "word " * 40, ""]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_sdxl(tmp_path_factory.mktemp("xl") / "base")


@pytest.fixture(scope="module")
def family(base: Path) -> StableDiffusionXL:
    return family_of(str(base))  # type: ignore[return-value]


@pytest.fixture(scope="module")
def parts(family: StableDiffusionXL) -> StableDiffusionXLModel:
    return family.load()


@pytest.fixture(scope="module")
def pipe(base: Path) -> StableDiffusionXLPipeline:
    return StableDiffusionXLPipeline.from_pretrained(base)


def full_size_parts() -> StableDiffusionXLModel:
    """SDXL in full size, without any memory for its weights."""
    with torch.device("meta"):
        unet = UNet2DConditionModel(
            sample_size=128,
            block_out_channels=(320, 640, 1280),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            transformer_layers_per_block=(1, 2, 10),
            attention_head_dim=(5, 10, 20),
            cross_attention_dim=2048,
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=256,
            projection_class_embeddings_input_dim=2816,
        )
        sizes = {"intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
        first = CLIPTextModel(CLIPTextConfig(hidden_size=768, **sizes))
        sizes = {"intermediate_size": 5120, "num_hidden_layers": 32, "num_attention_heads": 20}
        second = CLIPTextModelWithProjection(CLIPTextConfig(hidden_size=1280, projection_dim=1280, **sizes))
    return StableDiffusionXLModel(
        found=None,
        tokenizer=None,
        text_encoder=first,
        text_encoder_2=second,
        vae=None,
        unet=unet,
        process=DDPM(config={}, alphas=torch.ones(1)),
    )


def is_wide(parts: StableDiffusionXLModel, target: Target) -> bool:
    module = parts.models()[target.part].get_submodule(target.module)
    return getattr(module, "kernel_size", (1, 1)) != (1, 1)


@pytest.mark.parametrize("conv", [pytest.param(False, marks=pytest.mark.slow), True])
def test_keys_and_shapes_are_kohyas_to_the_last(conv: bool) -> None:
    golden = json.loads(GOLDEN.read_text())
    wanted = {**golden["default"], **(golden["conv_adds"] if conv else {})}
    parts = full_size_parts()
    targets = parts.targets(conv=conv)
    settings = NetworkGroup(network_dim=4, network_alpha=4, conv_dim=8 if conv else None, conv_alpha=1)
    sizes = plan_sizes(settings, targets, lambda target: is_wide(parts, target))
    lora = attach(parts.models(), targets, dim=4, alpha=4.0, sizes=sizes)
    shapes: dict[str, list[int]] = {}
    for name in lora.layers:
        shapes[f"{name}.alpha"] = []
        shapes |= {f"{name}.{part}": list(weight.shape) for part, weight in lora.weights(name).items()}
    assert shapes == wanted
    assert len(shapes) == (3156 if conv else 2958)


@torch.no_grad()
def test_text_is_what_the_pipeline_feeds_its_denoiser(
    parts: StableDiffusionXLModel, pipe: StableDiffusionXLPipeline
) -> None:
    states, _, pooled, _ = pipe.encode_prompt(CAPTIONS, device="cpu", do_classifier_free_guidance=False)
    found = encode_captions(parts, CAPTIONS)
    assert torch.equal(found.states, states)
    assert torch.equal(found.pooled, pooled)
    assert torch.equal(encode_captions(parts, CAPTIONS, 2).states, states)  # clip_skip has no effect
    assert [parts.prompts.caption_layer(skip) for skip in (None, 2, 5)] == [1, 1, 1]


@torch.no_grad()
def test_pooled_text_of_a_long_caption_is_its_first_windows(parts: StableDiffusionXLModel) -> None:
    long = encode_captions(parts, ["x " * 100, "y"], max_token_length=225)
    short = encode_captions(parts, ["x " * 75, "y"])
    assert long.states.shape == (2, 227, 40)
    torch.testing.assert_close(long.pooled, short.pooled)


@torch.no_grad()
def test_the_denoiser_is_told_the_sizes(parts: StableDiffusionXLModel) -> None:
    text = encode_captions(parts, ["a disc", "b"])
    noisy, timesteps = torch.randn(2, 4, 8, 6), torch.tensor([10, 900])
    sizes = torch.tensor([[480, 640, 0, 12, 64, 48], [64, 48, 0, 0, 64, 48]])
    told = {"text_embeds": text.pooled, "time_ids": sizes.float()}
    by_hand = parts.unet(noisy, timesteps, text.states, added_cond_kwargs=told).sample
    assert torch.equal(parts.denoise(noisy, timesteps, text, sizes), by_hand)
    uncut = parts.denoise(noisy, timesteps, text)
    assert torch.equal(uncut[1], parts.denoise(noisy, timesteps, text, sizes)[1])
    assert not torch.allclose(uncut[0], by_hand[0])


def test_sizes_are_height_first_and_turn_with_a_mirrored_picture() -> None:
    place = Placement(
        bucket=(48, 64), resized=(80, 64), aspect_error=0.0, original=(640, 512), offset=(10, 0)
    )
    assert sizes_of(place, mirrored=False) == (512, 640, 0, 10, 64, 48)
    assert sizes_of(place, mirrored=True) == (512, 640, 0, 80 - 48 - 10, 64, 48)


def test_the_scaling_is_the_autoencoders_own(parts: StableDiffusionXLModel) -> None:
    pixels = torch.rand(1, 3, 32, 32) * 2 - 1
    found = parts.codec.scaled(parts.codec.encode(pixels))
    torch.testing.assert_close(found.mean, parts.vae.encode(pixels).latent_dist.mean * 0.13025)


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_an_autoencoder_that_overflows_in_half_precision_does_not_here(
    base: Path, dtype: torch.dtype
) -> None:
    family = family_of(str(base))
    parts = family.load()
    parts.vae.encoder.conv_in.weight *= 1e6
    parts.vae.decoder.conv_in.weight *= 1e6
    pixels = torch.rand(1, 3, 32, 32) * 2 - 1
    if dtype == torch.float16:
        broken = parts.vae.half().encode(pixels.half()).latent_dist.mean
        assert not broken.isfinite().all()
        parts = family.load()
        parts.vae.encoder.conv_in.weight *= 1e6
        parts.vae.decoder.conv_in.weight *= 1e6
    parts.place("cpu", dtype)
    with torch.autocast("cpu", dtype):
        moments = parts.codec.encode(pixels)
        assert moments.mean.isfinite().all()
        assert moments.std.isfinite().all()
        assert parts.codec.decode(parts.codec.scaled(moments).mean).isfinite().all()


@torch.no_grad()
def test_the_pipeline_draws_the_same_with_the_text_given(
    family: StableDiffusionXL, pipe: StableDiffusionXLPipeline
) -> None:
    parts = family.load()
    text, empty = (encode_captions(parts, [words]) for words in ("a disc", ""))
    parts.free_text()
    own = parts.pipeline()
    assert own.text_encoder is None
    pipe.set_progress_bar_config(disable=True)
    call = {"num_inference_steps": 2, "width": 64, "height": 64, "guidance_scale": 3.0, "output_type": "pt"}
    drawn = own(**prompt_arguments(text, empty), **call, generator=torch.Generator().manual_seed(3)).images
    wanted = pipe("a disc", negative_prompt="", **call, generator=torch.Generator().manual_seed(3)).images
    assert torch.equal(drawn, wanted)


def test_text_outputs_are_stacked_and_moved_whole() -> None:
    one = TextOutput(states=torch.ones(1, 2, 3), pooled=torch.ones(1, 4))
    both = TextOutput.stack([one, one]).to(torch.float16)
    assert both.states.shape == (2, 2, 3)
    assert both.pooled is not None
    assert (both.pooled.shape, both.pooled.dtype) == ((2, 4), torch.float16)
    assert TextOutput.stack([TextOutput(states=one.states)]).pooled is None


def test_what_the_file_says_of_its_base(parts: StableDiffusionXLModel) -> None:
    found = parts.metadata()
    assert found["ss_base_model_version"] == "sdxl_base_v1-0"
    assert found["modelspec.architecture"] == "stable-diffusion-xl-v1-base/lora"
    assert found["modelspec.implementation"].endswith("Stability-AI/generative-models")


def test_settings_without_effect_are_told(parts: StableDiffusionXLModel) -> None:
    values = {
        "pretrained_model_name_or_path": "x",
        "train_data_dir": "x",
        "output_name": "x",
        "output_dir": "x",
    }
    assert not parts.ignored_settings(TrainConfig.from_values(values))
    (note,) = parts.ignored_settings(TrainConfig.from_values({**values, "clip_skip": 2}))
    assert note.startswith("clip_skip is ignored")


def test_a_single_file_is_the_same_model_offline(
    base: Path, parts: StableDiffusionXLModel, tmp_path: Path
) -> None:
    shutil.copytree(base, tmp_path / "xl")
    file = write_single_file(tmp_path / "xl", tmp_path / "xl.safetensors")
    for weights in (tmp_path / "xl").rglob("*.safetensors"):
        weights.unlink()
    found = family_of(str(file))
    assert isinstance(found, StableDiffusionXL)
    loaded = found.load()
    for name in ("unet", "vae", "text_encoder", "text_encoder_2"):
        ours, theirs = getattr(loaded, name).state_dict(), getattr(parts, name).state_dict()
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours), name
