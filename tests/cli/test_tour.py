"""`lora-studio tour`: the whole job on an example set. A few steps here; bench/learns.py trains in full."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from lora_studio.cli.tour import EXAMPLES
from lora_studio.settings import CHECKOUT
from lora_studio.training_request import StartTraining
from tests.conftest import StudioFolders
from tests.support.command import Command


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_examples_are_there(name: str) -> None:
    folder = CHECKOUT / "examples" / name
    pictures = list(folder.glob("*.png"))
    assert len(pictures) >= 8
    for picture in pictures:
        assert EXAMPLES[name].trigger in picture.with_suffix(".txt").read_text("utf-8")


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_tour_asks_for_what_the_pictures_do_not_show(name: str) -> None:
    captions = {path.read_text("utf-8").strip() for path in (CHECKOUT / "examples" / name).glob("*.txt")}
    assert not captions & set(EXAMPLES[name].prompts)


@pytest.mark.parametrize("base", ["starter", pytest.param("starter-flow", marks=pytest.mark.slow)])
def test_the_whole_job(
    command: Command, studio_folders: StudioFolders, monkeypatch: pytest.MonkeyPatch, base: str
) -> None:
    short = replace(EXAMPLES["alien"], prompts=EXAMPLES["alien"].prompts[:1])
    monkeypatch.setitem(EXAMPLES, "alien", short)
    few = {"sample_prompts": ("zwx",), "sample_steps": 2}
    monkeypatch.setattr(
        "lora_studio.cli.tour.StartTraining",
        lambda *, overrides, **values: StartTraining(overrides={**few, **overrides}, **values),
    )
    outcome = command("tour", "--base", base, "--steps", 2, "--json")
    assert outcome.code == 0, outcome.err
    result = outcome.json
    assert Path(result["folder"]) == studio_folders.home / "tour" / "tour-alien"
    assert Path(result["lora"]) == studio_folders.models / "lora" / "tour-alien"
    assert len(result["pairs"]) == len(short.prompts) == 1
    for pair in result["pairs"]:
        base, with_lora = (Image.open(pair[side]).convert("RGB").tobytes() for side in ("base", "lora"))
        assert base != with_lora
    with Image.open(result["sheet"]) as sheet:
        assert sheet.width > 3 * 128
        assert sheet.height > len(result["pairs"]) * 128
    assert set(result["seconds"]) == {"open", "check", "train", "images", "total"}
    assert "10 pictures, 10 with a caption." in outcome.err
