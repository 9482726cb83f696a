"""Base models of full size with random weights, for measuring speed and memory: nothing has to be fetched."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch

from lora_studio.settings import CHECKOUT

SEED = 1234
BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
TOKENIZER = CHECKOUT / "models" / "starter" / "tokenizer"
"""Another vocabulary than the real models', but the same work: the embedding is of full size."""


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


def _saved(pipeline: Any, folder: Path, dtype: torch.dtype) -> Path:
    pipeline.to(dtype).save_pretrained(folder)
    shutil.copytree(TOKENIZER, folder / "tokenizer", dirs_exist_ok=True)
    return folder


def _vae(scaling_factor: float = 0.18215) -> Any:
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(128, 256, 512, 512),
        layers_per_block=2,
        latent_channels=4,
        sample_size=512,
        scaling_factor=scaling_factor,
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
