"""sd-scripts' command lines behind `lora-studio train`."""

from __future__ import annotations

import argparse
import io
import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lora_studio.cli import train
from lora_studio.cli.console.progress_bar import Progress
from lora_studio.cli.kohya_train.kohya_job import configured, read_kohya
from lora_studio.cli.kohya_train.pasted_command import unpack
from lora_studio.config import TrainConfig
from lora_studio.errors import ConfigError, StudioError
from lora_studio.kohya_config import from_toml
from lora_studio.kohya_config.options import OPTIONS
from tests.conftest import StudioFolders
from tests.support.command import Command
from tests.support.kohya_presets import preset
from tests.support.tiny import make_pictures

DOCUMENTED = """
accelerate launch --num_cpu_threads_per_process 1 train_network.py \\
  --pretrained_model_name_or_path="{base}" --train_data_dir={pictures} \\
  --output_dir={out} --output_name="Pasted LoRA" --save_model_as=safetensors --prior_loss_weight=1.0 \\
  --resolution=64,75 --train_batch_size=1 --max_train_epochs=2 --learning_rate=1e-4 \\
  --optimizer_type="AdamW" --optimizer_args "weight_decay=0.1" "betas=0.9,0.99" \\
  --text_encoder_lr 5e-5 5e-5 --xformers --sdpa --mixed_precision="no" --cache_latents \\
  --gradient_checkpointing --save_every_n_epochs=1 --network_module=networks.lora --network_dim=2 \\
  --network_args "conv_dim=2" "conv_alpha=1" --enable_bucket --caption_extension=.txt
"""


@pytest.fixture
def places(tiny_base: Path, tmp_path: Path) -> dict[str, Path]:
    pictures = tmp_path / "set"
    make_pictures(pictures / "3_zwx disc")
    return {"base": tiny_base, "pictures": pictures, "out": tmp_path / "out"}


def documented(places: dict[str, Path]) -> list[str]:
    return shlex.split(DOCUMENTED.format(**places).replace("\\\n", " "))


def saved(command: Command, file: Path, *arguments: object) -> TrainConfig:
    """What `lora-studio train` would run, through `--save-kohya-config`."""
    outcome = command("train", *arguments, "--save-kohya-config", file)
    assert outcome.code == 0, outcome.err
    return from_toml(file.read_text("utf-8")).config()


def check(made: TrainConfig) -> None:
    values = made.values()
    wanted: dict[str, Any] = {
        **{"resolution": 64, "resolution_height": 75, "network_dim": 2, "network_alpha": 1, "conv_dim": 2},
        **{"max_train_steps": 24, "save_every_n_steps": 12, "learning_rate": 1e-4, "text_encoder_lr": 5e-5},
        **{"weight_decay": 0.1, "optimizer_args": ("betas=0.9,0.99",), "mixed_precision": "no"},
        **{"caption_extension": ".txt", "enable_bucket": True, "trigger_word": "", "title": "Pasted LoRA"},
        **{"gradient_checkpointing": True, "sample_every_n_steps": 0},
    }
    assert {name: values[name] for name in wanted} == wanted


@pytest.mark.parametrize("launcher", [8, 0], ids=["as documented", "the options alone"])
def test_a_command_of_the_documentation(
    command: Command, places: dict[str, Path], tmp_path: Path, launcher: int
) -> None:
    words = documented(places)
    options = words[words.index("train_network.py") + 1 :]
    check(saved(command, tmp_path / "a.toml", *(words if launcher else options)))


def test_marks_of_other_shells_are_no_options(
    command: Command, places: dict[str, Path], tmp_path: Path
) -> None:
    words = [part for word in documented(places) for part in (word, "\\\n") if word != "launch"]
    check(saved(command, tmp_path / "a.toml", *words))


def test_it_is_run_and_said_so(
    command: Command, places: dict[str, Path], studio_folders: StudioFolders
) -> None:
    """Sizes that are no multiple of 8 are cut to what the base takes."""
    outcome = command("train", *documented(places), "--steps", 2, "--json")
    assert outcome.code == 0, outcome.err
    assert Path(outcome.json["result"]).name == "pasted-lora"
    assert (places["out"] / "Pasted LoRA.safetensors").is_file()
    assert "sdpa, xformers" in outcome.err


def test_single_options_go_with_our_own(train_quickly: Command, tmp_path: Path) -> None:
    options = "--network_module=networks.lora --save_model_as=safetensors --sdpa --xformers --cache_latents"
    made = tmp_path / "a.toml"
    outcome = train_quickly(
        *options.split(),
        *(
            "--max_train_epochs=3",
            "--save_every_n_epochs=1",
            "--optimizer_args",
            "weight_decay=0.2",
            "eps=1e-6",
        ),
        *("--network_args", "conv_dim=2", "--save-kohya-config", made),
    )
    assert outcome.code == 0, outcome.err
    config = from_toml(made.read_text("utf-8")).config()
    assert config.optimizer.learning_rate != 2e-6
    assert config.dataset.trigger_word
    assert (config.optimizer.max_train_steps, config.output.save_every_n_steps) == (12, 4)
    assert (config.optimizer.weight_decay, config.optimizer.optimizer_args) == (0.2, ("eps=1e-6",))
    assert config.network.conv_dim == 2


