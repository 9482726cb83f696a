"""The pictures: where they are, how they are sized, captioned and changed at each use."""

from __future__ import annotations

from typing import Literal

from lora_studio.config_groups.base import Group, setting

Kind = Literal["person", "style", "object", "character"]


class DatasetGroup(Group):
    train_data_dir: str = setting(
        ...,
        "Folder with the pictures: either pictures directly, or Kohya's layout of <repeats>_<class> folders.",
        basic=True,
        min_length=1,
    )
    kind: Kind = setting(
        "object", "What the pictures show. It picks the preset and the prompts of the previews.", basic=True
    )
    trigger_word: str = setting(
        "",
        "The word that calls your subject up later. It is put in front of each caption that lacks it.",
        basic=True,
        max_length=64,
    )
    resolution: int = setting(
        512,
        "Side of the training pictures. Use the base model's native size: 512 for SD 1.5.",
        unit="px",
        basic=True,
        ge=32,
        le=2048,
        multiple_of=8,
    )
    train_batch_size: int = setting(
        1,
        "Pictures in one step. More is steadier and needs more memory.",
        unit="images",
        basic=True,
        ge=1,
        le=64,
    )
    num_repeats: int = setting(
        1,
        "How often one pass over the folder shows each picture. Kohya folders bring their own number.",
        unit="times",
        ge=1,
        le=1000,
    )
    caption_extension: str = setting(
        "", "Read captions only from files with this ending. Empty: .txt, then .caption.", max_length=16
    )
    enable_bucket: bool = setting(
        True,
        "Keep each picture's shape by sorting pictures into buckets of similar proportions. Off: crop to a "
        "square.",
    )
    min_bucket_reso: int = setting(256, "Shortest side of a bucket.", unit="px", ge=8, le=4096)
    max_bucket_reso: int = setting(1024, "Longest side of a bucket.", unit="px", ge=8, le=4096)
    bucket_reso_steps: int = setting(64, "Bucket sides are multiples of this.", unit="px", ge=8, le=256)
    bucket_no_upscale: bool = setting(False, "Never enlarge a picture to fill its bucket.")
    flip_aug: bool = setting(
        False,
        "Show a picture mirrored half of the time. Not for faces, text or anything with a left and a right.",
    )
    caption_dropout_rate: float = setting(
        0.0, "Share of steps without caption, so that the subject also sticks without words.", ge=0, le=1
    )
    shuffle_caption: bool = setting(False, "Shuffle the comma-separated parts of a caption at each use.")
    keep_tokens: int = setting(
        0, "Leave this many first parts in place when shuffling.", unit="parts", ge=0, le=32
    )
    cache_latents: bool = setting(
        True, "Encode each picture once before training instead of at each step. Faster, same result."
    )
    cache_text_encoder_outputs: bool = setting(
        True, "Encode each caption once when the text encoder isn't trained. Faster, same result."
    )
