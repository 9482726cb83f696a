"""sd-scripts' argument TOML and back: names, defaults, and what is said about the rest."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from lora_studio.config import config_leaf, config_leaves
from lora_studio.errors import ConfigError
from lora_studio.kohya_config import (
    OPTIONS,
    from_toml,
    further_options,
    kohya_options,
    read_file,
    write_kohya,
)
from lora_studio.kohya_config.options import COUNTED_IN_EPOCHS, NETWORK_ARGS, PASSED_OVER
from lora_studio.parsing.toml_text import write_value
from tests.support.configs import NEEDED, config


def toml(**options: object) -> str:
    return "\n".join(f"{name} = {write_value(value)}" for name, value in {**NEEDED, **options}.items())


def test_what_is_written_is_what_sd_scripts_reads() -> None:
    made = config(
        resolution=768,
        conv_dim=8,
        weight_decay=0.1,
        text_encoder_lr=1e-5,
        sample_prompts=("a cat",),
        title="My Cat",
        save_every_n_steps=100,
    )
    data = tomllib.loads(write_kohya(made))
    own = data.pop("lora_studio")["settings"]
    flat = {name: value for table in data.values() for name, value in table.items()}
    assert set(flat) <= set(OPTIONS)
    assert flat["resolution"] == "768,768"
    assert flat["network_module"] == "networks.lora"
    assert flat["network_args"] == ["conv_dim=8"]
    assert flat["optimizer_args"] == ["weight_decay=0.1"]
    assert flat["text_encoder_lr"] == [1e-5]
    assert flat["metadata_title"] == "My Cat"
    assert (flat["save_every_n_steps"], flat["learning_rate"], flat["seed"]) == (100, 1e-4, 42)
    assert type(flat["max_train_steps"]) is int
    assert own["sample_prompts"] == ["a cat"]


def test_only_lycoris_has_dora_and_the_other_kinds() -> None:
    assert kohya_options(config(algo="loha"))["network_module"] == "lycoris.kohya"
    assert kohya_options(config(algo="loha"))["network_args"] == ["algo=loha", "preset=attn-mlp"]
    dora = kohya_options(config(dora_wd=True, conv_dim=4))["network_args"]
    assert {"dora_wd=True", "wd_on_output=False"} <= set(dora)
    theirs = toml(network_module="lycoris.kohya", network_args=["dora_wd=True", "preset=attn-mlp"])
    assert from_toml(theirs).config().network.wd_on_output is True


def test_pictures_that_change_are_not_cached_by_sd_scripts() -> None:
    assert kohya_options(config())["cache_latents"] is True
    assert "cache_latents" not in kohya_options(config(color_aug=True))


def test_what_a_file_leaves_out_is_sd_scripts_default() -> None:
    read = from_toml(toml()).config()
    values = read.values()
    theirs = {
        "learning_rate": 2e-6,
        "max_train_steps": 1600,
        "network_alpha": 1.0,
        "network_dim": 4,
        "enable_bucket": False,
        "mixed_precision": "no",
        "save_every_n_steps": 0,
        "sample_every_n_steps": 0,
        "lr_scheduler": "constant",
        "optimizer_type": "AdamW",
        "save_precision": "float",
        "trigger_word": "",
    }
    assert {name: values[name] for name in theirs} == theirs
    ours = ("caption_extension", "cache_latents", "v_parameterization", "resolution", "seed")
    assert {name: values[name] for name in ours} == {name: config_leaf(name).default for name in ours}


@pytest.mark.parametrize(
    ("option", "value", "setting", "wanted"),
    [
        ("resolution", "512,512", "resolution", 512),
        ("resolution", "768", "resolution", 768),
        ("resolution", [640, 640], "resolution", 640),
        ("resolution", "512,768", "resolution_height", 768),
        ("use_8bit_adam", True, "optimizer_type", "AdamW8bit"),
        ("use_lion_optimizer", True, "optimizer_type", "Lion"),
        ("optimizer_type", "prodigy", "optimizer_type", "Prodigy"),
        ("optimizer_args", ["weight_decay=0.05", "eps=1e-6"], "weight_decay", 0.05),
        ("optimizer_args", ["weight_decay=0.05", "eps=1e-6"], "optimizer_args", ("eps=1e-6",)),
        ("optimizer_args", "betas=0.9,0.99 eps=1e-6", "optimizer_args", ("betas=0.9,0.99", "eps=1e-6")),
        ("network_args", ["conv_dim=8", "conv_alpha=2"], "conv_dim", 8),
        ("network_args", ["loraplus_lr_ratio=16"], "loraplus_lr_ratio", 16.0),
        ("network_args", ["block_dims=" + ",".join(["2"] * 25)], "block_dims", ",".join(["2"] * 25)),
        ("text_encoder_lr", [5e-5], "text_encoder_lr", 5e-5),
        ("text_encoder_lr", [5e-5, 5e-5], "text_encoder_lr", 5e-5),
        ("caption_extention", ".txt", "caption_extension", ".txt"),
        ("metadata_title", "A cat", "title", "A cat"),
        ("output_name", "My LoRA v2.1", "output_name", "my-lora-v2-1"),
        ("output_name", "My LoRA v2.1", "title", "My LoRA v2.1"),
        ("min_snr_gamma", 0, "min_snr_gamma", None),
        ("v_parameterization", True, "v_parameterization", True),
        (
            "base_weights",
            ["a b.safetensors", "c.safetensors"],
            "base_weights",
            ("a b.safetensors", "c.safetensors"),
        ),
        ("max_token_length", 225, "max_token_length", 225),
    ],
)
def test_their_forms_become_ours(option: str, value: Any, setting: str, wanted: Any) -> None:
    assert from_toml(toml(**{option: value})).config().values()[setting] == wanted


@pytest.mark.parametrize("warmup", [0.1, "10%"])
def test_a_share_of_the_run(warmup: Any) -> None:
    read = from_toml(toml(lr_warmup_steps=warmup, max_train_steps=200, lr_scheduler="cosine")).config()
    assert read.optimizer.warmup_steps == 20


def test_sections_mean_nothing() -> None:
    flat = from_toml(toml(network_dim=16, learning_rate=1e-4)).config()
    head, *lines = toml(network_dim=16, learning_rate=1e-4).splitlines()
    assert from_toml("\n".join([head, "[a]", *lines[:3], "[b_arguments]", *lines[3:]])).config() == flat


def test_epochs_become_steps_once_an_epochs_length_is_known() -> None:
    read = from_toml(toml(max_train_epochs=10, save_every_n_epochs=2))
    assert set(read.in_epochs) | set(config_leaf_names()) >= {"max_train_epochs", "save_every_n_epochs"}
    with pytest.raises(ConfigError, match="max_train_epochs"):
        read.config()
    made = read.config(steps_per_epoch=12)
    assert (made.optimizer.max_train_steps, made.output.save_every_n_steps) == (120, 24)
    ratio = from_toml(toml(max_train_epochs=10, save_n_epoch_ratio=5)).config(steps_per_epoch=3)
    assert ratio.output.save_every_n_steps == 6


def config_leaf_names() -> set[str]:
    return {leaf.name for leaf in config_leaves()}


def test_what_is_not_built_is_named_in_one_list() -> None:
    missing = next(name for name in ("fp8_base", "vae", "full_fp16") if name not in config_leaf_names())
    text = toml(**{missing: "x"}, save_model_as="ckpt", network_args=["algo=ia3", "train_on_input=True"])
    with pytest.raises(ConfigError) as caught:
        from_toml(text)
    for part in (missing, "save_model_as ckpt", "network_args algo=ia3", "network_args train_on_input"):
        assert part in caught.value.message
    assert "--ignore-unknown" in caught.value.hint
    read = from_toml(text, ignore_unknown=True)
    assert len(read.not_built) == 4
    assert any(missing in note and "ckpt" in note for note in read.notes)


def test_what_changes_nothing_is_named_and_passed_over() -> None:
    read = from_toml(toml(xformers=True, max_data_loader_n_workers=2, logging_dir="logs", lowram=False))
    assert any("logging_dir, max_data_loader_n_workers, xformers" in note for note in read.notes)
    assert not any("lowram" in note for note in read.notes)


def test_swapped_blocks_are_followed_and_told_to_sd_scripts() -> None:
    read = from_toml(toml(blocks_to_swap=18))
    assert read.notes == ()
    config = read.config()
    assert config.model.blocks_to_swap == 18
    assert "blocks_to_swap = 18" in write_kohya(config)
    for off in ({}, {"blocks_to_swap": 0}):
        config = from_toml(toml(**off)).config()
        assert config.model.blocks_to_swap == 0
        assert "blocks_to_swap" not in write_kohya(config)


def test_what_is_switched_off_is_no_news() -> None:
    """Front ends write every option, also those that are off."""
    off = {name: value for name, value in OPTIONS.items() if value is not None}
    read = from_toml(toml(**{**off, "resolution": "512,512", "optimizer_type": "AdamW"}))
    assert read.notes == ()
    assert (
        read.config()
        == from_toml(
            toml(
                resolution="512,512",
                cache_latents=False,
                v_parameterization=False,
                caption_extension=".caption",
                cache_latents_to_disk=False,
                cache_text_encoder_outputs=False,
            )
        ).config()
    )


@pytest.mark.parametrize(
    ("options", "nearest"),
    [({"learnin_rate": 1}, "learning_rate"), ({"network_args": ["conv_dimm=3"]}, "conv_dim")],
)
def test_what_nobody_has_is_refused_with_the_nearest_name(options: dict[str, Any], nearest: str) -> None:
    with pytest.raises(ConfigError) as caught:
        from_toml(toml(**options))
    assert nearest in caught.value.hint
    read = from_toml(toml(**options), ignore_unknown=True)
    assert any(name in note for note in read.notes for name in ("learnin_rate", "conv_dimm"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a = ", "cfg.toml is not TOML"),
        ("network_args = ['conv_dim']", "key=value"),
        ("max_train_epochs = 1.5", "max_train_epochs"),
        (f"{toml()}\nnetwork_dim = 'wide'", "network_dim"),
        ("[lora_studio.settings]\nnetwork_dimm = 3", "network_dimm"),
        ("output_dir = 'x'", "pretrained_model_name_or_path must be given"),
    ],
)
def test_mistakes_are_one_sentence(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said.replace(".", r"\.")) as caught:
        from_toml(text, "cfg.toml").config(steps_per_epoch=5)
    assert "\n" not in str(caught.value)


def test_lycoris_trains_the_convolutions_unless_told_not_to() -> None:
    options = {"network_module": "lycoris.kohya", "network_dim": 8, "network_alpha": 4}
    full = from_toml(toml(**options, network_args=["algo=locon"]))
    assert full.config().network.conv_dim == 8
    assert any("conv_in" in note for note in full.notes)
    attention = from_toml(toml(**options, network_args=["algo=loha", "preset=attn-mlp"])).config()
    assert (attention.network.algo, attention.network.conv_dim) == ("loha", None)


def test_the_prompt_file_is_read_and_its_flags_are_named(tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("# mine\na cat --n bad, ugly --w 512 --d 1\n\na dog\n", "utf-8")
    file = tmp_path / "run.toml"
    file.write_text(toml(sample_prompts=str(prompts), sample_every_n_steps=10), "utf-8-sig")
    read = read_file(file)
    assert read.config().preview.sample_prompts == ("a cat", "a dog")
    assert any("flags" in note for note in read.notes)
    assert read.given["sample_prompts"] == str(prompts)
    for text, name in (
        ('[prompt]\nsubset = [{prompt = "x"}]', "p.toml"),
        ('["x", {"prompt": "y"}]', "p.json"),
    ):
        (tmp_path / name).write_text(text, "utf-8")
        file.write_text(toml(sample_prompts=str(tmp_path / name)), "utf-8")
        assert read_file(file).config().preview.sample_prompts[0] == "x"
    file.write_text(toml(sample_prompts="nowhere.txt", sample_at_first=True), "utf-8")
    with pytest.raises(ConfigError, match=r"nowhere\.txt can't be read"):
        read_file(file)


def test_sd_scripts_itself_gets_all_that_the_file_says() -> None:
    text = toml(
        network_dim=8, fp8_base=True, xformers=True, max_train_epochs=3, save_model_as="ckpt", vae="v.pt"
    )
    read = from_toml(text, ignore_unknown=True)
    made = read.config(steps_per_epoch=4)
    further = further_options(read.given, made)
    assert {"fp8_base = true", "xformers = true", "max_train_epochs = 3", 'vae = "v.pt"'} <= set(further)
    assert not any(line.startswith(("network_dim", "save_model_as", "output_")) for line in further)
    assert tomllib.loads("\n".join(further))
    secret = from_toml(toml(wandb_api_key="s", huggingface_token="s"))
    assert not any(line.endswith('"s"') for line in further_options(secret.given, secret.config()))


def test_the_tables_agree() -> None:
    assert set(OPTIONS) >= PASSED_OVER
    assert set(OPTIONS) >= set(COUNTED_IN_EPOCHS)
    assert set(COUNTED_IN_EPOCHS.values()) <= set(OPTIONS)
    assert not set(NETWORK_ARGS) & set(OPTIONS)
