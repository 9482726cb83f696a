"""Checkpoint files of full size, alone on a machine without a network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from accelerate import init_empty_weights
from diffusers import UNet2DConditionModel
from safetensors.numpy import save_file
from transformers import CLIPTextConfig, CLIPTextModel

from lora_studio.catalog import SD1, SD2, SDXL
from lora_studio.errors import BrokenFile, FamilyMismatch
from lora_studio.families import family_of
from lora_studio.families.base_files.locate import find_base
from lora_studio.families.base_files.usual_parts import TOKENIZER, USUAL, usual_tokenizers
from lora_studio.families.encoders.clip_encoder import PromptWindows
from lora_studio.families.encoders.clip_prompt import count_tokens
from scripts.bench.full_size import sd15_pipeline, sdxl_pipeline
from tests.support.single_file import write_empty_file, write_single_file

BEGIN, END = 49406, 49407
PHOTO = [BEGIN, 320, 1125, 539, 320, 2368, END]
"""CLIP's numbers of "a photo of a cat", as everybody has them."""


def sd2_pipeline() -> Any:
    """Stable Diffusion 2's base of 512 px."""
    pipeline = sd15_pipeline()
    pipeline.unet = UNet2DConditionModel(
        cross_attention_dim=1024,
        attention_head_dim=(5, 10, 20, 20),
        sample_size=64,
        use_linear_projection=True,
    )
    sizes = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 23}
    config = CLIPTextConfig(
        vocab_size=49408, num_attention_heads=16, projection_dim=512, hidden_act="gelu", **sizes
    )
    pipeline.text_encoder = CLIPTextModel(config)
    return pipeline


PIPELINES = {SD1: sd15_pipeline, SD2: sd2_pipeline, SDXL: sdxl_pipeline}


@pytest.fixture(params=PIPELINES)
def made(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Any, Path]:
    with init_empty_weights():
        pipeline = PIPELINES[request.param]()
    return request.param, pipeline, write_empty_file(pipeline, tmp_path / "somebody.safetensors")


@pytest.mark.slow
def test_a_file_alone_is_the_whole_model(made: tuple[str, Any, Path]) -> None:
    family, pipeline, file = made
    found = find_base(str(file))
    assert found.family == family
    model = family_of(str(file)).load()
    for name in ("unet", "vae", "text_encoder", "text_encoder_2"):
        wanted, got = getattr(pipeline, name, None), getattr(model, name)
        assert (wanted is None) == (got is None)
        if wanted is not None:
            shapes = {key: tensor.shape for key, tensor in wanted.state_dict().items()}
            assert {key: tensor.shape for key, tensor in got.state_dict().items()} == shapes
            assert {weight.device.type for weight in got.parameters()} == {"cpu"}
    assert model.native_size == ((1024, 1024) if family == SDXL else (512, 512))
    assert model.process.alphas[-1].item() == pytest.approx(0.0047, abs=1e-4)
    wanted, _ = model.prompts.encode_prompts("a photo of a cat", "", PromptWindows())
    assert wanted.states.shape == (1, 77, {SD1: 768, SD2: 1024, SDXL: 2048}[family])


@pytest.mark.slow
def test_marks_change_the_usual_configuration(tmp_path: Path) -> None:
    with init_empty_weights():
        file = write_empty_file(sdxl_pipeline(), tmp_path / "noob.safetensors", "v_pred", "ztsnr")
    model = family_of(str(file)).load()
    assert model.process.predicts_velocity
    assert model.process.alphas[-1].item() == 0
    assert model.process.config["timestep_spacing"] == "trailing"


def test_the_vocabulary_is_clips(tmp_path: Path) -> None:
    for family, second in ((SD1, False), (SD2, False), (SDXL, True)):
        found = find_base("sd15")
        tokenizers = usual_tokenizers(type(found)(name="x", path_or_id="x", family=family, layout="file"))
        assert len(tokenizers) == 1 + second
        for name, tokenizer in tokenizers.items():
            assert len(tokenizer) == END + 1
            assert tokenizer("a photo of a cat").input_ids == PHOTO
            filled = tokenizer("a photo of a cat", padding="max_length").input_ids
            padding = 0 if family == SD2 or name == "tokenizer_2" else END
            assert filled == PHOTO + [padding] * (77 - len(PHOTO))
    assert count_tokens(TOKENIZER, "a photo of a cat") == (5, 1)
    # As OpenAI's own tokenizer counts.
    assert count_tokens(TOKENIZER, "masterpiece, 1girl, Größe 猫の絵 café 🦊") == (19, 1)


def test_a_file_that_is_built_otherwise_is_told_what_to_do(tiny_base: Path, tmp_path: Path) -> None:
    file = write_single_file(tiny_base, tmp_path / "lonely.safetensors")
    with pytest.raises(BrokenFile) as caught:
        family_of(str(file)).load()
    assert "lonely.safetensors" in caught.value.message
    assert "folder of the same name" in caught.value.hint


def test_a_base_for_inpainting_is_named(tmp_path: Path) -> None:
    start = "model.diffusion_model.input_blocks."
    tensors = {
        f"{start}0.0.weight": np.zeros((320, 9, 3, 3), np.float16),
        f"{start}1.1.transformer_blocks.0.attn2.to_k.weight": np.zeros((320, 768), np.float16),
        "cond_stage_model.x": np.zeros(1, np.float16),
    }
    save_file(tensors, tmp_path / "paint.safetensors")
    with pytest.raises(FamilyMismatch) as caught:
        find_base(str(tmp_path / "paint.safetensors"))
    assert "9 channels" in caught.value.message
    assert "inpaint" in caught.value.hint


def test_the_usual_configurations_name_no_place(tmp_path: Path) -> None:
    folders = [path for path in USUAL.iterdir() if (path / "model_index.json").is_file()]
    assert {path.name for path in folders} == {SD1, SD2, f"{SD2}-v", SDXL}
    assert not any(b"_name_or_path" in path.read_bytes() for path in USUAL.rglob("*.json"))
