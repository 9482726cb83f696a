from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_studio.config_groups import DatasetGroup
from lora_studio.data.buckets import Bucketing, bucketing_for, make_buckets
from tests.support.properties import examples

GOLDEN = json.loads((Path(__file__).parent.parent / "golden" / "buckets.json").read_text())


def bucketing(size_step: int = 8, **changes: object) -> Bucketing:
    return bucketing_for(DatasetGroup.model_validate({"train_data_dir": "x", **changes}), size_step)


@pytest.mark.parametrize(
    "row", GOLDEN["bucket_lists"], ids=lambda row: f"{row['resolution'][0]}-{row['steps']}-{row['max']}"
)
def test_lists_are_kohyas(row: dict) -> None:
    found = make_buckets(tuple(row["resolution"]), least=row["min"], most=row["max"], step=row["steps"])
    assert [list(bucket) for bucket in found] == row["buckets"]


@pytest.mark.parametrize(
    "table", GOLDEN["assign"], ids=lambda t: f"{t['resolution'][0]}-{t['steps']}-{t['no_upscale']}"
)
def test_placements_are_kohyas(table: dict) -> None:
    placing = bucketing(
        resolution=table["resolution"][0],
        min_bucket_reso=table["min"],
        max_bucket_reso=table["max"],
        bucket_reso_steps=table["steps"],
        bucket_no_upscale=table["no_upscale"],
    )
    assert len(table["rows"]) >= 35
    for image, bucket, resized, error in table["rows"]:
        placement = placing.place(tuple(image))
        assert [list(placement.bucket), list(placement.resized)] == [bucket, resized], image
        assert placement.aspect_error == pytest.approx(error), image


def broken_rows() -> list[tuple[dict, list[int]]]:
    return [(table, image) for table in GOLDEN["assign"] for image, _ in table["broken"]]


@pytest.mark.parametrize(
    ("table", "image"),
    broken_rows(),
    ids=lambda value: str(value["resolution"] if "rows" in value else value),
)
def test_the_rows_that_break_kohyas_rule_work_and_it_is_said(table: dict, image: list[int]) -> None:
    step = table["steps"]
    placing = bucketing(
        resolution=table["resolution"][0], bucket_reso_steps=step, bucket_no_upscale=table["no_upscale"]
    )
    placement = placing.place((image[0], image[1]))
    assert all(side >= step and side % step == 0 for side in placement.bucket)
    assert "because no side can be below" in placement.note or "only the middle" in placement.note


def test_other_rows_need_no_note() -> None:
    placing = bucketing(resolution=512, bucket_no_upscale=True)
    assert [placing.place(size).note for size in [(512, 512), (4000, 3000), (65, 129)]] == [""] * 3
    rounded = bucketing(4, resolution=32, resolution_height=41, bucket_reso_steps=4, bucket_no_upscale=True)
    assert (rounded.place((20, 68)).bucket, rounded.place((20, 68)).note) == ((20, 68), "")


def test_the_area_need_not_be_a_square() -> None:
    placing = bucketing(resolution=512, resolution_height=768)
    row = next(row for row in GOLDEN["bucket_lists"] if row["resolution"] == [512, 768])
    assert [list(bucket) for bucket in placing.buckets] == row["buckets"]
    assert bucketing(resolution=512, resolution_height=768, enable_bucket=False).buckets == ((512, 768),)


def test_the_cut_is_from_the_middle() -> None:
    placement = bucketing(resolution=64, enable_bucket=False).place((101, 50))
    assert (placement.bucket, placement.resized) == ((64, 64), (129, 64))
    assert placement.corner == (32, 0)


def test_without_buckets_everything_is_one_square() -> None:
    placing = bucketing(resolution=520, enable_bucket=False, size_step=16)
    assert placing.buckets == ((512, 512),)


def test_steps_fit_the_base_model_and_the_change_is_said() -> None:
    placing = bucketing(size_step=16, resolution=512, bucket_reso_steps=40)
    assert placing.step == 80
    assert all(side % 80 == 0 for bucket in placing.buckets for side in bucket)
    assert "becomes 80" in placing.notes[0]


def test_limits_beyond_the_resolution_are_moved_and_said() -> None:
    placing = bucketing(resolution=128, bucket_reso_steps=8)
    assert "min_bucket_reso 256 becomes 128" in placing.notes[0]
    assert "no other bucket" in placing.notes[1]
    placing = bucketing(resolution=512, max_bucket_reso=256, min_bucket_reso=256)
    assert "max_bucket_reso 256 becomes 512" in placing.notes[0]


def test_a_resolution_below_the_step_still_works() -> None:
    placing = bucketing(resolution=32, min_bucket_reso=8, size_step=4)
    assert placing.place((300, 200)).bucket == (32, 32)


def test_sides_need_not_be_multiples_of_anything() -> None:
    """512,650 as presets have it: sd-scripts makes the buckets from the area alone, in steps of 64."""
    found = bucketing(resolution=512, resolution_height=650)
    wide = [(576, 576), (640, 512), (704, 448), (768, 384), (832, 384), (896, 320), (960, 320), (1024, 256)]
    wide += [(1024, 320)]
    assert list(found.buckets) == sorted({*wide, *((height, width) for width, height in wide)})
    assert found.notes == ()
    assert found.place((1024, 1300)).bucket == (512, 640)
    whole = bucketing(resolution=512, resolution_height=650, enable_bucket=False)
    assert whole.buckets == ((512, 648),)
    assert bucketing(bucket_reso_steps=1).step == 8


@st.composite
def placements(draw: st.DrawFn) -> tuple[Bucketing, tuple[int, int], int]:
    least, most = sorted((draw(st.integers(32, 1024)), draw(st.integers(32, 2048))))
    step = draw(st.sampled_from([4, 8, 16]))
    placing = bucketing(
        step,
        resolution=draw(st.integers(32, 1024)),
        resolution_height=draw(st.none() | st.integers(32, 1024)),
        min_bucket_reso=least,
        max_bucket_reso=most,
        bucket_reso_steps=draw(st.sampled_from([1, 8, 24, 64, 128])),
        enable_bucket=draw(st.booleans()),
        bucket_no_upscale=draw(st.booleans()),
    )
    return placing, (draw(st.integers(1, 5000)), draw(st.integers(1, 5000))), step


@examples(150)
@given(placements())
def test_any_picture_fills_a_bucket_that_the_model_can_take(
    drawn: tuple[Bucketing, tuple[int, int], int],
) -> None:
    placing, size, step = drawn
    placement = placing.place(size)
    assert placement.original == size
    for side in (0, 1):
        assert placement.bucket[side] >= step
        assert placement.bucket[side] % placing.step == placing.step % step == 0
        assert 0 <= placement.corner[side] <= placement.resized[side] - placement.bucket[side]
    rounded = 0 if placing.buckets else 2 * sum(placement.bucket)  # Kohya's sides are rounded, also up
    assert placement.bucket[0] * placement.bucket[1] <= placing.area + rounded
    if placing.buckets:
        assert placement.bucket in placing.buckets
        shape = size[0] / size[1]
        assert abs(placement.aspect_error) == min(abs(b[0] / b[1] - shape) for b in placing.buckets)
    elif not placement.note:
        assert placement.resized[0] <= size[0] + 1
        assert placement.resized[1] <= size[1] + 1