def test_epochs_are_counted_when_it_runs(train_quickly: Command) -> None:
    outcome = train_quickly("--max_train_epochs", 1, "--sample_every_n_steps", 0, "--sdpa", "--json")
    assert outcome.code == 0, outcome.err
    assert (outcome.json["status"], outcome.json["total_steps"]) == ("finished", 4)
    assert "sdpa" in outcome.err


def test_a_file_of_options_behind_the_script(
    command: Command, places: dict[str, Path], tmp_path: Path
) -> None:
    file = tmp_path / "run.toml"
    file.write_text(
        f"pretrained_model_name_or_path = '{places['base']}'\ntrain_data_dir = '{places['pictures']}'\n"
        "max_train_steps = 9\nnetwork_dim = 3\nresolution = 64\nnetwork_module = 'networks.lora'",
        "utf-8",
    )
    words = ("sdxl_train_network.py", "--config_file", tmp_path / "run", "--network_dim=5")
    made = saved(command, tmp_path / "a.toml", *words, "--max_train_epochs=1")
    assert (made.network.network_dim, made.optimizer.max_train_steps) == (5, 12)


def test_the_guis_preset_counts_steps_as_it_does(
    command: Command, places: dict[str, Path], tmp_path: Path
) -> None:
    """12 shown pictures, batches of 5, 3 epochs: 7.2 steps, rounded up."""
    more = {"pretrained_model_name_or_path": str(places["base"]), "train_data_dir": str(places["pictures"])}
    file = tmp_path / "gui.json"
    data = preset("Standard", **more, epoch=3, train_batch_size=5, save_every_n_epochs=0)
    file.write_text(json.dumps(data), "utf-8")
    made = saved(command, tmp_path / "a.toml", "--kohya-config", file)
    assert made.optimizer.max_train_steps == 8


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("accelerate", "launch", "flux_train_network.py"), "flux_train_network.py"),
        (("accelerate", "launch", "--help"), "No script"),
        (("python", "train_db.py", "--x"), "train_db.py"),
        (("train_network.py", "--network_module=networks.oft"), "networks.oft"),
        (("train_network.py", "--resume=state"), "resume"),
        (("train_network.py", "--learnin_rate=1"), "learnin_rate"),
        (("train_network.py", "--network_args", "a"), "key=value"),
        (("train_network.py", "--max_train_epochs", "many"), "max_train_epochs"),
    ],
)
def test_mistakes_are_one_sentence(command: Command, words: tuple[str, ...], said: str) -> None:
    outcome = command("train", *words)
    assert outcome.code == 2
    assert said in outcome.err
    assert len(outcome.err.splitlines()) == 1


def test_only_a_launcher_is_unpacked() -> None:
    for words in (["list"], ["train", "--images", "accelerate"], [], ["train"]):
        assert unpack(words) == words
    windows = ["train", "C:\\venv\\Scripts\\accelerate.exe", "launch", ".\\train_network.py", "--sdpa", "^"]
    assert unpack(windows) == ["train", "--sd-scripts-command", "--sdpa"]
    with pytest.raises(ConfigError):
        unpack(["train", "python3"])


WORDS = st.lists(
    st.one_of(
        st.sampled_from(
            [f"--{name}" for name in (*sorted(OPTIONS), "images", "name", "kind", "set", "trigger")]
        ),
        st.sampled_from(
            ["train_network.py", "accelerate", "\\", "1e400", "true", "none", "a=b", "0", "object"]
        ),
        st.text(max_size=8),
    ),
    max_size=12,
)


@pytest.fixture(scope="module")
def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(exit_on_error=False)
    train.add_arguments(made)
    return made


@pytest.mark.parametrize(
    ("launcher", "processes"),
    [
        ("accelerate launch --num_processes 2 --multi_gpu", ["--num_processes", "2"]),
        ("accelerate launch --num_machines=1 --num-processes=4", ["--num_processes", "4"]),
        ("torchrun --nproc_per_node 8", ["--num_processes", "8"]),
        ("accelerate launch --num_processes 1 --num_cpu_threads_per_process 2", []),
        ("accelerate launch --num_processes auto", []),
        ("accelerate launch --num_processes", []),
    ],
)
def test_as_many_processes_train_as_the_launcher_would_start(launcher: str, processes: list[str]) -> None:
    words = ["train", *launcher.split(), "train_network.py", "--network_dim", "8"]
    assert unpack(words)[2:] == [*processes, "--network_dim", "8"]


@settings(max_examples=80, deadline=None)
@given(words=WORDS, head=st.sampled_from([[], ["train_network.py"], ["accelerate", "launch"]]))
def test_any_words_are_an_answer_or_a_sentence(
    parser: argparse.ArgumentParser, words: list[str], head: list[str]
) -> None:
    try:
        arguments = parser.parse_args(unpack(["train", *head, *words])[1:])
    except (StudioError, SystemExit, argparse.ArgumentError):
        return
    try:
        described = train.describe(arguments)
        if described is None:
            train.read_wanted(arguments)
        else:
            configured(read_kohya(described), described.changes, Progress(io.StringIO()))
    except StudioError:
        return


def test_what_is_passed_over_is_said_when_it_is_only_written(train_quickly: Command, tmp_path: Path) -> None:
    outcome = train_quickly("--xformers", "--logging_dir=logs", "--save-kohya-config", tmp_path / "a.toml")
    assert outcome.code == 0, outcome.err
    assert "logging_dir, xformers" in outcome.err
