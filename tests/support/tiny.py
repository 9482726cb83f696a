"""Real base models of some ten thousand weights, made in a moment: every part has the architecture
of its family, only narrower. For tests that need the real thing, not its quality."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from diffusers import (
    AnimaAutoBlocks,
    AnimaTextConditioner,
    AutoencoderKL,
    AutoencoderKLFlux2,
    AutoencoderKLQwenImage,
    ChromaPipeline,
    ChromaTransformer2DModel,
    CosmosTransformer3DModel,
    DDIMScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinPipeline,
    Flux2Transformer2DModel,
    FluxPipeline,
    FluxTransformer2DModel,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
    ZImagePipeline,
    ZImageTransformer2DModel,
)
from PIL import Image, ImageDraw
from transformers import Qwen3ForCausalLM

from lora_studio.config import TrainConfig
from tests.support.tiny_texts import (
    SECOND_WIDTH,
    TEXT_WIDTH,
    chat_tokenizer,
    clip_tokenizer,
    language_config,
    language_model,
    t5_encoder,
    t5_tokenizer,
    text_encoder,
)

TIME_WIDTH = 8
NOISE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
SHAPES = ("sd15", "sd2_v", "sdxl")
ALL_SHAPES = (*SHAPES, "zimage", "anima", "flux", "chroma", "klein")
"""SHAPES are Stable Diffusion's: CLIP reads the texts, and they are trained along."""


