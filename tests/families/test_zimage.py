from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from diffusers import ZImagePipeline, ZImageTransformer2DModel

from lora_studio.catalog import BASES, check_trainable
from lora_studio.config import TrainConfig
from lora_studio.config_groups import NetworkGroup
from lora_studio.errors import ConfigError
from lora_studio.families import family_of
from lora_studio.families.base import TextOutput
from lora_studio.families.base_files.locate import find_base
from lora_studio.families.flow import Flow
from lora_studio.families.zimage import ZImage, ZImageModel
from lora_studio.generation.pipelines import compute_dtype
from lora_studio.lora.network.attach import attach
from lora_studio.lora.network.ranks import plan_sizes
from lora_studio.runtime import Device
from lora_studio.trainer import train
from lora_studio.training.model import check_number_format
from tests.support.clip_texts import encode_captions
from tests.support.flow_drawing import draw
from tests.support.runs import trained_tensors
from tests.support.tiny import make_pictures, make_tiny_zimage, tiny_values

GOLDEN = Path(__file__).parent.parent / "golden" / "zimage_lora_keys.json"
CAPTIONS = ["a disc", "word " * 40, ""]
CALL = {"num_inference_steps": 3, "width": 64, "height": 48, "output_type": "pt"}
FULL_SIZE = {"dim": 3840, "n_layers": 30, "n_refiner_layers": 2, "n_heads": 30, "n_kv_heads": 30}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_zimage(tmp_path_factory.mktemp("z") / "base")


@pytest.fixture(scope="module")
def model(base: Path) -> ZImageModel:
    family = family_of(str(base))
    assert isinstance(family, ZImage)
    return family.load()


@pytest.fixture(scope="module")
def pipe(base: Path) -> ZImagePipeline:
    loaded = ZImagePipeline.from_pretrained(base)
    loaded.set_progress_bar_config(disable=True)
    return loaded


def test_keys_and_shapes_are_musubis_to_the_last() -> None:
    with torch.device("meta"):
        transformer = ZImageTransformer2DModel(**FULL_SIZE)
    model = ZImageModel(
        found=None,
        tokenizer=None,
        text_encoder=None,
        vae=None,
        transformer=transformer,
        process=Flow(config={}),
    )
    targets = model.targets(conv=True)
    settings = NetworkGroup(network_dim=4, network_alpha=4)
    sizes = plan_sizes(settings, targets, lambda target: False)
    lora = attach(model.models(), targets, dim=4, alpha=4.0, sizes=sizes)
    rows = [[name, *(list(weight.shape) for weight in lora.weights(name).values())] for name in lora.layers]
    assert rows == json.loads(GOLDEN.read_text())["rows"]
    assert len(rows) == 210
    assert not model.targets(denoiser=False)


@torch.no_grad()
def test_text_is_what_the_pipeline_feeds_its_denoiser(model: ZImageModel, pipe: ZImagePipeline) -> None:
    """To the bit, each at its own length; the longest is cut where theirs is."""
    captions = [*CAPTIONS, "long " * 600]
    found = encode_captions(model, captions)
    assert found.mask is not None
    for caption, row in zip(captions, found.rows, strict=True):
        (states,), _ = pipe.encode_prompt(caption, device="cpu", do_classifier_free_guidance=False)
        assert torch.equal(row, states)
        assert len(row) == min(512, model.prompts.count_caption(caption, weighted=False))
    assert len(found.rows[-1]) == model.prompts.caption_limit(75)[0] == 512


def test_outputs_of_unequal_lengths_are_stacked_and_moved_whole() -> None:
    one, two = (
        TextOutput(states=torch.ones(1, n, 3), mask=torch.ones(1, n, dtype=torch.bool)) for n in (2, 5)
    )
    both = TextOutput.stack([one, two]).to(torch.float16).to("cpu")
    assert (both.states.shape, both.states.dtype) == ((2, 5, 3), torch.float16)
    assert both.mask is not None
    assert both.mask.dtype == torch.bool
    assert [row.shape for row in both.rows] == [(2, 3), (5, 3)]
    assert [row.shape for row in TextOutput(states=torch.ones(2, 4, 3)).rows] == [(4, 3), (4, 3)]


@pytest.mark.parametrize("prompt", CAPTIONS)
def test_a_picture_without_guidance_is_the_pipelines_to_the_bit(
    model: ZImageModel, pipe: ZImagePipeline, prompt: str
) -> None:
    generator = torch.Generator().manual_seed(3)
    wanted = pipe(prompt, guidance_scale=0.0, generator=generator, **CALL).images
    assert torch.equal(draw(model, prompt), wanted)


