"""What the kohya_ss GUI writes, TOML and JSON, is what sd-scripts would be given, and runs here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lora_studio.config import TrainConfig
from lora_studio.errors import ConfigError
from lora_studio.kohya_config import KohyaOptions, from_toml, read_file
from lora_studio.parsing.toml_text import write_value
from tests.support.kohya_presets import LYCORIS_OFF, preset, toml_of_gui
from tests.support.refusals import refused

PLACES = {"pretrained_model_name_or_path": "starter", "train_data_dir": "img", "output_name": "x"}


def toml(*network_args: str, **changes: Any) -> str:
    options = toml_of_gui(*network_args, **{"sample_prompts": None, **changes})
    return "\n".join(f"{name} = {write_value(value)}" for name, value in options.items() if value is not None)


def read_json(folder: Path, data: dict[str, Any]) -> KohyaOptions:
    file = folder / "preset.json"
    file.write_text(json.dumps(data), "utf-8")
    return read_file(file)


def made_of(options: KohyaOptions) -> TrainConfig:
    missing = {name: value for name, value in PLACES.items() if not options.values.get(name)}
    return options.config(steps_per_epoch=60, output_dir="out", **missing)


@pytest.mark.parametrize(
    ("module", "args", "algo", "conv_dim"),
    [
        ("networks.lora", (), "lora", None),
        ("networks.lora", ("conv_dim=4", "conv_alpha=2", "rank_dropout=0.1"), "lora", 4),
        ("lycoris.kohya", (*LYCORIS_OFF, "algo=locon"), "lora", 4),
        ("lycoris.kohya", (*LYCORIS_OFF, "algo=loha"), "loha", 4),
        ("lycoris.kohya", (*LYCORIS_OFF, "factor=-1", "use_cp=False", "algo=lokr"), "lokr", 4),
        ("lycoris.kohya", (*LYCORIS_OFF, "preset=attn-mlp", "algo=locon"), "lora", None),
        ("lycoris.kohya", (*LYCORIS_OFF, "constraint=0", "rescaled=False", "algo=diag-oft"), "diag-oft", 4),
        ("networks.loha", (), "loha", None),
        ("networks.lokr", ("conv_dim=4", "conv_alpha=2", "factor=8"), "lokr", 4),
    ],
)
def test_every_kind_of_toml_that_the_gui_writes_runs(
    module: str, args: tuple[str, ...], algo: str, conv_dim: int | None
) -> None:
    read = from_toml(toml(*args, module=module))
    made = made_of(read)
    assert (made.network.algo, made.network.conv_dim, made.network.network_dim) == (algo, conv_dim, 16)
    assert made.optimizer.max_train_steps == 240
    assert made.optimizer.warmup_steps == 24
    assert made.output.save_every_n_steps == 60
    assert any("epoch; noise_offset_type" in note for note in read.notes)
    assert not read.not_built


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("algo=loha", "rank_dropout=0.1", "rank_dropout_scale=True"), "rank_dropout_scale=True"),
        (("algo=locon", "conv_dim=4", "use_tucker=True"), "use_tucker=True"),
        (("algo=locon", "train_norm=True"), "train_norm=True"),
        (("algo=lokr", "use_scalar=True"), "use_scalar=True"),
        (("algo=ia3", "train_on_input=True"), "algo=ia3"),
        (("algo=dylora", "block_size=4"), "algo=dylora"),
        (("algo=locon", "preset=attn-only"), "preset=attn-only"),
    ],
)
def test_what_is_not_built_stops_only_when_it_is_switched_on(args: tuple[str, ...], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        from_toml(toml(*args))
    assert said in caught.value.message
    assert "--ignore-unknown" in caught.value.hint
    passed = from_toml(toml(*args), ignore_unknown=True)
    assert any(said in item for item in passed.not_built)
    made_of(passed)


@pytest.mark.parametrize(
    "args",
    [
        ("algo=loha", "rank_dropout=0", "rank_dropout_scale=True"),
        ("algo=locon", "preset=attn-mlp", "use_tucker=True"),
        ("algo=locon", "bypass_mode=True"),
        ("algo=locon", "rank_dropout=0.1", "rank_dropout_scale=True"),
        ("algo=locon", "unit=4", "block_size=4", "train_on_input=True"),
    ],
)
def test_what_changes_nothing_stops_nothing(args: tuple[str, ...]) -> None:
    assert made_of(from_toml(toml(*args))).network.algo in ("lora", "loha")


def test_a_preset_of_2023_means_what_the_gui_makes_of_it(tmp_path: Path) -> None:
    read = read_json(tmp_path, preset("LyCORIS/LoCon", old=True))
    assert read.rounds == 3
    made = made_of(read)
    data, network, optimizer = made.dataset, made.network, made.optimizer
    assert (data.resolution, data.resolution_height, data.bucket_reso_steps) == (512, 650, 1)
    assert (data.caption_extension, data.train_batch_size) == (".none-use-foldername", 2)
    assert (network.network_dim, network.network_alpha, network.conv_dim) == (16, 8, 4)
    assert (optimizer.learning_rate, optimizer.text_encoder_lr, optimizer.unet_lr) == (2e-4, 5e-5, 1e-4)
    assert optimizer.lr_scheduler_num_cycles == 3
    assert optimizer.optimizer_type == "AdamW8bit"
    assert (made.noise.multires_noise_iterations, made.noise.noise_offset) == (6, 0)
    assert read.shares == {"lr_warmup_steps": 0.1} or optimizer.warmup_steps == 160
    assert made.output.save_every_n_steps == 60
    assert optimizer.seed == 42


def test_a_preset_of_today(tmp_path: Path) -> None:
    more = {
        "optimizer": "Prodigy",
        "optimizer_args": 'decouple=True weight_decay=0.5 "betas=0.9,0.99"',
        "max_train_steps": 120,
        "sample_every_n_steps": 40,
        "sample_prompts": "a cat --w 512 --d 1\n# no prompt\na dog",
        "additional_parameters": "--max_grad_norm=0.5 --flip_aug",
        "text_encoder_lr": 0,
        "xformers": "sdpa",
    }
    read = read_json(tmp_path, preset("Standard", **more))
    made = made_of(read)
    assert read.rounds == 0
    assert made.optimizer.max_train_steps == 120
    assert made.optimizer.optimizer_args == ("decouple=True", "betas=0.9,0.99")
    assert made.optimizer.weight_decay == 0.5
    assert made.optimizer.max_grad_norm == 0.5
    assert made.dataset.flip_aug is True
    assert made.preview.sample_prompts == ("a cat", "a dog")
    assert made.network.network_train_unet_only is True
    assert (made.noise.noise_offset, made.noise.multires_noise_iterations) == (0.05, 0)
    assert made.output.title == "gui lora"
    assert any("sdpa" in note for note in read.notes)


@pytest.mark.parametrize(
    ("kind", "changes", "algo"),
    [
        ("Standard", {}, "lora"),
        ("Kohya LoCon", {"module_dropout": 0.1}, "lora"),
        ("LyCORIS/LoCon", {"dora_wd": True}, "lora"),
        ("LyCORIS/LoHa", {}, "loha"),
        ("LyCORIS/LoKr", {"network_dim": 100000, "network_alpha": 100000, "conv_dim": 100000}, "lokr"),
        ("LyCORIS/Diag-OFT", {}, "diag-oft"),
        ("Kohya LoHa", {"sdxl": True}, "loha"),
        ("Kohya LoKr", {"sdxl": True, "factor": 8}, "lokr"),
    ],
)
@pytest.mark.parametrize("old", [True, False])
def test_every_kind_of_preset(
    tmp_path: Path, kind: str, changes: dict[str, Any], algo: str, old: bool
) -> None:
    made = made_of(read_json(tmp_path, preset(kind, old=old, **changes)))
    assert made.network.algo == algo
    assert made.network.dora_wd is bool(changes.get("dora_wd"))
    assert made.network.full_matrix is (changes.get("network_dim") == 100000)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (preset("LyCORIS/iA3", old=True), "algo=ia3"),
        (preset("LyCORIS/DyLoRA"), "algo=dylora"),
        (preset("Kohya DyLoRA"), "networks.dylora"),
        (preset("LyCORIS/GLoRA"), "algo=glora"),
        (preset("LoRA-FA"), "networks.lora_fa"),
        (preset("Anima", anima_checkbox=True), "Anima"),
        ({"max_resolution": "512,512", "optimizer": "AdamW", "epoch": 1}, "LoRA tab"),
        ({"config": {"version": 1}}, "--config"),
        ({"picture.png": {"caption": "a cat"}}, "no option"),
        ([1, 2], "no options"),
        (preset("Standard", learning_rate="fast"), "learning_rate"),
        (preset("Standard", additional_parameters='--a "b'), "additional_parameters"),
    ],
)
def test_what_is_not_possible_is_one_sentence(tmp_path: Path, data: Any, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_json(tmp_path, data)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_prompts_that_are_gone_matter_only_when_something_is_to_be_drawn(tmp_path: Path) -> None:
    file = tmp_path / "gui.toml"
    gone = "./out/sample/prompt.txt"
    file.write_text(toml(sample_prompts=gone), "utf-8")
    assert read_file(file).values["sample_every_n_steps"] == 0
    file.write_text(toml(sample_prompts=gone, sample_every_n_steps=10), "utf-8")
    with pytest.raises(ConfigError, match=r"prompt\.txt can't be read"):
        read_file(file)


def test_adafactor_that_finds_its_rate_has_no_warm_up() -> None:
    own = made_of(from_toml(toml(optimizer_type="Adafactor")))
    assert (own.optimizer.finds_own_rate, own.optimizer.warmup_steps) == (True, 0)
    told = made_of(from_toml(toml(optimizer_type="adafactor", optimizer_args=["relative_step=False"])))
    assert (told.optimizer.finds_own_rate, told.optimizer.warmup_steps) == (False, 24)


def test_a_number_out_of_range_fits_when_it_may(tmp_path: Path) -> None:
    with refused("network_dim"):
        made_of(from_toml(toml(network_dim=1024, module="networks.lora")))
    read = from_toml(toml(network_dim=1024, module="networks.lora"), ignore_unknown=True)
    assert made_of(read).network.network_dim == 512
    assert any("1024 becomes 512" in note for note in read.notes)
