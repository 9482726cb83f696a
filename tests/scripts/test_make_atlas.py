"""The effects atlas: its strips are about settings that exist, the committed pages have all of them with what
is seen in each, and a tiny atlas is made whole, and goes on where it was."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from lora_studio.config import TrainConfig, config_leaves
from lora_studio.request import GenerateRequest, LoraUse
from lora_studio.settings import CHECKOUT
from scripts.make_atlas.__main__ import main
from scripts.make_atlas.atlas_page import sections_of
from scripts.make_atlas.strips import IMAGES, STRIPS, TRIGGERED, Strip

OF_DRAWING = {*GenerateRequest.model_fields, *LoraUse.model_fields, TRIGGERED}
LEAVES = {leaf.name: leaf for leaf in config_leaves()}
DOCS = CHECKOUT / "docs"
BASES = ("starter", "starter-flow")
MOST_BYTES = 8_000_000


def of(setting: str) -> Strip:
    return next(strip for strip in STRIPS if strip.setting == setting)


def test_each_strip_is_about_something_that_can_be_set() -> None:
    for strip in STRIPS:
        assert strip.setting in (OF_DRAWING if strip.drawing else {*LEAVES, IMAGES})
        assert len(set(strip.values)) == len(strip.values) >= 2
        assert strip.fixed.keys() <= GenerateRequest.model_fields.keys()


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
                TrainConfig.from_values({**inputs, **strip.changes(value)})


def test_a_label_says_what_the_preset_and_the_base_bring() -> None:
    assert of("network_dim").label(None, "starter") == "8 (preset)"
    assert of("learning_rate").label(None, "starter-flow") == "0.006 (preset)"
    assert of("learning_rate").label(1e-4, "starter") == "0.0001"
    assert of("min_snr_gamma").label(None, "starter") == "off (preset)"
    assert of("network_train_unet_only").label(False, "starter") == "off"
    assert of(IMAGES).label(None, "starter") == "10 (preset)"
    assert of("sampler").label(None, "starter") == "DDIM (base)"


@pytest.mark.parametrize("base", BASES)
def test_the_committed_page_has_each_strip_and_what_is_seen_in_it(base: str) -> None:
    sections = sections_of((DOCS / f"atlas-{base}.md").read_text("utf-8"))
    assert list(sections) == [strip.setting for strip in STRIPS if base in strip.seen]
    for strip in STRIPS:
        if base in strip.seen:
            assert strip.suits(base)
            assert f"\n{strip.about} {strip.seen[base]}\n" in sections[strip.setting]
            for value in strip.values:
                assert f"\n| {strip.label(value, base)} | " in sections[strip.setting]
    assert base != "starter" or all(base in strip.seen for strip in STRIPS if strip.suits(base))


def test_the_pictures_are_small() -> None:
    files = list((DOCS / "img" / "atlas").glob("*.webp"))
    assert len(files) >= len([strip for strip in STRIPS if strip.suits("starter")])
    assert sum(file.stat().st_size for file in files) < MOST_BYTES


@pytest.mark.slow  # four trainings of two steps, twelve pictures
def test_a_tiny_atlas_is_made(tmp_path: Path) -> None:
    def make(*settings: str) -> str:
        keep = ("--keep", str(tmp_path / "keep"))
        assert main(["--tiny", "--only", *settings, *keep, "--out", str(tmp_path)]) == 0
        return (tmp_path / "atlas-starter.md").read_text("utf-8")

    make("network_dim", IMAGES)
    trained = (tmp_path / "keep" / "home" / "atlas.json").read_bytes()
    page = make("weight")
    assert (tmp_path / "keep" / "home" / "atlas.json").read_bytes() == trained
    assert list(sections_of(page)) == ["network_dim", IMAGES, "weight"]
    files = sorted(path.name for path in (tmp_path / "img" / "atlas").iterdir())
    assert files == ["starter-network_dim.webp", "starter-pictures.webp", "starter-weight.webp"]
    assert all(f"img/atlas/{name}" in page for name in files)
    assert "| 1 | 2 |" in page
    with Image.open(tmp_path / "img" / "atlas" / "starter-weight.webp") as sheet:
        assert sheet.width > 2 * 128