@pytest.mark.parametrize("negative", ["", "a much longer text that is not wanted at all, in many words"])
def test_a_picture_with_guidance_is_the_pipelines(
    model: ZImageModel, pipe: ZImagePipeline, negative: str
) -> None:
    """Their scale is one less than everybody else's, p + g (p - n) for n + s (p - n), which is the same
    number but for its last bits."""
    generator = torch.Generator().manual_seed(3)
    wanted = pipe("a disc", negative_prompt=negative, guidance_scale=3.0, generator=generator, **CALL).images
    torch.testing.assert_close(draw(model, "a disc", negative, scale=4.0), wanted, rtol=0, atol=2e-5)


@torch.no_grad()
def test_the_answer_is_the_transformers_turned_round(model: ZImageModel) -> None:
    noisy = torch.randn(1, 16, 8, 6)
    text = encode_captions(model, ["a disc"])
    (by_hand,) = model.transformer([noisy[0][:, None]], torch.tensor([0.25]), text.rows, return_dict=False)[0]
    assert torch.equal(model.denoise(noisy, torch.tensor([750.0]), text)[0], -by_hand[:, 0])
    assert torch.equal(model.denoise(noisy, torch.tensor(750), text)[0], -by_hand[:, 0])


def test_latents_have_the_shift_and_the_scale(model: ZImageModel) -> None:
    pixels = torch.rand(1, 3, 32, 32) * 2 - 1
    mean = model.vae.encode(pixels).latent_dist.mean
    torch.testing.assert_close(model.codec.scaled(model.codec.encode(pixels)).mean, (mean - 0.1159) * 0.3611)
    assert (model.size_step, model.codec.channels, model.native_size) == (16, 16, (1024, 1024))


def test_what_the_file_says_of_its_base(model: ZImageModel) -> None:
    assert model.metadata()["ss_base_model_version"] == "z_image"
    assert model.metadata()["modelspec.architecture"] == "z-image/lora"


def test_settings_without_effect_are_told(model: ZImageModel) -> None:
    values = {
        "pretrained_model_name_or_path": "x",
        "train_data_dir": "x",
        "output_name": "x",
        "output_dir": "x",
        "network_train_unet_only": True,
    }
    assert not model.ignored_settings(TrainConfig.from_values(values))
    changes = {"clip_skip": 2, "max_token_length": 150, "network_train_unet_only": False}
    settings, texts = model.ignored_settings(TrainConfig.from_values({**values, **changes}))
    assert settings.startswith("clip_skip, max_token_length:")
    assert "text encoder" in texts


@pytest.mark.parametrize("name", ["Z-Image-Turbo", "my turbo mix"])
def test_a_distilled_base_is_known_by_its_name_and_not_trained(base: Path, tmp_path: Path, name: str) -> None:
    """It draws with few steps, and says which base to train instead."""
    (tmp_path / name).symlink_to(base)
    found = find_base(str(tmp_path / name))
    assert (found.family, found.traits.num_inference_steps, found.traits.guidance_scale) == ("zimage", 9, 1.0)
    values = tiny_values(tmp_path / name, make_pictures(tmp_path / "data"), tmp_path / "lora")
    with pytest.raises(ConfigError) as refusal:
        train(TrainConfig.from_values(values))
    assert refusal.value.field == "pretrained_model_name_or_path"
    assert "z-image" in refusal.value.hint
    assert not find_base(str(base)).traits.train_instead


@pytest.mark.parametrize("name", [one.name for one in BASES.values() if one.train_instead])
def test_the_catalogs_distilled_bases_name_one_that_can_be_trained(name: str) -> None:
    distilled = BASES[name]
    check_trainable(BASES[distilled.train_instead])
    assert BASES[distilled.train_instead].family == distilled.family
    with pytest.raises(ConfigError):
        check_trainable(distilled)


def test_half_precision_is_bf16() -> None:
    cuda = Device(kind="cuda", title="GPU", memory_bytes=1, native_bf16=False)
    cpu = Device(kind="cpu", title="CPU", memory_bytes=0, native_bf16=False)
    half = BASES["z-image"].half
    wishes = ("auto", "fp16", "bf16", "fp32")
    assert [compute_dtype(cuda, one, half) for one in wishes] == [torch.bfloat16] * 3 + [torch.float32]
    assert [compute_dtype(cpu, one, half) for one in wishes] == [torch.float32] * 4
    with pytest.raises(ConfigError) as refusal:
        check_number_format(BASES["z-image"], torch.float16)
    assert refusal.value.field == "mixed_precision"
    check_number_format(BASES["z-image"], torch.bfloat16)


def test_a_denoiser_held_in_8_bits_trains(base: Path, tmp_path: Path) -> None:
    changes = {"network_train_unet_only": True, "fp8_base_unet": True, "gradient_checkpointing": True}
    values = tiny_values(base, make_pictures(tmp_path / "data"), tmp_path / "lora", **changes)
    assert any(
        tensor.any()
        for key, tensor in trained_tensors(TrainConfig.from_values(values)).items()
        if "up" in key
    )
