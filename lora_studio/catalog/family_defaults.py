"""The defaults of families of base models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from lora_studio.catalog.catalog_base import Base, LongText
from lora_studio.catalog.family_names import ANIMA, CHROMA, FLUX, KLEIN, SD1, SD2, SDXL, ZIMAGE

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
    KLEIN: Base(
        name="",
        title="",
        family=KLEIN,
        source="",
        native_size=1024,
        step=16,
        sampler="Euler",
        # Steps and guidance as its makers' card names them, what is trained as musubi-tuner documents it.
        num_inference_steps=50,
        guidance_scale=4.0,
        half="bf16",
        flow_matching=True,
        long_text=LongText(as_message=True, thinks=False),
        training={
            "network_dim": 32,
            "network_alpha": 32,
            "learning_rate": 1e-4,
            "network_train_unet_only": True,
            "timestep_sampling": "flux2_shift",
            "gradient_checkpointing": True,
            "sample_guidance": 4.0,
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
