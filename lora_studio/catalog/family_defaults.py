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


def _flow(
    family: str,
    *,
    times: Mapping[str, Any],
    dim: int = 16,
    alpha: int = 0,
    guidance_scale: float = 4.0,
    num_inference_steps: int = 30,
    **fields: Any,
) -> Base:
    """The defaults of a family of flow models, which are transformers over tokens of 16 pixels. `times` are
    settings of the times to train at; an `alpha` of 0 is the rank."""
    training = {
        "network_dim": dim,
        "network_alpha": alpha or dim,
        "learning_rate": 1e-4,
        "network_train_unet_only": True,
        "gradient_checkpointing": True,
        "sample_guidance": guidance_scale,
        **times,
    }
    return Base(
        name="",
        title="",
        family=family,
        source="",
        native_size=1024,
        step=16,
        sampler="Euler",
        half="bf16",
        flow_matching=True,
        training=training,
        guidance_scale=guidance_scale,
        num_inference_steps=num_inference_steps,
        **fields,
    )


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
    ZIMAGE: _flow(
        ZIMAGE,
        long_text=LongText(as_message=True),
        # Rank, rate and shift as musubi-tuner documents them.
        dim=32,
        times={"timestep_sampling": "shift", "discrete_flow_shift": 2.0},
    ),
    ANIMA: _flow(
        ANIMA,
        long_text=LongText(tokenizers=("tokenizer", "t5_tokenizer")),
        # Rank, alpha, rate and times as sd-scripts documents them.
        dim=8,
        alpha=1,
        times={"timestep_sampling": "sigmoid", "discrete_flow_shift": 1.0},
    ),
    FLUX: _flow(
        FLUX,
        num_inference_steps=28,
        guidance_scale=1.0,
        long_text=LongText(tokenizers=("tokenizer_2",)),
        # Times and guidance as sd-scripts documents them, with the shift of each picture's size.
        times={"timestep_sampling": "flux_shift", "guidance_scale": 1.0},
    ),
    CHROMA: _flow(
        CHROMA,
        # Of diffusers' pipeline.
        num_inference_steps=35,
        guidance_scale=5.0,
        long_text=LongText(),
        times={"timestep_sampling": "sigmoid"},
    ),
    KLEIN: _flow(
        KLEIN,
        # Steps and guidance as its makers' card names them, what is trained as musubi-tuner documents it.
        num_inference_steps=50,
        long_text=LongText(as_message=True, thinks=False),
        dim=32,
        times={"timestep_sampling": "flux2_shift"},
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
