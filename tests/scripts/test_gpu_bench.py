"""scripts/bench/gpu.py on tiny models: it measures all it names, and ends by its own clock."""

from __future__ import annotations

import json

import pytest
from accelerate import init_empty_weights

from scripts.bench.full_size import zimage_pipeline
from scripts.bench.gpu import CASES, main

PARTS = ("training", "bare training", "drawing", "bare drawing", "training, all kept")


@pytest.mark.slow
def test_all_is_measured_beside_diffusers(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--tiny", "--steps", "3"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["left out"] == []
    assert [*found["cases"]] == [case.name for case in CASES]
    for figures in found["cases"].values():
        for part in PARTS:
            assert all(value > 0 for value in figures[part].values()), figures[part]
        assert figures["training"]["steps"] == figures["bare training"]["steps"] == 3
        assert figures["training, ours by diffusers'"]["seconds a step"] > 0
        assert figures["training, ours by all kept"]["most GB"] > 0
        assert figures["drawing, ours by diffusers'"]["seconds a picture"] > 0


@pytest.mark.slow
def test_what_there_is_no_time_for_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--tiny", "--seconds", "0"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["cases"] == {}
    assert found["left out"] == [case.name for case in CASES]


@pytest.mark.slow
def test_the_flow_model_has_its_full_size() -> None:
    with init_empty_weights():
        pipeline = zimage_pipeline()
    assert sum(weight.numel() for weight in pipeline.transformer.parameters()) == 6_154_908_736
