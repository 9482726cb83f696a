"""The comparison of exports with sd-scripts' own reading, without sd-scripts."""

from __future__ import annotations

from pathlib import Path

from scripts import compare_kohya_export as compared


def test_what_one_side_alone_says_of_a_picture_is_a_difference() -> None:
    dog, cat = {"caption": "dog", "repeats": 2}, {"caption": "cat", "repeats": 1}
    assert list(compared.differences([dog, cat], [cat, dog])) == []
    assert list(compared.differences([dog, dog, cat], [dog, cat, {**cat, "repeats": 3}])) == [
        'here:  {"caption": "dog", "repeats": 2}',
        'there: {"caption": "cat", "repeats": 3}',
    ]


def test_the_studio_says_what_it_trains_on(tmp_path: Path) -> None:
    tables = compared.read_here(compared.regularised(tmp_path))
    assert [(one["caption"], one["repeats"]) for one in tables if not one["is_reg"]] == [
        (f"zwx, dog {index}", 4) for index in range(3)
    ]
    assert sum(one["repeats"] for one in tables if one["is_reg"]) == 13
    assert (640, 384) in {tuple(one["bucket"]) for one in tables}
