"""Base models of full size with random weights, for measuring speed and memory: nothing has to be fetched."""

from __future__ import annotations

import json
import math
import shutil
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from lora_studio.settings import CHECKOUT

SEED = 1234
BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
TOKENIZER = CHECKOUT / "models" / "starter" / "tokenizer"
"""Another vocabulary than the real models', but the same work: the embedding is of full size."""
CHAT_TOKENIZER = CHECKOUT / "models" / "starter-flow" / "tokenizer"


def make_sd15(folder: Path, dtype: torch.dtype = torch.float32) -> Path:
    """A diffusers folder of Stable Diffusion 1.5's shape: 860, 123 and 84 million weights."""
    torch.manual_seed(SEED)
    return _saved(sd15_pipeline(), folder, dtype)


def sd15_pipeline() -> Any:
    """Stable Diffusion 1.5 with fresh weights, or with none inside accelerate's init_empty_weights."""
    from diffusers import DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel

    return StableDiffusionPipeline(
        unet=UNet2DConditionModel(cross_attention_dim=768, attention_head_dim=8, sample_size=64),
        vae=_vae(),
        text_encoder=_text_encoder(width=768, layers=12, heads=12),
        tokenizer=_tokenizer(),
        scheduler=DDIMScheduler(**BETAS, clip_sample=False, set_alpha_to_one=False, steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def make_sdxl(folder: Path, dtype: torch.dtype = torch.float32) -> Path:
    """A diffusers folder of Stable Diffusion XL's shape: 2,567 million weights in the denoiser."""
    torch.manual_seed(SEED)
    return _saved(sdxl_pipeline(), folder, dtype)


def sdxl_pipeline() -> Any:
    """Stable Diffusion XL with fresh weights, or with none inside accelerate's init_empty_weights."""
    from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline, UNet2DConditionModel

    blocks = ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D")
    unet = UNet2DConditionModel(
        sample_size=128,
        block_out_channels=(320, 640, 1280),
        down_block_types=("DownBlock2D", *blocks),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 2, 10),
        attention_head_dim=(5, 10, 20),
        cross_attention_dim=2048,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=256,
        projection_class_embeddings_input_dim=2816,
    )
    return StableDiffusionXLPipeline(
        unet=unet,
        vae=_vae(scaling_factor=0.13025),
        text_encoder=_text_encoder(width=768, layers=12, heads=12),
        text_encoder_2=_text_encoder(width=1280, layers=32, heads=20, projection=1280),
        tokenizer=_tokenizer(),
        tokenizer_2=_tokenizer(),
        scheduler=EulerDiscreteScheduler(**BETAS, steps_offset=1),
    )


def zimage_pipeline() -> Any:
    """Z-Image with fresh weights, or with none inside accelerate's init_empty_weights: 6,155 million weights
    in the denoiser, a language model of 4 thousand million."""
    from diffusers import FlowMatchEulerDiscreteScheduler, ZImagePipeline, ZImageTransformer2DModel
    from transformers import AutoTokenizer, Qwen3Config, Qwen3Model

    language = Qwen3Config(
        vocab_size=151936,
        hidden_size=2560,
        intermediate_size=9728,
        num_hidden_layers=36,
        num_attention_heads=32,
        num_key_value_heads=8,
        head_dim=128,
        tie_word_embeddings=True,
    )
    return ZImagePipeline(
        vae=_vae(
            scaling_factor=0.3611,
            shift_factor=0.1159,
            latent_channels=16,
            use_quant_conv=False,
            use_post_quant_conv=False,
        ),
        text_encoder=Qwen3Model(language),
        tokenizer=AutoTokenizer.from_pretrained(CHAT_TOKENIZER),
        transformer=ZImageTransformer2DModel(),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=6.0),
    )


def write_random_base(folder: Path, pipeline: Any, device: str = "cpu") -> Path:
    """A diffusers folder in bf16 of a pipeline without weights (accelerate's init_empty_weights): small
    random numbers, made on `device` one tensor at a time, so that this takes next to no memory."""
    pipeline.save_config(folder)
    random = torch.Generator(device).manual_seed(SEED)
    for name, part in pipeline.components.items():
        if isinstance(part, torch.nn.Module):
            of_diffusers = hasattr(part, "save_config")
            (part.save_config if of_diffusers else part.config.save_pretrained)(folder / name)
            file = "diffusion_pytorch_model.safetensors" if of_diffusers else "model.safetensors"
            _write_random(part.state_dict(), folder / name / file, random)
        elif part is not None:
            part.save_pretrained(folder / name)
    return folder


def _write_random(shapes: Mapping[str, torch.Tensor], file: Path, random: torch.Generator) -> None:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, tensor in shapes.items():
        begin, end = end, end + 2 * tensor.numel()
        header[name] = {"dtype": "BF16", "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with file.open("wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        for name, tensor in shapes.items():
            out.write(_fresh(name, tensor.shape, random).view(torch.int16).cpu().numpy().tobytes())


def _fresh(name: str, shape: torch.Size, random: torch.Generator) -> torch.Tensor:
    """Norms as they begin, the rest small random numbers."""
    if len(shape) == 1:
        return torch.full(shape, float(name.endswith("weight")), dtype=torch.bfloat16)
    spread = 1 / math.sqrt(math.prod(shape[1:]))
    return (torch.randn(shape, generator=random, device=random.device) * spread).bfloat16()


def _saved(pipeline: Any, folder: Path, dtype: torch.dtype) -> Path:
    pipeline.to(dtype).save_pretrained(folder)
    shutil.copytree(TOKENIZER, folder / "tokenizer", dirs_exist_ok=True)
    return folder


def _vae(**facts: Any) -> Any:
    from diffusers import AutoencoderKL

    settings: dict[str, Any] = {"latent_channels": 4, "scaling_factor": 0.18215, **facts}
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(128, 256, 512, 512),
        layers_per_block=2,
        sample_size=512,
        **settings,
    )


def _tokenizer() -> Any:
    from transformers import CLIPTokenizer

    return CLIPTokenizer.from_pretrained(TOKENIZER)


def _text_encoder(*, width: int, layers: int, heads: int, projection: int = 0) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    tokenizer = _tokenizer()
    config = CLIPTextConfig(
        vocab_size=49408,
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        max_position_embeddings=77,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        projection_dim=projection or width,
        hidden_act="gelu" if projection else "quick_gelu",
    )
    return CLIPTextModelWithProjection(config) if projection else CLIPTextModel(config)
