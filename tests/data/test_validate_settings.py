from __future__ import annotations

from pathlib import Path

import pytest

from lora_studio.config_groups import DatasetGroup
from lora_studio.data.training_set.folders import read_folder
from lora_studio.errors import ConfigError


def read(folder: Path, **changes: object) -> tuple[str, ...]:
    (folder / "a.png").touch()
    return read_folder(DatasetGroup.model_validate({"train_data_dir": str(folder), **changes})).notes


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"alpha_mask": True, "masked_loss": True, "conditioning_data_dir": "."}, "can't both be on"),
        ({"masked_loss": True}, "needs mask pictures"),
        ({"face_crop_aug_range": "2,4"}, "can't be used with buckets"),
        ({"face_crop_aug_range": "2", "enable_bucket": False}, "should be two numbers"),
        ({"min_bucket_reso": 512, "max_bucket_reso": 256}, "must not be above"),
    ],
)
def test_what_does_not_go_together_is_refused(tmp_path: Path, changes: dict, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        read(tmp_path, **changes)
    assert caught.value.field in changes


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"color_aug": True}, "cache_latents is ignored: color_aug changes the pictures at each use."),
        ({"random_crop": True}, "cache_latents is ignored: random_crop"),
        ({"keep_tokens": 1}, "keep_tokens is ignored"),
        ({"keep_tokens_separator": "|||"}, "keep_tokens_separator is ignored"),
        ({"bucket_no_upscale": True, "enable_bucket": False}, "bucket_no_upscale is ignored"),
        ({"conditioning_data_dir": "x"}, "masked_loss is off"),
    ],
)
def test_what_has_no_effect_is_said(tmp_path: Path, changes: dict, said: str) -> None:
    notes = read(tmp_path, **changes)
    assert len(notes) == 1
    assert said in notes[0]


def test_pictures_without_a_face_in_their_name_are_said(tmp_path: Path) -> None:
    (tmp_path / "me_10_10_5_5.png").touch()
    notes = read(tmp_path, face_crop_aug_range="2,4", enable_bucket=False)
    assert notes[0] == "cache_latents is ignored: face_crop_aug_range changes the pictures at each use."
    assert notes[1].startswith(
        "face_crop_aug_range is ignored for 1 picture whose name doesn't tell a face, like a"
    )


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"color_aug": True, "cache_latents": False},
        {"keep_tokens": 1, "shuffle_caption": True},
        {"keep_tokens": 1, "token_warmup_step": 5},
        {"keep_tokens_separator": "|", "caption_tag_dropout_rate": 0.5},
        {"alpha_mask": True, "flip_aug": True},
    ],
)
def test_what_goes_together_needs_no_word(tmp_path: Path, changes: dict) -> None:
    assert read(tmp_path, **changes) == ()
