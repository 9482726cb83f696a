from __future__ import annotations

from pathlib import Path

import numpy
import pytest
from PIL import Image

from lora_studio.config_groups import DatasetGroup
from lora_studio.data.augment import (
    Colour,
    Face,
    face_in_name,
    face_range,
    recoloured,
    varied_colour,
    varied_placement,
)
from lora_studio.data.buckets import Placement
from lora_studio.errors import ConfigError

WIDE = Placement(bucket=(64, 64), resized=(128, 64), aspect_error=0, original=(400, 200))


def data(**changes: object) -> DatasetGroup:
    return DatasetGroup.model_validate({"train_data_dir": "x", **changes})


def test_the_cut_lies_anywhere_inside() -> None:
    found = [varied_placement(WIDE, data(random_crop=True), None, seed) for seed in range(200)]
    assert {placement.corner[0] for placement in found} > {0, 64}
    assert all(0 <= placement.corner[0] <= 64 and placement.corner[1] == 0 for placement in found)
    assert all(placement.resized == (128, 64) for placement in found)
    assert varied_placement(WIDE, data(), None, 1) is WIDE


def test_without_buckets_the_cut_is_from_the_full_size() -> None:
    settings = data(random_crop=True, enable_bucket=False)
    found = varied_placement(WIDE, settings, None, 1)
    assert (found.resized, found.bucket) == ((400, 200), (64, 64))
    small = Placement(bucket=(64, 64), resized=(96, 64), aspect_error=0, original=(60, 40))
    assert varied_placement(small, settings, None, 1).resized == (96, 64)


def test_the_face_tells_its_place_in_the_name() -> None:
    assert face_in_name(Path("me_at_sea_120_80_40_44.png")) == Face(x=120, y=80, width=40, height=44)
    assert face_in_name(Path("me_at_sea.png")) is None
    assert face_in_name(Path("a_1_2_0_0.png")) is None


def test_the_cut_is_as_many_times_as_large_as_the_face() -> None:
    settings = data(face_crop_aug_range="2.0,4.0", enable_bucket=False)
    face = Face(x=300, y=100, width=20, height=20)
    found = [varied_placement(WIDE, settings, face, seed) for seed in range(100)]
    sides = [64 / (placement.resized[1] / 200) for placement in found]
    assert 64 <= min(sides) <= max(sides) <= 4 * 20 * 1.02
    large = Face(x=300, y=100, width=60, height=40)
    for placement in (varied_placement(WIDE, settings, large, seed) for seed in range(50)):
        scale = placement.resized[1] / 200
        assert 2 * 60 * 0.97 <= 64 / scale <= 200.1
        middle = max(0, min(300 * scale - 32, placement.resized[0] - 64))
        assert placement.corner[0] == pytest.approx(middle, abs=2)


def test_the_face_moves_from_the_middle_with_random_crop() -> None:
    settings = data(face_crop_aug_range="3,3", enable_bucket=False, random_crop=True)
    face = Face(x=200, y=100, width=40, height=40)
    found = [varied_placement(WIDE, settings, face, seed) for seed in range(100)]
    assert len({placement.corner for placement in found}) > 20
    for placement in found:
        assert all(0 <= at <= side - 64 for at, side in zip(placement.corner, placement.resized, strict=True))


@pytest.mark.parametrize("written", ["2", "a,b", "4,2", "0.5,2", "1,2,3"])
def test_a_range_that_is_none_is_refused(written: str) -> None:
    with pytest.raises(ConfigError, match=r"like 2\.0,4\.0") as caught:
        face_range(data(face_crop_aug_range=written))
    assert caught.value.field == "face_crop_aug_range"


def test_a_third_gets_other_colours() -> None:
    found = [varied_colour(seed) for seed in range(3000)]
    changed = [colour for colour in found if colour]
    assert len(changed) == pytest.approx(1000, abs=90)
    hues = [colour.hue for colour in changed if colour.hue]
    assert len(hues) == pytest.approx(500, abs=60)
    assert max(abs(hue) for hue in hues) <= 8 / 180
    assert all(0.95 <= colour.gamma <= 1.05 for colour in changed)


def test_colours_change_as_told() -> None:
    red = Image.new("RGB", (2, 2), (255, 0, 0))
    assert recoloured(red, Colour(hue=1 / 3)).getpixel((0, 0)) == pytest.approx((0, 255, 0), abs=6)
    grey = Image.new("RGB", (2, 2), (128, 128, 128))
    assert recoloured(grey, Colour(gamma=1.05)).getpixel((0, 0)) == (124, 124, 124)
    noise = Image.fromarray(numpy.random.default_rng(1).integers(0, 255, (8, 8, 3), dtype=numpy.uint8))
    change = numpy.asarray(recoloured(noise, Colour(hue=0.001)), int) - numpy.asarray(noise, int)
    assert abs(change).max() <= 6  # a colour space of 8 bits rounds