def make_tiny_base(
    folder: Path, prediction_type: str = "epsilon", use_linear_projection: bool = False, seed: int = 0
) -> Path:
    """Write a diffusers folder (autoencoder with f=8, denoiser of two levels, text encoder of two layers) and
    return it. Same seed, same weights."""
    folder.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        pipeline = StableDiffusionPipeline(
            vae=_vae(),
            text_encoder=text_encoder(),
            tokenizer=clip_tokenizer(folder / "tokenizer"),
            unet=_unet(use_linear_projection),
            scheduler=DDIMScheduler(
                **NOISE, clip_sample=False, set_alpha_to_one=False, prediction_type=prediction_type
            ),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
    pipeline.save_pretrained(folder)
    return folder


def make_tiny_sdxl(folder: Path, seed: int = 0, **vae: object) -> Path:
    """The same for SDXL: two text encoders of different width, a denoiser of three levels. `vae` are facts of
    the autoencoder's configuration."""
    folder.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        pipeline = StableDiffusionXLPipeline(
            vae=_vae(**{"scaling_factor": 0.13025, **vae}),
            text_encoder=text_encoder(),
            text_encoder_2=text_encoder(SECOND_WIDTH, with_projection=True),
            tokenizer=clip_tokenizer(folder / "tokenizer"),
            tokenizer_2=clip_tokenizer(folder / "tokenizer_2", pad_token="!"),
            unet=_unet_xl(),
            scheduler=EulerDiscreteScheduler(**NOISE, timestep_spacing="leading"),
            add_watermarker=False,
        )
    pipeline.save_pretrained(folder)
    return folder


def make_tiny_zimage(folder: Path, seed: int = 0, shift: float = 6.0) -> Path:
    """The same for Z-Image: a language model of three layers, a transformer of two blocks and its refiners.
    Most of it is the embedding of times, whose width is fixed."""
    folder.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        pipeline = ZImagePipeline(
            vae=_flux_vae(),
            text_encoder=language_model(),
            tokenizer=chat_tokenizer(),
            transformer=ZImageTransformer2DModel(
                dim=32,
                n_layers=2,
                n_refiner_layers=1,
                n_heads=2,
                n_kv_heads=2,
                cap_feat_dim=TEXT_WIDTH,
                axes_dims=[4, 6, 6],
                axes_lens=[1024, 32, 32],
            ),
            scheduler=FlowMatchEulerDiscreteScheduler(shift=shift),
        )
    pipeline.save_pretrained(folder)
    return folder


def make_tiny_anima(folder: Path, seed: int = 0) -> Path:
    """The same for Anima: a language model of three layers, an adapter of one block, a transformer of two.
    Latents have the full size's means and deviations, texts its length."""
    folder.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        pipeline = AnimaAutoBlocks().init_pipeline()
        tokens = t5_tokenizer()
        pipeline.update_components(
            vae=AutoencoderKLQwenImage(base_dim=4, dim_mult=[1, 1, 2, 2], num_res_blocks=1),
            text_encoder=language_model(),
            tokenizer=chat_tokenizer(),
            t5_tokenizer=tokens,
            text_conditioner=AnimaTextConditioner(
                source_dim=TEXT_WIDTH,
                target_dim=TEXT_WIDTH,
                model_dim=TEXT_WIDTH,
                num_layers=1,
                num_attention_heads=2,
                target_vocab_size=len(tokens),
            ),
            transformer=CosmosTransformer3DModel(
                num_attention_heads=2,
                attention_head_dim=16,
                num_layers=2,
                mlp_ratio=2.0,
                text_embed_dim=TEXT_WIDTH,
                adaln_lora_dim=8,
                max_size=(128, 240, 240),
                rope_scale=(1.0, 4.0, 4.0),
                extra_pos_embed_type=None,
            ),
            scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        )
    pipeline.save_pretrained(str(folder), overwrite_modular_index=True)
    return folder


def make_tiny_flux(folder: Path, seed: int = 0, *, takes_guidance: bool = True) -> Path:
    """The same for FLUX.1: CLIP and T5 of two layers each, a transformer of two double and two single
    blocks. Without guidance and with steps that don't shift it is schnell."""
    folder.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        pipeline = FluxPipeline(
            vae=_flux_vae(),
            text_encoder=text_encoder(),
            tokenizer=clip_tokenizer(folder / "tokenizer"),
            text_encoder_2=t5_encoder(),
            tokenizer_2=t5_tokenizer(),
            transformer=FluxTransformer2DModel(
                **TINY_FLUX, pooled_projection_dim=TEXT_WIDTH, guidance_embeds=takes_guidance
            ),
            scheduler=FlowMatchEulerDiscreteScheduler(
                shift=3.0 if takes_guidance else 1.0, use_dynamic_shifting=takes_guidance
            ),
        )
    pipeline.save_pretrained(folder)
    return folder


TINY_VAE = {
    **{"down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4},
    **{"block_out_channels": (4, 4, 8, 8), "layers_per_block": 1, "norm_num_groups": 2, "sample_size": 64},
}
TINY_FLUX = {
    **{"in_channels": 64, "num_layers": 2, "num_single_layers": 2, "attention_head_dim": 16},
    **{"num_attention_heads": 2, "joint_attention_dim": SECOND_WIDTH, "axes_dims_rope": (4, 6, 6)},
}


def make_tiny_chroma(folder: Path, seed: int = 0) -> Path:
    """The same for Chroma."""
    folder.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        pipeline = ChromaPipeline(
            vae=_flux_vae(),
            text_encoder=t5_encoder(),
            tokenizer=t5_tokenizer(),
            transformer=ChromaTransformer2DModel(
                **TINY_FLUX, approximator_num_channels=16, approximator_hidden_dim=16, approximator_layers=2
            ),
            scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        )
    pipeline.save_pretrained(folder)
    return folder


def make_tiny_klein(folder: Path, seed: int = 0, *, distilled: bool = False) -> Path:
    """The same for FLUX.2 klein: a language model of as many layers as are asked and two more, latents with
    statistics of their own."""
    folder.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        vae = AutoencoderKLFlux2(**{**TINY_VAE, "latent_channels": 32})
        vae.bn.running_mean.normal_()
        vae.bn.running_var.uniform_(0.5, 2)
        pipeline = Flux2KleinPipeline(
            vae=vae,
            text_encoder=Qwen3ForCausalLM(language_config(layers=29)),
            tokenizer=chat_tokenizer(),
            transformer=Flux2Transformer2DModel(
                num_layers=2,
                num_single_layers=2,
                attention_head_dim=16,
                num_attention_heads=2,
                joint_attention_dim=3 * TEXT_WIDTH,
                axes_dims_rope=(4, 4, 4, 4),
                guidance_embeds=False,
            ),
            scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
            is_distilled=distilled,
        )
    pipeline.save_pretrained(folder)
    return folder


MAKERS = {
    **{"sd15": make_tiny_base, "sdxl": make_tiny_sdxl, "zimage": make_tiny_zimage},
    **{"anima": make_tiny_anima, "flux": make_tiny_flux, "chroma": make_tiny_chroma},
    "klein": make_tiny_klein,
}


def make_tiny(shape: str, folder: Path) -> Path:
    """One of ALL_SHAPES. The second version of SD pads captions with another token than the end mark."""
    if shape in MAKERS:
        return MAKERS[shape](folder)
    base = make_tiny_base(folder, "v_prediction", use_linear_projection=True)
    clip_tokenizer(base / "tokenizer", pad_token="!").save_pretrained(base / "tokenizer")
    return base


def make_pictures(
    folder: Path, sizes: Sequence[tuple[int, int]] = ((64, 64),) * 4, captions: bool = True
) -> Path:
    """Pictures of (width, height): a disc on a coloured ground each, with captions beside them if wanted."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, (width, height) in enumerate(sizes):
        picture = Image.new("RGB", (width, height), (40 * number % 256, 90, 250 - 30 * number % 256))
        draw = ImageDraw.Draw(picture)
        draw.ellipse(
            (width // 4, height // 4, width * 3 // 4, height * 3 // 4), fill=(250, 200, 30 * number % 256)
        )
        picture.save(folder / f"picture-{number:02}.png")
        if captions:
            (folder / f"picture-{number:02}.txt").write_text(f"a disc, number {number}", encoding="utf-8")
    return folder


def _vae(**facts: object) -> AutoencoderKL:
    return AutoencoderKL(**{**TINY_VAE, "latent_channels": 4, **facts})


def _flux_vae() -> AutoencoderKL:
    """Of FLUX.1, which Z-Image and Chroma have, too."""
    return _vae(
        latent_channels=16,
        scaling_factor=0.3611,
        shift_factor=0.1159,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )


def _unet(use_linear_projection: bool) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 16),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        norm_num_groups=4,
        attention_head_dim=2,
        cross_attention_dim=TEXT_WIDTH,
        use_linear_projection=use_linear_projection,
    )


def _unet_xl() -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 16, 16),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=2,
        transformer_layers_per_block=1,
        norm_num_groups=4,
        attention_head_dim=(1, 2, 2),
        cross_attention_dim=TEXT_WIDTH + SECOND_WIDTH,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=TIME_WIDTH,
        projection_class_embeddings_input_dim=SECOND_WIDTH + 6 * TIME_WIDTH,
    )


def tiny_values(base: Path, pictures: Path, output_dir: Path, **changes: object) -> dict[str, object]:
    """Leaf values of a training that takes a second on a tiny base: 64 px, four steps, no previews; those
    asked for are drawn, however long they take."""
    return {
        "pretrained_model_name_or_path": str(base),
        "train_data_dir": str(pictures),
        "output_name": output_dir.name,
        "output_dir": str(output_dir),
        "resolution": 64,
        "min_bucket_reso": 32,
        "max_bucket_reso": 128,
        "bucket_reso_steps": 16,
        "max_train_steps": 4,
        "learning_rate": 1e-2,
        "sample_every_n_steps": 0,
        "max_preview_share": 0,
        "sample_steps": 2,
        "mixed_precision": "no",
        **changes,
    }


def denoiser_training(folder: Path, base: Path, **changes: object) -> TrainConfig:
    """A training of a base's denoiser alone, with pictures and result in `folder`."""
    values = tiny_values(base, make_pictures(folder / "data"), folder / "lora", network_train_unet_only=True)
    return TrainConfig.from_values(values | changes)
