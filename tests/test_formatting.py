from __future__ import annotations

import pytest

from lora_studio import formatting


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (-3, "0 s"),
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (200, "3 min 20 s"),
        (3599, "59 min"),
        (3600, "1 h 00 min"),
        (7500, "2 h 05 min"),
    ],
)
def test_durations(seconds: float, said: str) -> None:
    assert formatting.duration(seconds) == said


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (0, "0 kB"),
        (400, "1 kB"),
        (474_000, "474 kB"),
        (36_100_000, "36.1 MB"),
        (999_960_000, "1 GB"),
        (2_740_000_000, "2.7 GB"),
    ],
)
def test_sizes(count: int, said: str) -> None:
    assert formatting.size(count) == said


def test_counts_and_small_numbers() -> None:
    assert formatting.counted(1, "picture") == "1 picture"
    assert formatting.counted(3, "picture") == "3 pictures"
    assert (formatting.short(0.12345), formatting.short(0.00001)) == ("0.1235", "1.0e-05")
    assert formatting.moment(0) == ""
