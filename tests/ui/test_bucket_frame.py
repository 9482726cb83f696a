"""The sizes that the frame of a crop on Upload is drawn by: those that the training would cut pictures to."""

from __future__ import annotations

import json
import re
from html import unescape
from typing import Any

import pytest

from lora_studio.errors import ModelFileError
from lora_studio.settings import Settings
from lora_studio.training.preparation.check_options import options_for
from lora_studio.ui.picture_sets.bucket_frame import BUCKETED, buckets_of


def sizes(settings: Settings, **typed: Any) -> list[tuple[int, int]]:
    html = buckets_of(["starter", "style", *(typed.get(name) for name in BUCKETED)], settings)
    found = re.search(r'data-buckets="([^"]*)"', html)
    assert found
    return [(wide, high) for wide, high in json.loads(unescape(found[1]))]


def test_they_are_those_that_the_pictures_are_checked_for(settings: Settings) -> None:
    for values in ({}, {"resolution": 96}, {"resolution": 128, "bucket_reso_steps": 32}):
        typed = {name: str(value) for name, value in values.items()}
        expected = options_for("starter", settings, kind="style", values=values).bucketing.buckets
        assert sizes(settings, **typed) == [*expected]
        assert len(expected) > 1


def test_the_options_of_buckets_count(settings: Settings) -> None:
    assert sizes(settings, resolution="96", enable_bucket="off") == [(96, 96)]
    assert sizes(settings, bucket_no_upscale="on") == []
    assert max(map(max, sizes(settings, resolution="64", max_bucket_reso="80"))) <= 80
    assert sizes(settings, resolution="half", resolution_height="") == sizes(settings)


def test_a_base_that_is_none_is_refused(settings: Settings) -> None:
    with pytest.raises(ModelFileError):
        buckets_of(["nowhere", None, *(None for _ in BUCKETED)], settings)
