from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from lora_studio.config_groups import DatasetGroup
from lora_studio.data.buckets import Placement
from lora_studio.data.latent_cache import PlacedPicture
from lora_studio.data.loader import Loader, count_steps
from lora_studio.data.seeds import seed_of
from lora_studio.data.training_set.folders import Picture

GOLDEN = json.loads((Path(__file__).parent.parent / "golden" / "steps_examples.json").read_text())["examples"]


def placed(index: int, bucket: tuple[int, int], repeats: int) -> PlacedPicture:
    picture = Picture(
        path=Path(f"{index}.png"),
        caption="",
        repeats=repeats,
        folder="x",
        settings=DatasetGroup(train_data_dir="x"),
    )
    return PlacedPicture(
        index=index, picture=picture, placement=Placement(bucket=bucket, resized=bucket, aspect_error=0)
    )


def loader(batch_size: int = 2, accumulate: int = 1, seed: int = 1) -> Loader:
    pictures = (
        placed(0, (64, 64), 2),
        placed(1, (32, 96), 3),
        placed(2, (64, 64), 1),
        placed(3, (64, 64), 2),
    )
    return Loader(pictures=pictures, batch_size=batch_size, accumulate=accumulate, seed=seed)


@pytest.mark.parametrize("example", GOLDEN, ids=lambda example: example["name"])
def test_step_arithmetic_is_kohyas(example: dict) -> None:
    accumulate = example["gradient_accumulation_steps"]
    counts = [bucket["count"] for bucket in example["bucket_counts"]]
    first = count_steps(counts, batch_size=example["batch_size"], accumulate=accumulate, max_train_steps=1)
    total = example.get("max_train_steps") or example["max_train_epochs"] * first.updates_per_epoch
    found = count_steps(
        counts, batch_size=example["batch_size"], accumulate=accumulate, max_train_steps=total
    )
    printed = example["printed"]
    assert total == printed["total_optimization_steps"]
    assert (found.batches_per_epoch, found.epochs) == (
        printed["num_batches_per_epoch"],
        printed["num_epochs"],
    )


@pytest.mark.parametrize(("batch_size", "accumulate"), [(1, 1), (2, 1), (2, 2), (3, 2), (4, 3)])
def test_an_epoch_has_the_announced_steps_and_shows_all(batch_size: int, accumulate: int) -> None:
    one = loader(batch_size, accumulate)
    steps = list(one.epoch(1))
    announced = one.steps(100)
    assert len(steps) == announced.updates_per_epoch
    assert sum(len(group) for group in steps) == announced.batches_per_epoch
    shown = Counter(sample.placed.index for group in steps for batch in group for sample in batch)
    assert shown == {0: 2, 1: 3, 2: 1, 3: 2}


def test_a_batch_stays_within_its_bucket() -> None:
    for group in loader(batch_size=3).epoch(2):
        for batch in group:
            assert len({sample.placed.placement.bucket for sample in batch}) == 1
            assert len(batch) <= 3


def test_the_order_follows_from_seed_and_epoch() -> None:
    assert list(loader().epoch(1)) == list(loader().epoch(1))
    orders = {
        tuple(s.placed.index for g in loader(seed=seed).epoch(epoch) for b in g for s in b)
        for seed in range(4)
        for epoch in range(4)
    }
    assert len(orders) > 8


def test_two_accumulated_batches_show_what_one_of_double_size_shows() -> None:
    pictures = tuple(placed(index, (64, 64), 1) for index in range(8))
    whole = Loader(pictures=pictures, batch_size=4, accumulate=1, seed=3)
    halves = Loader(pictures=pictures, batch_size=2, accumulate=2, seed=3)
    for one, two in zip(whole.epoch(1), halves.epoch(1), strict=True):
        assert one[0] == two[0] + two[1]


def in_dataset(index: int, dataset: int, **settings: object) -> PlacedPicture:
    one = placed(index, (64, 64), 1)
    data = DatasetGroup.model_validate({"train_data_dir": "x", **settings})
    picture = replace(one.picture, dataset=dataset, settings=data)
    return replace(
        one, picture=picture, placement=replace(one.placement, resized=(100, 90), original=(100, 90))
    )


def test_datasets_have_batches_and_batch_sizes_of_their_own() -> None:
    pictures = tuple(in_dataset(index, dataset=index // 6) for index in range(9))
    mixed = Loader(pictures=pictures, batch_size=9, accumulate=1, seed=1, batch_sizes=(4, 1))
    batches = [batch for group in mixed.epoch(1) for batch in group]
    assert sorted(len(batch) for batch in batches) == [1, 1, 1, 2, 4]
    assert all(len({sample.placed.picture.dataset for sample in batch}) == 1 for batch in batches)
    assert mixed.steps(10).batches_per_epoch == 5
    assert (mixed.counts(), mixed.counts(0), mixed.counts(1)) == ({(64, 64): 9}, {(64, 64): 6}, {(64, 64): 3})


def test_pictures_are_cut_and_coloured_anew_at_each_use_and_the_same_way_again() -> None:
    pictures = tuple(in_dataset(index, 0, random_crop=True, color_aug=True) for index in range(20))
    one = Loader(pictures=pictures, batch_size=1, accumulate=1, seed=1)
    used = {s.placed.index: s.placed for group in one.epoch(1) for batch in group for s in batch}
    assert len({use.placement.corner for use in used.values()}) > 5
    assert 0 < sum(use.colour is not None for use in used.values()) < 15
    again = {s.placed.index: s.placed for group in one.epoch(1) for batch in group for s in batch}
    later = {s.placed.index: s.placed for group in one.epoch(2) for batch in group for s in batch}
    assert used == again
    assert used != later


def test_seeds_depend_on_every_part_and_fit_a_generator() -> None:
    seeds = {
        seed_of(1, "noise", 2, 3),
        seed_of(1, "noise", 23),
        seed_of(1, "flip", 2, 3),
        seed_of(2, "noise", 2, 3),
    }
    assert len(seeds) == 4
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert seed_of(42, "noise", 1, 0, 0) == seed_of(42, "noise", 1, 0, 0)
