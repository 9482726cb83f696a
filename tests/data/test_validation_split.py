from __future__ import annotations

from pathlib import Path

import pytest

from lora_studio.config_groups import DatasetGroup
from lora_studio.data.training_set.folders import Picture
from lora_studio.data.training_set.validation_split import split_off


def pictures(count: int, split: float, seed: int | None = None, **facts: object) -> list[Picture]:
    data = DatasetGroup(train_data_dir="x", validation_split=split, validation_seed=seed)
    return [
        Picture(path=Path(f"{number}.png"), caption="", repeats=1, folder="x", settings=data, **facts)  # type: ignore[arg-type]
        for number in range(count)
    ]


@pytest.mark.parametrize(
    ("count", "split", "held"), [(10, 0.2, 2), (10, 0.25, 2), (5, 0.1, 0), (1, 0.9, 0), (6, 0.5, 3)]
)
def test_kohyas_share_is_held_out(count: int, split: float, held: int) -> None:
    train, held_out = split_off(pictures(count, split), seed=1)
    assert (len(train), len(held_out)) == (count - held, held)
    assert {one.path for one in train}.isdisjoint(one.path for one in held_out)


def test_the_seed_decides_which() -> None:
    """The order that random.seed(9) and random.shuffle give six pictures begins with 4, 1, 5, 0."""
    import random

    order = list(range(6))
    random.Random(9).shuffle(order)
    _, held_out = split_off(pictures(6, 0.4, seed=9), seed=1)
    assert [one.path.name for one in held_out] == sorted(f"{number}.png" for number in order[4:])
    assert split_off(pictures(6, 0.4, seed=9), seed=2) == split_off(pictures(6, 0.4, seed=9), seed=1)
    assert split_off(pictures(6, 0.4), seed=9)[1] == [
        one for one in pictures(6, 0.4) if one.path in {held.path for held in held_out}
    ]


def test_regularisation_pictures_are_never_held_out() -> None:
    train, held_out = split_off(pictures(6, 0.5, is_reg=True), seed=1)
    assert (len(train), held_out) == (6, [])


def test_what_is_held_out_once_is_not_trained_on_elsewhere() -> None:
    both = [*pictures(6, 0.5), *pictures(6, 0.0, dataset=1, subset=1)]
    train, held_out = split_off(both, seed=1)
    assert len(held_out) == 3
    assert {one.path for one in train}.isdisjoint(one.path for one in held_out)
    assert len(train) == 6


def test_without_a_split_all_are_trained_on() -> None:
    assert split_off(pictures(4, 0.0), seed=1) == (pictures(4, 0.0), [])
