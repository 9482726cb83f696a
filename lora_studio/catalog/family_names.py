"""Families of base models: their names, and what tells a file's family."""

from __future__ import annotations

from collections.abc import Mapping

SD1 = "sd1"
SD2 = "sd2"
SDXL = "sdxl"
ZIMAGE = "zimage"
ANIMA = "anima"
FLUX = "flux"
CHROMA = "chroma"
KLEIN = "klein"
FAMILIES: Mapping[str, str] = {
    SD1: "Stable Diffusion 1.x",
    SD2: "Stable Diffusion 2.x",
    SDXL: "Stable Diffusion XL",
    ZIMAGE: "Z-Image",
    ANIMA: "Anima",
    FLUX: "FLUX.1",
    CHROMA: "Chroma",
    KLEIN: "FLUX.2 klein",
}
SD3, FLUX2, LIKE_FLUX, OVIS, QWEN = "sd3", "flux2", "like flux", "ovis", "qwen"
COSMOS = "cosmos"
OTHER_FAMILIES: Mapping[str, str] = {
    **{"sd3": "Stable Diffusion 3", "flux2": "FLUX.2 dev"},
    **{"like flux": "FLUX.1 or a model built like it", "bria": "Bria", "ovis": "Ovis-Image"},
    **{"longcat": "LongCat-Image", "auraflow": "AuraFlow", "hidream": "HiDream", "krea2": "Krea 2"},
    **{"qwen": "Qwen-Image", "lumina2": "Lumina 2"},
    **{"pixart": "PixArt", "sana": "Sana", "cogview4": "CogView4", "glm-image": "GLM-Image"},
    **{"wan": "Wan", "hunyuan": "HunyuanVideo", "hunyuan-image": "HunyuanImage", "ltx": "LTX-Video"},
    **{"mochi": "Mochi", "cogvideox": "CogVideoX", COSMOS: "Cosmos"},
}
"""Families that we recognise in files, so that a sentence can name them, but that nothing here runs yet."""
FLUX2_STARTS = ("flux2", "flux.2", "flux-2", "flux_2")
BASE_VERSIONS: Mapping[str, str] = {
    **{"sd_v1": SD1, "sd_v2": SD2, "sdxl": SDXL, "sd_1": SD1, "sd_2": SD2, "sd1": SD1, "sd2": SD2},
    **{"stable-diffusion-v1": SD1, "stable-diffusion-v2": SD2, "stable-diffusion-xl": SDXL},
    **{"sd3": "sd3", "stable-diffusion-3": "sd3", "hunyuan-image": "hunyuan-image", "hunyuan": "hunyuan"},
    **{f"{start}{dash}klein": KLEIN for start in FLUX2_STARTS for dash in "-_"},
    **{f"{start}{dash}dev": FLUX2 for start in FLUX2_STARTS for dash in "-_"},
    **dict.fromkeys(FLUX2_STARTS, ""),
    **{"flux": FLUX, "chroma": CHROMA},
    **{"qwen": "qwen", "wan": "wan", "lumina": "lumina2"},
    **{"z-image": ZIMAGE, "z_image": ZIMAGE, "zimage": ZIMAGE},
    **{"hidream": "hidream", "krea": "krea2", "anima": ANIMA, "auraflow": "auraflow", "sana": "sana"},
    **{"pixart": "pixart", "ltx": "ltx", "cosmos": COSMOS, "mochi": "mochi", "cogview": "cogview4"},
}
"""Families by the start of Kohya's `ss_base_model_version` and of `modelspec.architecture`; empty where
several have it, whose layers tell which it is."""
KLEIN_WIDTHS = (3072, 4096)
"""The widths of its two sizes."""
SIGNATURES: tuple[tuple[str, tuple[int, ...], str], ...] = (
    (r"joint_transformer_blocks_\d|(?:double|single)_layers_\d", (), "auraflow"),
    (r"single_transformer_blocks_\d+_ff_linear_1$", (), "auraflow"),
    (r"double_stream_blocks_\d+_block|single_stream_blocks_\d", (), "hidream"),
    (r"distilled_guidance_layer", (), CHROMA),
    (r"(?:double|single)_stream_modulation|single_transformer_blocks_\d+_attn_to_qkv", KLEIN_WIDTHS, KLEIN),
    (r"transformer_blocks_\d+_ff_(?:context_)?linear_in$", KLEIN_WIDTHS, KLEIN),
    (r"(?:double|single)_stream_modulation|single_transformer_blocks_\d+_attn_to_qkv", (), FLUX2),
    (r"transformer_blocks_\d+_ff_(?:context_)?linear_in$", (), FLUX2),
    (r"caption_projection_\d+_linear$", (), "bria"),
    (
        r"(?:double_blocks_\d+_img_|txt_in_individual_|context_embedder_token_refiner_)",
        (3584,),
        "hunyuan-image",
    ),
    (r"double_blocks_\d+_(?:img|txt)_mlp_fc[12]$", (), "hunyuan"),
    (r"(?:txt_in_individual_|context_embedder_)?token_refiner_", (), "hunyuan"),
    (r"(?:double|single)_blocks_\d+_", (4096,), KLEIN),
    (r"(?:double|single)_blocks_\d+_", (6144,), FLUX2),
    (r"joint_blocks_\d+_(?:x|context)_block", (), "sd3"),
    (r"transformer_blocks_\d+_(?:img|txt)_m(?:od|lp)_", (), "qwen"),
    (r"transformer_blocks_[2-5]\d_attn_add_", (3072,), "qwen"),
    (r"transformer_blocks_\d+_attn_to_gate$|text_fusion_", (), "krea2"),
    (r"transformer_blocks_\d+_attn1_add_", (), "mochi"),
    (r"text_conditioner_blocks_\d+_|llm_adapter_blocks_\d+_", (), ANIMA),
    (r"transformer_blocks_\d+_norm\d_linear_[12]$", (), COSMOS),
    (r"transformer_blocks_\d+_attn2_to_[kv]$", (1024,), COSMOS),
    (r"transformer_blocks_\d+_ff_conv_|transformer_blocks_\d+_attn[12]_to_q$", (2240,), "sana"),
    (r"adaln_single_|transformer_blocks_\d+_attn2_to_q$", (1152,), "pixart"),
    (r"transformer_blocks_\d+_attn2_to_[qk]$", (2048, 4096), "ltx"),
    (r"(?:glyph|prior|image)_projector_", (), "glm-image"),
    (r"transformer_blocks_(?:28|29)_attn1_to_q$", (2560, 4096), "glm-image"),
    (r"transformer_blocks_\d+_attn1_to_q$", (1920, 3072), "cogvideox"),
    (r"transformer_blocks_\d+_attn1_to_q$", (2560, 4096), "cogview4"),
    (r"blocks_\d+_(?:self|cross)_attn_(?:[qkv]|output)_proj$|blocks_\d+_adaln_modulation", (2048,), ANIMA),
    (r"blocks_\d+_(?:self|cross)_attn_(?:[qkv]|output)_proj$", (), COSMOS),
    (r"blocks_\d+_(?:self_attn|cross_attn)_[qkvo]$|blocks_\d+_(?:ffn_|attn[12]_to_)", (), "wan"),
    (r"(?:layers|noise_refiner|context_refiner)_\d+_(?:attention_|attn_|feed_forward_)", (3840,), ZIMAGE),
    (r"(?:layers|noise_refiner|context_refiner)_\d+_(?:attention_|attn_|feed_forward_)", (2304,), "lumina2"),
)
"""(pattern of a layer's path, its inputs or any, the family); the first that matches counts."""
SAME_LAYERS = frozenset({FLUX, CHROMA})
"""Families whose LoRAs name layers alike: one's file draws on the other as far as it fits."""
ONE_ATTENTION = ("cogvideox", "cogview4", "glm-image")
"""Families whose blocks attend to picture and text at once."""
SD3_WIDTHS, FLUX_WIDTH = (1152, 1536, 2432), 3072
FLUX_BLOCKS = {
    **{(18, 37): FLUX, (18, -1): FLUX, (-1, 37): FLUX, (19, 39): "hunyuan"},
    **{(9, 19): "longcat", (7, 27): "bria", (7, 37): "bria", (5, 26): "ovis"},
}
"""Families built like FLUX by the numbers of their last double and last single block (-1: none)."""
HUB_TAGS: Mapping[str, str] = {
    ZIMAGE: "z-image",
    ANIMA: "anima",
    FLUX: "flux",
    CHROMA: "chroma",
    KLEIN: "flux2-klein",
}
TEXT_WIDTHS: Mapping[int, str] = {768: SD1, 1024: SD2, 2048: SDXL}
"""Width of the text that the denoiser attends to."""


def family_from_version(version: str) -> str:
    """The family that `ss_base_model_version` or `modelspec.architecture` names; empty if unknown."""
    version = version.lower()
    return next((family for start, family in BASE_VERSIONS.items() if version.startswith(start)), "")


def family_from_text_width(width: int) -> str:
    """The family whose denoiser attends to text of this width; empty if none is known to."""
    return TEXT_WIDTHS.get(width, "")


def tag_of(family: str) -> str:
    """The Hub's tag for models of a family; Stable Diffusion's where it isn't known."""
    return HUB_TAGS.get(family, "stable-diffusion")


def family_title(family: str) -> str:
    """The family's name as people write it."""
    return {**FAMILIES, **OTHER_FAMILIES}.get(family, "an unknown family")
