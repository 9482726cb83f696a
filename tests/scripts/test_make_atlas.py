"""The effects atlas: its strips are about settings that exist, and a tiny one is made whole."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from lora_studio.config import TrainConfig, config_leaves
from lora_studio.request import GenerateRequest, LoraUse
from scripts.make_atlas import IMAGES, STRIPS, TRIGGERED, main

OF_DRAWING = {*GenerateRequest.model_fields, *LoraUse.model_fields, TRIGGERED}
LEAVES = {leaf.name: leaf for leaf in config_leaves()}


def test_each_strip_is_about_something_that_can_be_set() -> None:
    for strip in STRIPS:
        assert strip.setting in (OF_DRAWING if strip.drawing else {*LEAVES, IMAGES})
        assert len(set(strip.values)) == len(strip.values) >= 2


def test_each_value_can_be_trained_with() -> None:
    inputs = {
        "pretrained_model_name_or_path": "starter",
        "train_data_dir": "x",
        "output_name": "x",
        "output_dir": "x",
    }
    for strip in STRIPS:
        if not strip.drawing and strip.setting != IMAGES:
            for value in strip.values:
                given = {} if value is None else {strip.setting: value}
                TrainConfig.from_values({**inputs, **given})


@pytest.mark.slow  # four trainings of two steps, eight pictures
def test_a_tiny_atlas_is_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["--tiny", "--only", "network_dim", IMAGES, "weight", "--out", str(tmp_path)])
    assert code == 0
    assert "4 trainings" in capsys.readouterr().out
    page = (tmp_path / "atlas-starter.md").read_text("utf-8")
    files = sorted(path.name for path in (tmp_path / "img" / "atlas").iterdir())
    assert files == ["starter-network_dim.webp", "starter-pictures.webp", "starter-weight.webp"]
    assert all(f"img/atlas/{name}" in page for name in files)
    assert "| network_dim 1 | 2 |" in page
    with Image.open(tmp_path / "img" / "atlas" / "starter-weight.webp") as sheet:
        assert sheet.width > 2 * 128
