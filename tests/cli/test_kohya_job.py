"""`lora-studio train` with sd-scripts' argument TOML, and with sd-scripts as the engine."""

from __future__ import annotations

import json
import sys
import tomllib
from pathlib import Path

import pytest

from lora_studio.kohya_config import from_toml
from lora_studio.lora.file.lora_files import find_file, read_header
from lora_studio.parsing.toml_text import write_value
from tests.conftest import StudioFolders
from tests.support.command import Command
from tests.support.tiny import make_pictures

CHECKOUT = Path(__file__).resolve().parents[1] / "jobs" / "sd_scripts_checkout"


@pytest.fixture
def kohya_folder(tmp_path: Path) -> Path:
    make_pictures(tmp_path / "set" / "3_zwx disc")
    return tmp_path / "set"


def write(path: Path, **options: object) -> Path:
    lines = ["[basic_arguments]", *(f"{name} = {write_value(value)}" for name, value in options.items())]
    path.write_text("\n".join(lines), "utf-8")
    return path


@pytest.fixture
def quick(tiny_base: Path, kohya_folder: Path, tmp_path: Path) -> dict[str, object]:
    return {
        "pretrained_model_name_or_path": str(tiny_base),
        "train_data_dir": str(kohya_folder),
        "output_dir": str(tmp_path / "loras"),
        "output_name": "My Disc v1",
        "resolution": "64,64",
        "network_dim": 2,
        "learning_rate": 1e-3,
        "max_train_steps": 2,
        "xformers": True,
    }


def test_a_file_is_run_and_its_lora_lies_in_both_places(
    command: Command, quick: dict[str, object], studio_folders: StudioFolders, tmp_path: Path
) -> None:
    outcome = command("train", "--kohya-config", write(tmp_path / "a.toml", **quick), "--json")
    assert outcome.code == 0, outcome.err
    folder = studio_folders.models / "lora" / "my-disc-v1"
    assert outcome.json["result"] == str(folder)
    assert outcome.json["name"] == "My Disc v1"
    assert read_header(find_file(folder)).metadata["ss_network_alpha"] == "1.0"
    copy = tmp_path / "loras" / "My Disc v1.safetensors"
    assert copy.read_bytes() == find_file(folder).read_bytes()
    assert "xformers" in outcome.err
    trained = json.loads((folder / "training.json").read_text("utf-8"))["config"]
    assert trained["dataset"]["trigger_word"] == ""
    again = command(
        "train", "--kohya-config", tmp_path / "a.toml", "--steps", 1, "--network_dim", 3, "--json"
    )
    assert again.code == 0, again.err
    assert Path(again.json["result"]).name == "my-disc-v1-2"
    assert again.json["total_steps"] == 1
    assert read_header(find_file(again.json["result"])).network_dim == 3
    assert "is there already and stays" in again.err


def test_epochs_are_counted_from_the_pictures(
    command: Command, quick: dict[str, object], tmp_path: Path
) -> None:
    """Four pictures three times each; `tests.support.tiny` makes them of sizes that share no bucket of 64."""
    del quick["max_train_steps"]
    file = write(tmp_path / "a.toml", **quick, max_train_epochs=2, train_batch_size=1, save_every_n_epochs=1)
    saved = tmp_path / "written.toml"
    outcome = command("train", "--kohya-config", file, "--save-kohya-config", saved)
    assert outcome.code == 0, outcome.err
    assert "An epoch has 12 steps." in outcome.err
    made = from_toml(saved.read_text("utf-8")).config()
    assert (made.optimizer.max_train_steps, made.output.save_every_n_steps) == (24, 12)
    shorter = command(
        "train", "--kohya-config", file, "--steps", 5, "--save-kohya-config", tmp_path / "b.toml"
    )
    assert shorter.code == 0, shorter.err
    assert tomllib.loads((tmp_path / "b.toml").read_text("utf-8"))["optimizer"]["max_train_steps"] == 5


