from __future__ import annotations

import json
from pathlib import Path

import pytest

from lora_studio.lora.lora_folder import NOTES
from lora_studio.lora.picture_report import PictureGain, far_off, far_off_sentence, read_gains, write_gains

ALIEN = [(0.303, 0.067), (0.328, 0.087), (0.430, 0.076), (0.308, 0.054), (0.399, 0.064), (0.420, 0.060)]
"""Errors before and after a training of 200 steps on the starter's example set."""
INK = [(0.879, 0.387), (0.716, 0.286), (0.239, 0.079), (0.744, 0.239), (0.624, 0.182), (0.892, 0.236)]
DRAWINGS = [(0.912, 0.581), (0.698, 0.429)]
"""Two ink drawings among the aliens, under the alien's caption."""


def gains(*pairs: tuple[float, float]) -> list[PictureGain]:
    return [
        PictureGain(picture=f"{number}.png", before=before, after=after)
        for number, (before, after) in enumerate(pairs)
    ]


@pytest.mark.parametrize("pairs", [ALIEN, INK])
def test_of_a_clean_set_none_is_named(pairs: list[tuple[float, float]]) -> None:
    assert far_off(gains(*pairs)) == ()


def test_what_is_no_alien_is_named_the_farthest_first() -> None:
    found = far_off(gains(*ALIEN, *DRAWINGS))
    assert [one.picture for one in found] == ["6.png", "7.png"]
    assert far_off_sentence(found).startswith(
        "Much less was learned of “6.png” and “7.png” than of the others."
    )


def test_a_picture_that_never_got_better_is_named_also_when_it_is_near() -> None:
    assert [one.picture for one in far_off(gains(*ALIEN, (0.09, 0.089)))] == ["6.png"]
    assert far_off(gains(*ALIEN, (0.05, 0.049))) == (), "what the base knew already is no fault"


@pytest.mark.parametrize(
    "pairs",
    [
        [*ALIEN[:3], DRAWINGS[0]],
        [(0.3, 0.29), (0.4, 0.39), (0.3, 0.3), (0.5, 0.49), (0.4, 0.4), (0.9, 1.9)],
        [*ALIEN[:5], *DRAWINGS],
    ],
    ids=["too few", "nothing learned", "a second kind"],
)
def test_where_nothing_can_be_said_nothing_is(pairs: list[tuple[float, float]]) -> None:
    assert far_off(gains(*pairs)) == ()
    assert far_off_sentence(()) == ""


def test_more_than_three_are_counted() -> None:
    found = gains(*[(0.5, 0.4)] * 5)
    assert "“0.png”, “1.png”, “2.png” and 2 other pictures" in far_off_sentence(found)


def test_equal_names_are_told_apart_by_their_folders_and_named_once() -> None:
    same = [
        PictureGain(picture=name, before=0.5, after=0.4)
        for name in ("1_a/x.png", "2_b/x.png", "y.png", "y.png")
    ]
    assert far_off_sentence(same).startswith(
        "Much less was learned of “1_a/x.png”, “2_b/x.png” and “y.png” than"
    )


def test_what_is_kept_is_read_beside_the_rest(tmp_path: Path) -> None:
    (tmp_path / NOTES).write_text(json.dumps({"title": "Alien"}))
    write_gains(tmp_path, gains(*ALIEN))
    assert list(read_gains(tmp_path)) == gains(*ALIEN)
    assert json.loads((tmp_path / NOTES).read_text())["title"] == "Alien"


def test_rows_of_strangers_that_are_none_are_left_out(tmp_path: Path) -> None:
    good = {"picture": "a\u0000\u202e.png", "before": 0.5, "after": 1}
    wrong = [
        None,
        7,
        {},
        {**good, "before": "x"},
        {**good, "after": 1e300},
        {**good, "after": True},
        {**good, "picture": 3},
    ]
    (tmp_path / NOTES).write_text(json.dumps({"pictures": [*wrong, good]}))
    (found,) = read_gains(tmp_path)
    assert found.picture.isprintable()
    (tmp_path / NOTES).write_text(json.dumps({"pictures": {"a": 1}}))
    assert read_gains(tmp_path) == ()
