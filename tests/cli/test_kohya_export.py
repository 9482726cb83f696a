"""What `--save-kohya-config` writes, read by sd-scripts' own rules."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from lora_studio.config import TrainConfig
from lora_studio.data.edits.overlay import apply_edits
from lora_studio.data.edits.picture_edits import RemovePicture
from lora_studio.data.training_set.folders import read_folder
from lora_studio.kohya_config import read_file
from tests.support import sd_scripts_rules as theirs
from tests.support.command import Command
from tests.support.tiny import make_pictures


def captions_of(config: TrainConfig) -> dict[str, str]:
    return {picture.path.name: picture.caption for picture in read_folder(config.dataset).pictures}


def exported(command: Command, file: Path, *arguments: object) -> TrainConfig:
    outcome = command("train", *arguments, "--save-kohya-config", file)
    assert outcome.code == 0, outcome.err
    return read_file(file).config()


def test_prompts_are_written_for_it(train_quickly: Command, tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    more = ("--sample_every_n_steps", 1, "--sample_prompts", "# a cat\n in a hat", "a dog")
    outcome = train_quickly(*more, "--save-kohya-config", file)
    assert outcome.code == 0, outcome.err
    options = theirs.arguments(file)
    assert options["sample_every_n_steps"] == 1
    facts = {"w": 64, "h": 64, "s": 2, "l": 7.5}
    assert theirs.prompts(options) == [("a cat in a hat", {**facts, "d": 1}), ("a dog", {**facts, "d": 2})]
    assert read_file(file).config().preview.sample_prompts == ("# a cat\n in a hat", "a dog")
    again = train_quickly(*more, "--save-kohya-config", file)
    assert again.code == 2


def test_without_previews_there_is_no_file_of_prompts(train_quickly: Command, tmp_path: Path) -> None:
    outcome = train_quickly("--sample_every_n_steps", 0, "--save-kohya-config", tmp_path / "new" / "run.toml")
    assert outcome.code == 0, outcome.err
    assert "sample_prompts" not in theirs.arguments(tmp_path / "new" / "run.toml")
    assert not list(tmp_path.rglob("*prompts*"))


@pytest.mark.parametrize("ending", [".txt", ".caption"])
def test_a_plain_folder_becomes_a_dataset_with_its_captions(
    command: Command, tiny_base: Path, tmp_path: Path, ending: str
) -> None:
    folder = make_pictures(tmp_path / "pictures")
    for number, path in enumerate(sorted(folder.glob("*.txt"))):
        path.unlink()
        path.with_suffix(ending).write_text(f"disc number {number}", "utf-8")
    ours = ("--images", folder, "--name", "Disc", "--kind", "object", "--trigger", "zwx", "--base", tiny_base)
    config = exported(command, tmp_path / "run.toml", *ours, "--num_repeats", 3)
    seen = theirs.pictures(theirs.arguments(tmp_path / "run.toml"))
    assert {one.name: one.caption for one in seen} == captions_of(config)
    assert {one.repeats for one in seen} == {3}
    assert config.dataset.dataset_config == ""
    assert all(one.caption.startswith("zwx, disc number") for one in seen)


def test_edits_that_sd_scripts_will_not_see_are_said(
    command: Command, tiny_base: Path, tmp_path: Path
) -> None:
    folder = make_pictures(tmp_path / "4_zwx disc")
    apply_edits(folder, [RemovePicture("picture-00.png")])
    ours = ("--images", folder, "--name", "Disc", "--kind", "object", "--trigger", "zwx", "--base", tiny_base)
    done = command("train", *ours, "--save-kohya-config", tmp_path / "run.toml")
    assert "as they were before your edits" in done.out + done.err


def test_kohyas_folders_stay_where_they_are(command: Command, tiny_base: Path, tmp_path: Path) -> None:
    make_pictures(tmp_path / "set" / "4_zwx disc")
    make_pictures(tmp_path / "reg" / "1_disc")
    source = tmp_path / "own.toml"
    source.write_text(
        f"pretrained_model_name_or_path = '{tiny_base}'\ntrain_data_dir = '{tmp_path / 'set'}'\n"
        f"reg_data_dir = '{tmp_path / 'reg'}'\nresolution = 64",
        "utf-8",
    )
    config = exported(command, tmp_path / "run.toml", "--kohya-config", source)
    options = theirs.arguments(tmp_path / "run.toml")
    assert "dataset_config" not in options
    assert options["caption_extension"] == ".txt"
    seen = theirs.pictures(options)
    assert sorted(one.caption for one in seen) == sorted(
        picture.caption for picture in read_folder(config.dataset).pictures
    )
    assert {(one.repeats, one.is_reg) for one in seen} == {(4, False), (1, True)}


def test_captions_of_two_endings_are_said(command: Command, tiny_base: Path, tmp_path: Path) -> None:
    folder = make_pictures(tmp_path / "pictures")
    one = sorted(folder.glob("*.txt"))[0]
    one.rename(one.with_suffix(".caption"))
    ours = ("--images", folder, "--name", "Disc", "--kind", "object", "--base", tiny_base)
    outcome = command("train", *ours, "--save-kohya-config", tmp_path / "run.toml")
    assert outcome.code == 0, outcome.err
    assert "will not read 1 captions" in outcome.err


def test_a_folder_that_cannot_be_written_is_one_sentence(train_quickly: Command, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    outcome = train_quickly("--save-kohya-config", tmp_path / "file" / "run.toml")
    assert outcome.code == 2
    assert len(outcome.err.splitlines()) == 1


def test_the_file_is_toml_to_the_end(train_quickly: Command, tmp_path: Path) -> None:
    outcome = train_quickly("--sample_every_n_steps", 2, "--save-kohya-config", tmp_path / "größe 猫.toml")
    assert outcome.code == 0, outcome.err
    for path in tmp_path.glob("*.toml"):
        assert tomllib.loads(path.read_text("utf-8"))
    assert len(theirs.prompts(theirs.arguments(tmp_path / "größe 猫.toml"))) > 0


def test_a_preset_of_the_gui_is_written_and_reads_back_the_same(
    train_quickly: Command, tmp_path: Path
) -> None:
    options = ("--network_dim", 6, "--algo", "loha", "--sample_prompts", "a cat", "--network_train_unet_only")
    toml, preset = tmp_path / "run.toml", tmp_path / "run.json"
    for file in (toml, preset):
        outcome = train_quickly(*options, "--save-kohya-config", file)
        assert outcome.code == 0, outcome.err
    config = read_file(preset).config()
    assert (config.network.network_dim, config.network.algo) == (6, "loha")
    assert config.dataset.resolution == read_file(toml).config().dataset.resolution
    assert config.optimizer == read_file(toml).config().optimizer