def test_a_dataset_config_inside_it(command: Command, quick: dict[str, object], tmp_path: Path) -> None:
    folder = Path(str(quick.pop("train_data_dir"))) / "3_zwx disc"
    (tmp_path / "sets.toml").write_text(
        f"[[datasets]]\nresolution = 64\n[[datasets.subsets]]\nimage_dir = '{folder}'\nnum_repeats = 2\n",
        "utf-8",
    )
    file = write(tmp_path / "a.toml", **quick, dataset_config=str(tmp_path / "sets.toml"))
    outcome = command("train", "--kohya-config", file, "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.json["status"] == "finished"


def test_what_does_not_exist_here_is_refused_unless_it_may_be_left_out(
    command: Command, quick: dict[str, object], tmp_path: Path, studio_folders: StudioFolders
) -> None:
    file = write(tmp_path / "a.toml", **quick, save_model_as="ckpt", network_args=["algo=ia3"])
    outcome = command("train", "--kohya-config", file)
    assert outcome.code == 2
    assert "network_args algo=ia3" in outcome.err
    assert "save_model_as ckpt" in outcome.err
    assert len(outcome.err.splitlines()) == 1
    allowed = command(
        "train", "--kohya-config", file, "--ignore-unknown", "--save-kohya-config", tmp_path / "b"
    )
    assert allowed.code == 0, allowed.err
    assert "Passed over, since they are not built here" in allowed.err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("learnin_rate = 1", "Did you mean learning_rate?"),
        ("network_dim = ", "is not TOML"),
        ("network_dim = 'x'", "network_dim"),
    ],
)
def test_mistakes_in_the_file_are_one_sentence(
    command: Command, quick: dict[str, object], tmp_path: Path, text: str, said: str
) -> None:
    quick.pop("network_dim")
    file = write(tmp_path / "a.toml", **quick)
    file.write_text(f"{file.read_text('utf-8')}\n{text}\n", "utf-8")
    outcome = command("train", "--kohya-config", file)
    assert outcome.code == 2
    assert said in outcome.err
    assert len(outcome.err.splitlines()) == 1


def test_a_training_is_written_as_a_file_for_sd_scripts(
    train_quickly: Command, command: Command, tmp_path: Path, studio_folders: StudioFolders
) -> None:
    saved = tmp_path / "new" / "run.toml"
    outcome = train_quickly("--save-kohya-config", saved, "--flip_aug", "--conv_dim", "4", name="My disc")
    assert outcome.code == 0, outcome.err
    made = from_toml(saved.read_text("utf-8")).config()
    assert (made.output.output_name, made.output.title) == ("my-disc", "My disc")
    assert made.dataset.flip_aug is True
    assert made.network.conv_dim == 4
    assert not (studio_folders.models / "lora" / "my-disc").exists()
    refused = train_quickly("--save-kohya-config", saved)
    assert refused.code == 2
    assert "is there already" in refused.err


def test_settings_are_options_of_their_own(command: Command) -> None:
    refused = command("train", "--network_dims", "8")
    assert refused.code == 2
    help_text = command("train", "--help").out
    assert "docs/kohya.md" in help_text
    assert "--conv_dim" not in help_text
    assert len(help_text.splitlines()) < 60


@pytest.fixture
def sd_scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORA_STUDIO_SD_SCRIPTS", str(CHECKOUT))
    monkeypatch.setenv("LORA_STUDIO_SD_SCRIPTS_PYTHON", sys.executable)


@pytest.mark.usefixtures("sd_scripts")
def test_sd_scripts_runs_its_own_file_with_all_it_says(
    command: Command, quick: dict[str, object], tmp_path: Path, studio_folders: StudioFolders
) -> None:
    file = write(tmp_path / "a.toml", **quick, fp8_base=True, network_args=["algo=ia3"])
    outcome = command("train", "--kohya-config", file, "--engine", "sd-scripts", "--steps", 4, "--json")
    assert outcome.code == 0, outcome.err
    assert (outcome.json["status"], outcome.json["step"]) == ("finished", 4)
    assert (tmp_path / "loras" / "My Disc v1.safetensors").is_file()
    (told,) = studio_folders.home.glob("jobs/*/arguments.toml")
    options = tomllib.loads(told.read_text("utf-8"))
    assert options["fp8_base"] is True
    assert options["network_args"] == ["algo=ia3"]
    assert options["max_train_steps"] == 4
    assert options["output_name"] == "my-disc-v1"
    (listed,) = command("list", "--json").json["loras"]
    assert listed["slug"] == "my-disc-v1"


def test_without_a_checkout_the_engine_is_refused(train_quickly: Command) -> None:
    outcome = train_quickly("--engine", "sd-scripts")
    assert outcome.code == 2
    assert "LORA_STUDIO_SD_SCRIPTS" in outcome.err
