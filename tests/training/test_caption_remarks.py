"""What is said of pictures and captions before the first step, by a run and by its plan."""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image

from lora_studio.config import TrainConfig
from lora_studio.data.training_set.folders import read_folder
from lora_studio.events import Event, Noted, never_stop
from lora_studio.families.base_files.locate import find_base
from lora_studio.runtime import find_device
from lora_studio.training.measure import measure
from lora_studio.training.model import load_engine
from lora_studio.training.preparation.training_data import TrainingData, prepare_data
from tests.support.configs import ConfigMaker
from tests.support.tiny import make_pictures
from tests.support.wide_colours import WIDE

LONG = "a red square, " + ", ".join(f"detail number {number}" for number in range(60))


def prepared(config: TrainConfig, cache: Path | None = None) -> tuple[TrainingData, list[str]]:
    found = find_base(config.model.pretrained_model_name_or_path)
    engine = load_engine(config, found, find_device(), torch.float32)
    events: list[Event] = []
    data = prepare_data(engine, read_folder(config.dataset), events.append, never_stop, cache_folder=cache)
    assert data is not None
    return data, [event.message for event in events if isinstance(event, Noted)]


def saying(notes: list[str], part: str) -> list[str]:
    return [note for note in notes if part in note]


def test_captions_that_are_cut_are_said_once_with_how_much(make_config: ConfigMaker, tmp_path: Path) -> None:
    data = make_pictures(tmp_path / "data", sizes=((64, 64),) * 3)
    files = sorted(data.glob("*.png"))
    files[0].with_suffix(".txt").write_text(LONG)
    files[1].with_suffix(".txt").write_text("short")
    config = make_config(data=data)
    _, notes = prepared(config)
    said = saying(notes, "longer than the 75 tokens")
    assert len(said) == 1
    assert said[0].startswith("1 caption is")
    assert files[0].name in said[0]
    plan = measure(config)
    assert plan is not None
    assert saying(list(plan.notes), "longer than the 75 tokens") == said
    files[0].with_suffix(".txt").write_text("a red square")
    assert not saying(prepared(config)[1], "tokens")


def test_pictures_that_are_enlarged_or_lose_much_are_said(make_config: ConfigMaker, tmp_path: Path) -> None:
    data = make_pictures(tmp_path / "data", sizes=((64, 64), (640, 64), (40, 40)))
    notes = prepared(make_config(data=data))[1]
    assert len(saying(notes, "640 × 64")) == 1
    assert "cut off" in saying(notes, "640 × 64")[0]
    assert len(saying(notes, "40 × 40, 1.6 times")) == 1
    assert "enlarged" in saying(notes, "40 × 40")[0]


def test_latents_of_a_converted_picture_have_a_place_of_their_own_and_no_others(
    make_config: ConfigMaker, tmp_path: Path
) -> None:
    """A cache from before profiles were read stays good for pictures whose pixels are the same."""
    data = make_pictures(tmp_path / "data", sizes=((64, 64),) * 2)
    plain, wide = sorted(data.glob("*.png"))
    with Image.open(wide) as image:
        image.convert("RGB").save(wide, icc_profile=WIDE)
    found, notes = prepared(make_config(data=data), tmp_path / "cache")
    assert [one.reading != "" for one in found.loader.pictures] == [False, True]
    assert len(saying(notes, "with a colour profile")) == 1
    assert wide.name in saying(notes, "with a colour profile")[0]
    assert plain.name not in saying(notes, "with a colour profile")[0]
    files = {path.name for path in (tmp_path / "cache").rglob("*.latents")}
    assert found.latents.files is not None
    for one in found.loader.pictures:
        where = one.placement
        cut = (where.bucket, where.resized, where.corner, one.interpolation)
        before = found.latents.files.path_of(one.content, *cut, False, 1)
        assert (before.name in files) == (one.reading == "")
    again, notes = prepared(make_config(data=data), tmp_path / "cache")
    assert len(saying(notes, "with a colour profile")) == 1
    assert again.loader.pictures == found.loader.pictures
