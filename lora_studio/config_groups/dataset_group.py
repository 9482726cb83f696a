"""The pictures: where they are, how they are sized, captioned and changed at each use."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any, Literal

from pydantic import model_validator

from lora_studio.config_groups.setting_group import Group, setting

Kind = Literal["person", "style", "object", "character"]
Interpolation = Literal["lanczos", "nearest", "bilinear", "linear", "bicubic", "cubic", "area"]


class DatasetGroup(Group):
    """Settings of the pictures and captions."""

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
    )
    train_batch_size: int = setting(
        1,
        "Pictures in one step. More is steadier and needs more memory.",
        unit="images",
        basic=True,
        ge=1,
        le=64,
    )
    dataset_config: str = setting(
        "",
        "A TOML or JSON file in sd-scripts' form that names several sets of pictures with options for each. "
        "It takes the place of train_data_dir, reg_data_dir and in_json.",
        local=True,
    )
    in_json: str = setting(
        "",
        "A JSON file with the captions of the pictures in train_data_dir, in the form that sd-scripts' "
        "fine-tuning uses.",
        local=True,
    )
    dataset_version: str = setting(
        "",
        "The version of the edits of train_data_dir to train on: a name that was given to one, the id of an "
        "entry in its edits.jsonl, or originals for none of them. Empty: the edits as they are at the start.",
        max_length=60,
    )
    reg_data_dir: str = setting(
        "",
        "Folder with regularisation pictures: others of the same kind, so that the kind isn't changed along "
        "with your subject. Laid out like train_data_dir.",
        local=True,
    )
    prior_loss_weight: float = setting(
        1.0, "Weight of the regularisation pictures in the loss.", ge=0, le=100
    )
    num_repeats: int = setting(
        1,
        "How often one pass over the folder shows each picture. Kohya folders bring their own number.",
        unit="times",
        ge=1,
        le=100_000,
    )
    resolution_height: int | None = setting(
        None,
        "Height of the training pictures where it differs from resolution, which is then the width.",
        unit="px",
        ge=32,
        le=2048,
    )
    enable_bucket: bool = setting(
        True,
        "Keep each picture's shape by sorting pictures into buckets of similar proportions. Off: crop to a "
        "square.",
    )
    min_bucket_reso: int = setting(256, "Shortest side of a bucket.", unit="px", ge=8, le=4096)
    max_bucket_reso: int = setting(1024, "Longest side of a bucket.", unit="px", ge=8, le=4096)
    bucket_reso_steps: int = setting(64, "Bucket sides are multiples of this.", unit="px", ge=1, le=256)
    bucket_no_upscale: bool = setting(False, "Never enlarge a picture to fill its bucket.")
    resize_interpolation: Interpolation | None = setting(
        None, "How pictures are scaled. Empty: by area when shrinking, by Lanczos otherwise."
    )
    flip_aug: bool = setting(
        False,
        "Show a picture mirrored half of the time. Not for faces, text or anything with a left and a right.",
    )
    color_aug: bool = setting(
        False,
        "Change hue or brightness a little, a third of the time. Such pictures are encoded at each use, "
        "which is slower.",
    )
    random_crop: bool = setting(
        False,
        "Cut each picture at another place at each use instead of in the middle. Without buckets the cut is "
        "taken from the picture in its full size. Such pictures are encoded at each use, which is slower.",
    )
    face_crop_aug_range: str = setting(
        "",
        "Cut around the face: the cut is this many times as large as the face, from and to, like 2.0,4.0. "
        "Needs file names ending in _<x>_<y>_<width>_<height> of the face, and enable_bucket off.",
    )
    alpha_mask: bool = setting(
        False, "Learn only what is opaque: a picture's transparency weighs the loss at each place."
    )
    masked_loss: bool = setting(
        False, "Learn only what is bright in the mask pictures of conditioning_data_dir."
    )
    conditioning_data_dir: str = setting(
        "",
        "Folder with mask pictures of the same names as the pictures. Their red channel weighs the loss at "
        "each place: white counts, black doesn't.",
        local=True,
    )
    caption_extension: str = setting(
        "", "Read captions only from files with this ending. Empty: .txt, then .caption.", max_length=64
    )
    caption_prefix: str = setting("", "Put in front of each caption, with a blank.", max_length=1000)
    caption_suffix: str = setting("", "Put behind each caption, with a blank.", max_length=1000)
    caption_separator: str = setting(
        ",", "What stands between the parts of a caption.", min_length=1, max_length=16
    )
    secondary_separator: str = setting(
        "", "Becomes caption_separator in the end, so parts joined by it stay together.", max_length=16
    )
    enable_wildcard: bool = setting(
        False, "Take one of {several|ways|to put it} at each use, and one line of captions of several lines."
    )
    caption_dropout_rate: float = setting(
        0.0, "Share of steps without caption, so that the subject also sticks without words.", ge=0, le=1
    )
    caption_dropout_every_n_epochs: int = setting(
        0, "Leave all captions out in every so many epochs. 0: never.", unit="epochs", ge=0
    )
    caption_tag_dropout_rate: float = setting(
        0.0, "Share of a caption's parts left out at each use.", ge=0, le=1
    )
    shuffle_caption: bool = setting(False, "Shuffle the comma-separated parts of a caption at each use.")
    keep_tokens: int = setting(
        0, "Leave this many first parts in place when shuffling.", unit="parts", ge=0, le=255
    )
    keep_tokens_separator: str = setting(
        "",
        "What stands before this mark, like |||, stays in place when shuffling; after a second one, too.",
        max_length=16,
    )
    token_warmup_min: int = setting(
        1, "How many parts of a caption the first step sees.", unit="parts", ge=0, le=255
    )
    token_warmup_step: float = setting(
        0.0,
        "Show more and more parts of the captions, all of them from this step on; below 1 it is a share of "
        "the training. 0: all at once.",
        unit="steps",
        ge=0,
    )
    validation_split: float = setting(
        0.0, "Share of the pictures that isn't trained on but used to measure the loss.", ge=0, lt=1
    )
    validation_seed: int | None = setting(
        None, "Decides which pictures those are. Empty: the seed of the training.", ge=0, le=2**32 - 1
    )
    cache_latents: bool = setting(
        True, "Encode each picture once before training instead of at each step. Faster, same result."
    )
    cache_latents_to_disk: bool = setting(
        True,
        "Keep the encoded pictures for the next training, in the app's own folder. They are found by "
        "content, so a changed picture is encoded anew.",
    )
    vae_batch_size: int = setting(
        1,
        "Pictures encoded at once. More can be faster on a graphics card; results may differ in the last "
        "digit.",
        unit="images",
        ge=1,
        le=64,
    )
    cache_text_encoder_outputs: bool = setting(
        True, "Encode each caption once when the text encoder isn't trained. Faster, same result."
    )

    @model_validator(mode="before")
    @classmethod
    def _folder_of_the_config(cls, values: Any) -> Any:
        """Fill in train_data_dir where a dataset_config names the folders."""
        if isinstance(values, dict) and values.get("dataset_config") and not values.get("train_data_dir"):
            folder = PurePath(str(values["dataset_config"])).parent
            return {**values, "train_data_dir": str(folder)}
        return values
