"""A training's own pictures on the page: those of which it learned little are shown with their captions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from lora_studio.lora.picture_report import PictureGain, write_gains
from lora_studio.records import JobRecord
from lora_studio.studio import Studio
from lora_studio.training_request import StartTraining
from lora_studio.ui.train import set_pictures
from lora_studio.ui.upload.example_pictures import example_files


@pytest.fixture
def ended(studio: Studio, tmp_path: Path) -> JobRecord:
    """A training on eleven pictures of which it learned all but two, one of them deleted since."""
    dataset = studio.datasets.create("Ink", example_files("ink"))
    job = studio.trainings.start(StartTraining(dataset_id=dataset.id, name="Ink", kind="style"))
    usual = [PictureGain(picture=f"{number}.png", before=0.4, after=0.1) for number in range(9)]
    odd = [PictureGain(picture=name, before=0.9, after=0.6) for name in ("fox.png", "gone & <b>.png")]
    write_gains(tmp_path, [*usual, *odd])
    return replace(job, result_path=str(tmp_path))


def test_pictures_of_which_little_was_learned_are_shown_with_their_captions(
    studio: Studio, ended: JobRecord
) -> None:
    said = set_pictures.far_off_note(studio, ended)
    assert "Much less was learned of these pictures" in said
    assert said.count("<img") == 1
    assert "fox, zwx style" in said
    assert "gone &amp; &lt;b&gt;.png" in said


def test_where_there_are_none_nothing_is_said(studio: Studio, ended: JobRecord, tmp_path: Path) -> None:
    write_gains(tmp_path, [])
    assert set_pictures.far_off_note(studio, ended) == ""
    assert set_pictures.far_off_note(studio, replace(ended, result_path="")) == ""


def test_some_pictures_stand_beside_the_previews(studio: Studio, ended: JobRecord) -> None:
    assert len(set_pictures.beside(studio, ended)) == set_pictures.PICTURES_BESIDE
    elsewhere = {**ended.config, "dataset": {"train_data_dir": "/"}}
    assert set_pictures.beside(studio, replace(ended, config=elsewhere)) == []
