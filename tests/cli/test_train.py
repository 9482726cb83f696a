"""`lora-studio train`: what it refuses and how, what it makes, and how it stops."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from lora_studio.cli.train import parse_setting
from lora_studio.data.ingestion.given_files import find_files
from lora_studio.errors import ConfigError, DatasetError
from lora_studio.lora.file.lora_files import find_file, read_header
from tests.conftest import StudioFolders
from tests.support.command import QUICK, Command, stored_job
from tests.support.serving import CHECKOUT
from tests.support.tiny import make_pictures
from tests.support.waiting import PATIENCE


def test_a_training_leaves_a_lora_in_the_library(
    train_quickly: Command, command: Command, studio_folders: StudioFolders
) -> None:
    outcome = train_quickly("--trigger", "dsc", "--json", "--set", "sample_every_n_steps=1")
    assert outcome.code == 0, outcome.err
    assert outcome.json["status"] == "finished"
    assert outcome.json["step"] == outcome.json["total_steps"] == 2
    folder = studio_folders.models / "lora" / "my-disc"
    assert outcome.json["result"] == str(folder)
    assert read_header(find_file(folder)).network_dim == 2
    assert "4 pictures, 4 with a caption." in outcome.err
    assert "Training 100%" in outcome.err
    (listed,) = command("list", "--json").json["loras"]
    assert (listed["slug"], listed["title"], listed["trigger_word"]) == ("my-disc", "My disc", "dsc")
    (job,) = command("status", "--json").json["jobs"]
    assert (job["status"], job["progress"]) == ("finished", 100.0)


def test_a_training_can_be_repeated_from_its_settings(
    train_quickly: Command, command: Command, studio_folders: StudioFolders
) -> None:
    train_quickly("--set", "sample_every_n_steps=0", "--set", "seed=7")
    written = studio_folders.models / "lora" / "my-disc" / "training.json"
    outcome = command("train", "--config", written, "--name", "Again", "--steps", 1, "--json")
    assert outcome.code == 0, outcome.err
    again = studio_folders.models / "lora" / "again" / "training.json"
    first, second = (json.loads(path.read_text("utf-8")) for path in (written, again))
    first, second = first.get("config", first), second.get("config", second)
    assert second["network"] == first["network"]
    assert second["optimizer"] == {**first["optimizer"], "max_train_steps": 1}
    assert second["optimizer"]["seed"] == 7


@pytest.mark.slow
def test_a_used_name_gets_a_number(train_quickly: Command) -> None:
    names = [
        Path(train_quickly("--json", "--set", "sample_every_n_steps=0", steps=1).json["result"]).name
        for _ in range(2)
    ]
    assert names == ["my-disc", "my-disc-2"]


def test_jobs_of_a_process_that_is_gone_are_left_to_the_studio(
    train_quickly: Command, command: Command
) -> None:
    store, waiting = stored_job("left-behind", owner="gone:1:0", started=False)
    outcome = train_quickly("--set", "sample_every_n_steps=0", steps=1)
    assert outcome.code == 0, outcome.err
    assert store.get(waiting.id).status == "queued"


def test_one_picture_works_with_a_warning(train_quickly: Command, tmp_path: Path) -> None:
    make_pictures(tmp_path / "single", ((64, 64),))
    outcome = train_quickly("--images", tmp_path / "single", "--set", "sample_every_n_steps=0", steps=1)
    assert outcome.code == 0, outcome.err
    assert "Warning: " in outcome.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--images", "nowhere"), "nowhere does not exist."),
        (("--images", "setup.txt"), "setup.txt is not a folder."),
        (("--images", "empty"), "There are no pictures in empty."),
        (("--name", ""), "The name is empty."),
        (("--name", "../up"), "contains a slash"),
        (("--steps", "0"), "max_train_steps"),
        (("--steps", "many"), "max_train_steps"),
        (("--base", "nothing-like-it"), "There is no base model 'nothing-like-it'"),
        (("--set", "network_dims=8"), "Did you mean network_dim?"),
        (("--set", "network_dim"), "a setting is written as key=value"),
        (("--set", "network_dim=-1"), "network_dim"),
        (("--set", "output_dir=x"), "output_dir can't be set here."),
        (("--config", "missing.json"), "missing.json can't be read"),
        (("--config", "setup.txt"), "setup.txt is not JSON."),
    ],
)
def test_wrong_input_is_one_sentence_and_leaves_nothing(
    train_quickly: Command,
    studio_folders: StudioFolders,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, str],
    said: str,
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "setup.txt").write_text("not a folder", "utf-8")
    monkeypatch.chdir(tmp_path)
    outcome = train_quickly(*arguments)
    assert outcome.code == 2
    assert said in outcome.err
    assert outcome.err.startswith("error: ")
    assert len(outcome.err.splitlines()) == 1
    for folder in (studio_folders.home / "datasets", studio_folders.models / "lora"):
        assert not folder.exists() or list(folder.iterdir()) == []


def make_text_named_png(folder: Path) -> None:
    (folder / "note.png").write_text("I am no picture.", "utf-8")


def make_truncated_jpeg(folder: Path) -> None:
    whole = folder / "whole.jpg"
    Image.effect_noise((256, 256), 60).convert("RGB").save(whole)
    (folder / "cut.jpg").write_bytes(whole.read_bytes()[:2000])
    whole.unlink()


def make_huge_picture(folder: Path) -> None:
    Image.new("1", (10_000, 10_000)).save(folder / "huge.png")


BROKEN = [
    (make_text_named_png, "note.png"),
    (make_truncated_jpeg, "cut.jpg"),
    (make_huge_picture, "huge.png"),
]


@pytest.mark.parametrize(("make", "name"), BROKEN)
def test_a_bad_file_alone_is_refused_by_name(
    train_quickly: Command, tmp_path: Path, make: object, name: str
) -> None:
    folder = tmp_path / "bad"
    folder.mkdir()
    make(folder)  # type: ignore[operator]
    outcome = train_quickly("--images", folder)
    assert outcome.code == 2
    assert name in outcome.err
    assert "Traceback" not in outcome.err


@pytest.mark.slow
def test_bad_files_among_good_ones_are_left_out(
    train_quickly: Command, pictures: Path, command: Command
) -> None:
    for make, _ in BROKEN:
        make(pictures)
    outcome = train_quickly("--set", "sample_every_n_steps=0", steps=1)
    assert outcome.code == 0, outcome.err
    assert "4 pictures, 4 with a caption." in outcome.err
    left_out = [line for line in outcome.err.splitlines() if line.startswith("Left out: ")]
    assert len(left_out) == 3
    assert all(any(name in line for line in left_out) for _, name in BROKEN)


def test_kohyas_folders_are_found(tmp_path: Path) -> None:
    make_pictures(tmp_path / "set" / "10_zwx disc")
    assert len(find_files(tmp_path / "set")) == 8


def test_a_zip_and_a_picture_are_taken_as_they_are(train_quickly: Command, pictures: Path) -> None:
    archive = pictures.parent / "set.ZIP"
    with zipfile.ZipFile(archive, "w") as packed:
        for path in sorted(pictures.iterdir()):
            packed.write(path, path.name)
    outcome = train_quickly("--images", archive, "--set", "sample_every_n_steps=0", steps=1)
    assert outcome.code == 0, outcome.err
    assert "4 pictures, 4 with a caption." in outcome.err
    single = next(pictures.glob("*.png"))
    other = archive.with_suffix(".jxl")
    other.touch()
    assert (find_files(single), find_files(other)) == ([single], [other])
    outcome = train_quickly("--images", archive, "--save-kohya-config", pictures.parent / "set.toml")
    assert outcome.code == 2
    assert "folder" in outcome.err


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".hidden").touch()
    with pytest.raises(DatasetError, match="no pictures"):
        find_files(tmp_path)


def test_parse_setting() -> None:
    assert parse_setting("sample_prompts=a = b") == ("sample_prompts", "a = b")
    with pytest.raises(ConfigError, match="Did you mean learning_rate"):
        parse_setting("learningrate=1")


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows sends no SIGINT to one process alone")
def test_ctrl_c_stops_within_a_step_and_keeps_a_loadable_file(
    tiny_base: Path, pictures: Path, studio_folders: StudioFolders, command: Command
) -> None:
    options = ["--images", pictures, "--name", "Cut", "--kind", "object", "--base", tiny_base]
    quiet = ["--set", "sample_every_n_steps=0", "--steps", "100000"]
    process = subprocess.Popen(
        [sys.executable, "-m", "lora_studio", "train", *map(str, options), *QUICK, *quiet],
        cwd=CHECKOUT,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and process.poll() is None:
            if any(job["step"] >= 2 for job in command("status", "--json").json["jobs"]):
                break
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    assert process.returncode == 130, err
    assert "Stopping after this step" in err
    (job,) = command("status", "--json").json["jobs"]
    assert job["status"] == "stopped"
    assert job["result"] in out
    assert read_header(find_file(studio_folders.models / "lora" / "cut")).tensors
