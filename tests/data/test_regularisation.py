from __future__ import annotations

import json
from pathlib import Path

from lora_studio.config_groups import DatasetGroup
from lora_studio.data.training_set.folders import Picture
from lora_studio.data.training_set.regularisation import shared_repeats

GOLDEN = json.loads((Path(__file__).parent.parent / "golden" / "steps_examples.json").read_text())["examples"]


def pictures(train: list[int], reg: list[int], dataset: int = 0) -> list[Picture]:
    return [
        Picture(
            path=Path("x"),
            caption="",
            repeats=count,
            folder="x",
            settings=DatasetGroup(train_data_dir="x"),
            is_reg=is_reg,
            dataset=dataset,
        )
        for is_reg, counts in ((False, train), (True, reg))
        for count in counts
    ]


def test_they_are_filled_up_as_kohya_does() -> None:
    """A run of 6 pictures with 2 repeats and 3 regularisation pictures with one."""
    example = next(example for example in GOLDEN if example["printed"]["num_reg_images"])
    found = shared_repeats(pictures([2] * 6, [1] * 3))
    assert sum(found) == sum(bucket["count"] for bucket in example["bucket_counts"])
    assert found[6:] == [4, 4, 4]


def test_they_take_turns() -> None:
    assert shared_repeats(pictures([7], [1, 2])) == [7, 3, 4]


def test_surplus_ones_are_left_out_and_the_last_is_whole() -> None:
    assert shared_repeats(pictures([2, 1], [1, 3, 1])) == [2, 1, 1, 3, 0]


def test_each_dataset_has_its_own() -> None:
    assert shared_repeats([*pictures([2], [1]), *pictures([5], [1], dataset=1)]) == [2, 2, 5, 5]


def test_without_others_nothing_changes() -> None:
    assert shared_repeats(pictures([3, 4], [])) == [3, 4]
    assert shared_repeats(pictures([], [3, 4])) == [3, 4]
