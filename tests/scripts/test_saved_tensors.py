"""scripts/bench/saved_tensors.py at full size: of what a step keeps, about half is enough."""

from __future__ import annotations

import json

import pytest

from scripts.bench.saved_tensors import main


@pytest.mark.slow
@pytest.mark.parametrize("options", [[], ["--large", "--precision", "bf16"]])
def test_a_large_step_keeps_about_half(capsys: pytest.CaptureFixture[str], options: list[str]) -> None:
    assert main([*options, "--resolutions", "512", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)["512"]
    assert 0.3 < figures["ratio"] < 0.7
    assert 500 < figures["frugal MiB"] < figures["plain MiB"] < 2000
