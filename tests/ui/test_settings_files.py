"""Settings in files and on the visitor's shelf: what the form makes of them, and what is written."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from lora_studio.config import TrainConfig
from lora_studio.errors import ConfigError
from lora_studio.kohya_config import KohyaOptions
from lora_studio.kohya_config.argument_file import parse_options, read_given
from lora_studio.kohya_config.settings_file import read_settings_file
from lora_studio.settings import Settings
from lora_studio.studio import Studio
from lora_studio.ui.upload import settings_files
from lora_studio.ui.upload.saved_panel import SavedActions
from lora_studio.ui.upload.settings_files import Filling, filling_of
from lora_studio.ui.widgets.settings_form import AUTOMATIC, overrides
from tests.support.html import NASTY, parse
from tests.support.kohya_presets import preset
from tests.support.refusals import refused


def read(folder: Path, text: str, name: str = "run.toml") -> KohyaOptions:
    file = folder / name
    file.write_text(text, "utf-8")
    return read_settings_file(file, name)


def filled(file: KohyaOptions, settings: Settings, images: int = 10, **planned: Any) -> Filling:
    return filling_of(file, planned, images, settings)


def test_a_file_is_filled_in_as_it_would_be_trained(tmp_path: Path, settings: Settings) -> None:
    text = (
        'network_dim = 32\nlearning_rate = 2e-4\noptimizer_type = "adamw8bit"\nmax_train_epochs = 3\n'
        'lr_scheduler = "constant_with_warmup"\nlr_warmup_steps = 0.1\ntrain_batch_size = 2\n'
        'network_args = ["conv_dim=8"]\nflip_aug = true\n'
    )
    found = filled(read(tmp_path, text), settings, network_dim=16, loss_type="huber")
    assert found.typed["max_train_steps"] == "15"
    assert found.typed["loss_type"] == "l2"  # left out: sd-scripts' default, not what is planned here
    assert "An epoch of 10 pictures has 5 steps here." in found.notes
    config = TrainConfig.from_values(
        {
            **{"pretrained_model_name_or_path": "starter", "train_data_dir": "p"},
            **{"output_name": "x", "output_dir": "o"},
            **overrides(found.typed),
        }
    )
    assert (config.network.network_dim, config.network.conv_dim) == (32, 8)
    assert config.optimizer.optimizer_type == "AdamW8bit"
    assert config.dataset.flip_aug
    assert config.optimizer.warmup_steps == 1
    nowhere = filled(read(tmp_path, text), settings, images=0)
    assert "max_train_steps" not in nowhere.typed or nowhere.typed["max_train_steps"] == "1600"
    assert any("max_train_epochs isn't taken over" in note for note in nowhere.notes)


def test_a_preset_of_the_gui_and_a_training_of_ours_are_read(tmp_path: Path, settings: Settings) -> None:
    gui = filled(read(tmp_path, json.dumps(preset("Standard")), "gui.json"), settings)
    assert gui.typed["network_dim"] == "16"
    ours = TrainConfig.from_values(
        {
            **{"pretrained_model_name_or_path": "sd15", "train_data_dir": "p", "output_name": "x"},
            **{"output_dir": "o", "resolution": 448, "sample_prompts": ("a cat", "a dog")},
        }
    )
    for data in (ours.to_json(), {"config": ours.to_json()}):
        found = filled(read(tmp_path, json.dumps(data), "training.json"), settings)
        assert (found.base, found.typed["resolution"]) == ("sd15", "448")
        assert found.typed["sample_prompts"] == "a cat\na dog"


def test_nothing_that_a_file_names_is_opened_or_taken_over(tmp_path: Path, settings: Settings) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("the password")
    text = (
        f"network_dim = 8\nsample_prompts = '{secret}'\nnetwork_weights = '{secret}'\n"
        f"sample_every_n_steps = 1\npretrained_model_name_or_path = '{secret}'\n"
        "train_data_dir = '/etc'\nreg_data_dir = '/etc'\n"
        'optimizer_type = "os.system"\n'
    )
    found = filled(read(tmp_path, text), settings)
    assert "password" not in str(found)
    assert found.base == ""
    assert not {"network_weights", "train_data_dir", "reg_data_dir", "optimizer_type"} & set(found.typed)
    said = " ".join(found.notes)
    for word in ("prompts of the previews", "network_weights", "reg_data_dir", "os.system", "isn't here"):
        assert word in said
    overrides(found.typed)


HOSTILE = (
    *("", "x", "[", "{", "[]", "{}", "null", '"x"', "[[datasets]]", "[lora_studio]\nsettings = 3\nseed = 1"),
    *("\x00", '{"LoRA_type": []}', '{"LoRA_type": {}, "lora_studio": []}', "a = " + "[" * 5000, "{" * 5000),
    *('{"model": {}, "dataset": []}', '{"config": {"model": {"clip_skip": {}}}}', "seed = 1" + "0" * 5000),
    '{"LoRA_type": "Standard", "lora_studio": {"settings": {"network_dim": {}}}}',
)


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
@pytest.mark.parametrize("name", ["run.toml", "run.json"])
def test_a_hostile_file_is_refused_in_a_sentence(
    text: str, name: str, tmp_path: Path, settings: Settings
) -> None:
    told, found = "", Filling(typed={})
    try:
        found = filled(read(tmp_path, text, name), settings)
    except ConfigError as error:
        told = str(error)
    assert len(told) < 600
    assert len(found.typed) < 300


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    big = tmp_path / "big.toml"
    big.write_bytes(b"#" * 3_000_000)
    with pytest.raises(ConfigError, match="2 MB"):
        read_settings_file(big, "big.toml")


def test_what_is_written_reads_back_and_names_no_place_here(studio: Studio, tmp_path: Path) -> None:
    typed = {"network_dim": "12", "sample_prompts": "a zwx\na zwx at night", "min_snr_gamma": "5"}
    typed["sample_every_n_steps"] = "10"
    config = settings_files.file_config(studio, ["", "style", "My ink", "zwx", "starter"], typed)
    files = settings_files.sd_scripts_files(config)
    assert list(files) == ["my-ink.toml", "my-ink-dataset.toml", "my-ink-prompts.txt"]
    assert 'class_tokens = "zwx"' in files["my-ink-dataset.toml"]
    assert files["my-ink-prompts.txt"].startswith("a zwx --")
    (tmp_path / "run.toml").write_text(files["my-ink.toml"], "utf-8")
    assert read_settings_file(tmp_path / "run.toml", "run.toml").config() == config
    gui = settings_files.gui_file(config, "sd1")
    given, settings, rounds = parse_options(gui["my-ink.json"], "my-ink.json")
    assert read_given(given, settings, rounds=rounds, ignore_unknown=True).config() == config
    for text in (*files.values(), *gui.values()):
        assert str(studio.settings.home) not in text
        assert str(studio.settings.models) not in text
    with pytest.raises(ConfigError, match="Take the TOML"):
        settings_files.gui_file(config, "zimage")


@pytest.fixture
def act(studio: Studio) -> SavedActions:
    from lora_studio.catalog import STARTER, plan
    from lora_studio.ui.widgets.settings_form import render_form

    with gr.Blocks():
        form = render_form(plan("object", STARTER, 10))
    return SavedActions(studio=studio, form=form, questions=5)


def asked(act: SavedActions, **typed: str) -> list[Any]:
    questions = ["", "style", "Ink", "", "starter"]
    return [*questions, *(typed.get(name, field.value) for name, field in act.form.fields.items())]


def test_the_panel_keeps_loads_and_deletes(act: SavedActions) -> None:
    request = gr.Request()
    with refused("title"):
        act.keep_settings(request, "Faces", *asked(act))
    choices, title, report = act.keep_settings(request, NASTY, *asked(act, network_dim="12", algo="loha"))
    (entry,) = choices["choices"]
    assert (title, entry[1]) == (NASTY.strip(), choices["value"])
    assert "Rank: 12 instead of 8." in "".join(parse(report).itertext())
    title, _, base, *fields = act.load_settings(entry[1], *asked(act))
    values = {name: update["value"] for name, update in zip(act.form.names, fields, strict=True)}
    assert (title, base, values["network_dim"], values["algo"]) == (NASTY.strip(), "starter", "12", "loha")
    assert {values[name] for name in values if name not in ("network_dim", "algo")} == {"", AUTOMATIC}
    _, _, report = act.delete_settings(request, entry[1])
    (button,) = parse(report).iter("button")
    assert button.get("data-id") == entry[1]
    assert act.list_settings()["choices"] == []
    with refused("saved"):
        act.delete_settings(request, None)


def test_files_are_links_that_hold_the_text(act: SavedActions) -> None:
    for report, ending in (
        (act.write_toml(gr.Request(), *asked(act)), ".toml"),
        (act.write_json(gr.Request(), *asked(act)), ".json"),
    ):
        first = next(iter(parse(report).iter("a")))
        assert str(first.get("download")).endswith(ending)
        text = base64.b64decode(str(first.get("href")).partition("base64,")[2]).decode()
        assert "network_dim" in text
