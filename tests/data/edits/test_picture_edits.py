"""Edits as values, and what is refused of strangers' JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lora_studio.data.edits.picture_edits import (
    CropPicture,
    Edit,
    FlattenPicture,
    FlipPicture,
    RemovePicture,
    RotatePicture,
    SetCaption,
    edit_dict,
    edit_of,
)
from lora_studio.errors import DatasetError

EDITS: list[Edit] = [
    RemovePicture("10_dog/a b.png"),
    CropPicture("a.png", 1, 2, 30, 40),
    RotatePicture("a.png", 270),
    FlipPicture("ä.png"),
    FlattenPicture("a.png", "#00ff10"),
    SetCaption("a.png", "a dog\nan old dog"),
    SetCaption("a.png", ""),
]


@pytest.mark.parametrize(
    "name",
    [
        *("1.23\u202fPM.png", "a\u00a0b.png", "\u7d75\u3000\u4e00.png"),
        *("\U0001f9d1\u200d\U0001f3a8.png", "12:30.png"),
    ],
)
def test_names_that_systems_give_are_taken(name: str) -> None:
    assert edit_of({"edit": "flip", "picture": name}) == FlipPicture(name)


@pytest.mark.parametrize("edit", EDITS, ids=str)
def test_an_edit_comes_back_from_its_json(edit: Edit) -> None:
    assert edit_of(json.loads(json.dumps(edit_dict(edit)))) == edit


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (None, "is no edit of a picture"),
        ([], "is no edit of a picture"),
        ({"edit": ["remove"], "picture": "a.png"}, "is no edit of a picture"),
        ({"edit": "burn", "picture": "a.png"}, "is no edit of a picture"),
        ({"edit": "remove"}, "names no picture"),
        ({"edit": "remove", "picture": "a.png", "more": 1}, "has no 'more'"),
        *(
            ({"edit": "flip", "picture": path}, "names no picture")
            for path in (
                "",
                "/etc/passwd",
                "../a.png",
                "b/../a.png",
                "b//a.png",
                "C:\\a.png",
                "C:/a.png",
                "C:a.png",
                "a\n.png",
                "a\u2028.png",
                "a\u202e.png",
            )
        ),
        ({"edit": "flip", "picture": "a" * 1001}, "names no picture"),
        ({"edit": "flip", "picture": "\ud800.png"}, "names no picture"),
        ({"edit": "rotate", "picture": "a.png", "degrees": 45}, "90, 180 or 270 is needed"),
        ({"edit": "rotate", "picture": "a.png", "degrees": True}, "90, 180 or 270 is needed"),
        ({"edit": "crop", "picture": "a.png", "left": -1, "top": 0, "right": 5, "bottom": 5}, "left of"),
        ({"edit": "crop", "picture": "a.png", "left": 0, "top": 0, "right": 10**40, "bottom": 5}, "right of"),
        ({"edit": "flatten", "picture": "a.png", "background": "red" * 10**5}, "a colour like"),
        ({"edit": "caption", "picture": "a.png", "caption": "a" * 10_001}, "10,001 characters are too many"),
        ({"edit": "caption", "picture": "a.png"}, "a text is needed"),
    ],
)
def test_what_is_no_edit_is_refused_in_a_short_sentence(given: Any, words: str) -> None:
    with pytest.raises(DatasetError, match=words) as refused:
        edit_of(given)
    assert len(refused.value.message) < 200


def test_a_caption_is_kept_without_control_characters() -> None:
    assert edit_of({"edit": "caption", "picture": "a.png", "caption": " a\0 dog\r\n"}).caption == "a dog"  # type: ignore[union-attr]
