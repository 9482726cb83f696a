"""Pictures that a training lays out for sd-scripts: it reads them as our own trainer does."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from lora_studio.config import TrainConfig
from lora_studio.families.base_files.found_base import FoundBase
from lora_studio.jobs.sd_scripts import launch_files
from lora_studio.parsing.toml_text import read_toml
from lora_studio.settings import Settings
from tests.support import sd_scripts_rules as theirs


@pytest.fixture
def training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrainConfig:
    """A picture is transparent, a mask has half its size, one is broken, one's folder has no masks."""
    pictures = tmp_path / "pictures"
    for folder in ("1_cat", "2_dog"):
        (pictures / folder).mkdir(parents=True)
    Image.new("RGBA", (40, 48), (255, 0, 0, 0)).save(pictures / "1_cat" / "a.png")
    Image.new("RGB", (40, 48), "red").save(pictures / "1_cat" / "b.png")
    Image.new("L", (20, 24), 128).save(pictures / "1_cat" / "b-masklabel.png")
    (pictures / "1_cat" / "c.png").write_bytes(b"no picture")
    Image.new("RGB", (40, 48), "red").save(pictures / "2_dog" / "d.png")
    found = FoundBase(name="x", path_or_id=str(tmp_path), family="sd1", layout="folder")
    monkeypatch.setattr(launch_files, "find_base", lambda *_: found)
    monkeypatch.setenv("LORA_STUDIO_HOME", str(tmp_path))
    (tmp_path / "train_network.py").touch()
    return TrainConfig.from_values(
        {
            **{"pretrained_model_name_or_path": "x", "train_data_dir": str(pictures), "output_name": "x"},
            **{"output_dir": str(tmp_path / "out"), "engine": "sd-scripts", "masked_loss": True},
        }
    )


def test_it_is_given_what_it_can_read(training: TrainConfig, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, models=tmp_path, sd_scripts=tmp_path)
    launch = launch_files.prepare(training, settings, tmp_path / "job")
    seen = theirs.pictures({"dataset_config": str(tmp_path / "job" / "dataset.toml")})
    assert [(one.name, one.caption, one.repeats) for one in seen] == [
        *(("a.png", "cat", 1), ("b.png", "cat", 1), ("d.png", "dog", 2)),
    ]
    assert launch.images == 3
    assert "c.png is not a picture. It is left out." in launch.notes
    inside = tmp_path / "job" / "pictures" / "0_1_cat"
    assert theirs.pixels(inside / "a.png").getpixel((0, 0)) == (255, 255, 255)
    assert theirs.pixels(inside.with_name("0_1_cat masks") / "a.png").getpixel((0, 0)) == (255, 255, 255)
    assert theirs.pixels(inside.with_name("0_1_cat masks") / "b.png").getpixel((0, 0)) == (128, 128, 128)


SUBSETS = """
[[datasets]]
resolution = 256
[[datasets.subsets]]
image_dir = "1_cat"
num_repeats = 5
flip_aug = true
[[datasets]]
batch_size = 3
[[datasets.subsets]]
image_dir = "2_dog"
num_repeats = 2
caption_prefix = "a photo of"
"""


def test_subsets_of_a_set_keep_what_they_have_of_their_own(training: TrainConfig, tmp_path: Path) -> None:
    """Of a set that came with a dataset config."""
    (tmp_path / "pictures" / "subsets.toml").write_text(SUBSETS, "utf-8")
    settings = Settings(home=tmp_path, models=tmp_path, sd_scripts=tmp_path)
    launch_files.prepare(training, settings, tmp_path / "job")
    datasets = read_toml((tmp_path / "job" / "dataset.toml").read_text("utf-8"), "")["datasets"]
    assert [(one["resolution"], one["batch_size"]) for one in datasets] == [([256, 256], 1), ([512, 512], 3)]
    [cats], [dogs] = (one["subsets"] for one in datasets)
    assert (cats["num_repeats"], cats["flip_aug"], "conditioning_data_dir" in cats) == (5, True, True)
    assert (dogs["num_repeats"], dogs["caption_prefix"], "flip_aug" in dogs) == (2, "a photo of", False)
