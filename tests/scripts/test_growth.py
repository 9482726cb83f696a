"""scripts/bench/growth.py: it measures each of its parts, and a steep one is told from a linear one."""

from __future__ import annotations

import json

import pytest

from scripts.bench.growth import STEEP, exponent, main


def test_the_exponent_tells_linear_from_worse() -> None:
    assert exponent({10: 0.01, 100: 0.1, 1000: 1.0}) == pytest.approx(1.0)
    assert exponent({10: 0.01, 100: 0.1, 1000: 10.0}) == pytest.approx(2.0)
    assert exponent({100: 0.001, 1000: 0.01}) is None
    assert STEEP > 1


@pytest.mark.slow
def test_all_parts_are_measured(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--most", "100", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {what.partition(":")[0] for what in found} == {
        *("pictures", "library", "LoRAs", "drawn pictures", "history", "log")
    }
    assert all([*figures["seconds"]] == ["10", "100"] for figures in found.values())
