from __future__ import annotations

import json
from typing import Any

import pytest

from lora_studio.catalog import BASES, PRESETS, SD1, Base, base_of_family, plan
from lora_studio.config import CONFIG_VERSION, TrainConfig, config_leaf, config_leaves
from lora_studio.config_groups import Group
from lora_studio.config_groups.setting_effects import EFFECTS
from lora_studio.errors import ConfigError
from tests.support.configs import NEEDED, config

COSTS = {
    *("nothing", "time", "memory", "disk", "file", "step", "steps", "longer", "start", "card", "cache"),
    *("depends", "money", "each"),
}
"""Words of which a cost has one: what is taken, or that nothing is."""
WAYS = {
    *("more", "less", "larger", "smaller", "longer", "fewer", "twice", "another", "same", "wrong"),
    *("2", "one", "on"),
}
"""Words of which a direction has one where the setting is a number."""


def refusal(**changes: object) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        config(**changes)
    return caught.value


def test_defaults_are_the_designs() -> None:
    values = config().values()
    wanted = {
        "resolution": 512,
        "train_batch_size": 1,
        "max_train_steps": 1000,
        "learning_rate": 1e-4,
        "lr_scheduler": "constant",
        "network_dim": 4,
        "network_alpha": 4.0,
    }
    assert {name: values[name] for name in wanted} == wanted


@pytest.mark.parametrize("kind", PRESETS)
@pytest.mark.parametrize("base", [*BASES.values(), base_of_family(SD1)], ids=lambda base: base.name)
def test_every_plan_makes_a_config_that_survives_json(kind: str, base: Base) -> None:
    made = config(**plan(kind, base, 12).values)  # type: ignore[arg-type]
    again = TrainConfig.from_json(json.loads(json.dumps(made.to_json(), allow_nan=False)))
    assert again == made
    assert again.values() == made.values()


def test_leaf_names_are_unique_and_have_help_and_ranges() -> None:
    names = [name for group in TrainConfig.model_fields.values() if isinstance(group.annotation, type)
             and issubclass(group.annotation, Group) for name in group.annotation.model_fields]  # fmt: skip
    assert len(names) == len(set(names)) == len(config_leaves())
    for leaf in config_leaves():
        assert leaf.help_text.endswith("."), leaf.name
        if leaf.annotation in (int, float):
            assert leaf.minimum is not None, leaf.name


def test_a_leaf_knows_its_form() -> None:
    leaf = config_leaf("network_dim")
    assert (leaf.group, leaf.default, leaf.minimum, leaf.maximum) == ("network", 4, 1, 512)
    assert config_leaf("save_precision").choices == ("float", "fp16", "bf16")
    assert {"constant", "cosine", "adafactor"} < set(config_leaf("lr_scheduler").choices)
    assert config_leaf("text_encoder_lr").optional
    assert config_leaf("output_dir").required
    assert config_leaf("resolution").unit == "px"


def test_text_as_typed_is_understood() -> None:
    made = config(
        learning_rate="2e-4",
        max_train_steps="1500",
        flip_aug="true",
        network_train_unet_only="no",
        text_encoder_lr="none",
        min_snr_gamma="",
        sample_every_n_steps=" None ",
        network_alpha="8",
    )
    assert made.optimizer.learning_rate == 2e-4
    assert made.optimizer.max_train_steps == 1500
    assert made.dataset.flip_aug is True
    assert made.network.network_train_unet_only is False
    assert made.optimizer.text_encoder_lr is None
    assert made.noise.min_snr_gamma is None
    assert made.preview.sample_every_n_steps is None


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"max_train_steps": 0}, "max_train_steps", "a whole number from 1"),
        ({"learning_rate": "fast"}, "learning_rate", "a number"),
        ({"learning_rate": float("nan")}, "learning_rate", "a number"),
        ({"learning_rate": float("inf")}, "learning_rate", "a number"),
        ({"resolution": 16}, "resolution", "a whole number from 32"),
        ({"network_dim": 2.5}, "network_dim", "a whole number"),
        ({"lr_scheduler": "fancy"}, "lr_scheduler", "constant"),
        ({"output_name": ""}, "output_name", "is empty"),
        ({"output_name": "../x"}, "output_name", "lower-case letters"),
        ({"output_name": "My Cat"}, "output_name", "lower-case letters"),
        ({"output_name": "x" * 65}, "output_name", "65 characters"),
        ({"train_data_dir": ""}, "train_data_dir", "is empty"),
        ({"seed": -1}, "seed", "a whole number from 0"),
        ({"training_comment": "a\0b"}, "training_comment", "a zero byte"),
        ({"train_data_dir": "x" * 20_001}, "train_data_dir", "longer than 20000"),
        ({"sample_prompts": ("a", "b\0")}, "sample_prompts", "a zero byte"),
        ({"optimizer_args": ("a=1",) * 2_001}, "optimizer_args", "more than 2000 values"),
        ({"min_timestep": 600, "max_timestep": 500}, "min_timestep", "above max_timestep"),
        ({"min_bucket_reso": 2048}, "min_bucket_reso", "above max_bucket_reso"),
        ({"lr_warmup_steps": 5}, "lr_warmup_steps", "constant_with_warmup"),
    ],
)
def test_wrong_values_are_told_by_name_in_a_sentence(changes: dict, field: str, words: str) -> None:
    error = refusal(**changes)
    assert error.field == field
    assert field in error.message
    assert words in error.message
    assert error.message.endswith(".")
    assert "\n" not in str(error)


def test_a_missing_value_is_told() -> None:
    with pytest.raises(ConfigError, match="train_data_dir must be given") as caught:
        TrainConfig.from_values({name: value for name, value in NEEDED.items() if name != "train_data_dir"})
    assert caught.value.hint == config_leaf("train_data_dir").help_text


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("learning_rat", "learning_rate"), ("network_rank", "network_"), ("train_steps", "max_train_steps")],
)
def test_unknown_names_bring_the_nearest(typed: str, meant: str) -> None:
    error = refusal(**{typed: 1})
    assert error.field == typed
    assert f"no setting called {typed!r}" in error.message
    assert f"Did you mean {meant}" in error.hint


def test_a_name_like_nothing_points_to_the_list() -> None:
    assert "docs/parameters.md" in refusal(zzzzqqqq=1).hint


def test_json_refuses_unknown_and_misplaced_keys() -> None:
    data = config().to_json()
    data["network"]["learning_rate"] = 1
    with pytest.raises(ConfigError, match="learning_rate stands in the wrong group"):
        TrainConfig.from_json(data)
    data = config().to_json()
    data["network"]["network_dimm"] = 1
    with pytest.raises(ConfigError) as caught:
        TrainConfig.from_json(data)
    assert "Did you mean network_dim" in caught.value.hint


@pytest.mark.parametrize("version", [CONFIG_VERSION + 1, "new"])
def test_a_later_version_is_told(version: object) -> None:
    with pytest.raises(ConfigError, match="later version"):
        TrainConfig.from_json({**config().to_json(), "version": version})


def test_a_config_is_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        config().optimizer.seed = 3


def test_changing_values_gives_a_checked_copy() -> None:
    first = config()
    second = first.with_values({"seed": 7})
    assert (first.optimizer.seed, second.optimizer.seed) == (42, 7)
    with pytest.raises(ConfigError):
        first.with_values({"seed": -7})


@pytest.mark.parametrize(
    ("changes", "trains"),
    [
        ({}, True),
        ({"network_train_unet_only": True}, False),
        ({"text_encoder_lr": 0}, False),
        ({"text_encoder_lr": 1e-5}, True),
        ({"text_encoder_lr": 1e-5, "network_train_unet_only": True}, False),
    ],
)
def test_when_the_text_encoder_is_trained(changes: dict, trains: bool) -> None:
    assert config(**changes).trains_text_encoder is trains


@pytest.mark.parametrize(
    ("changes", "field", "said"),
    [
        ({"sample_prompts": ("x",) * 65}, "sample_prompts", "65 prompts are too many"),
        ({"sample_prompts": ("x" * 10_001,)}, "sample_prompts", "at most 10000 characters"),
        ({"max_train_steps": 5000, "save_every_n_steps": 1}, "save_every_n_steps", "take 5"),
        (
            {"max_train_steps": 10_000, "sample_every_n_steps": 1, "sample_prompts": ("a", "b")},
            "sample_every_n_steps",
            "20000 previews, at most 5000 are kept: take 4",
        ),
    ],
)
def test_what_would_fill_a_disk_is_refused(changes: dict[str, Any], field: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        config(**changes)
    assert caught.value.field == field


def test_what_is_suggested_is_taken() -> None:
    config(max_train_steps=5000, save_every_n_steps=5)
    config(max_train_steps=10_000, sample_every_n_steps=4, sample_prompts=("a", "b"))
    config(max_train_steps=5000, save_every_n_steps=1, engine="sd-scripts")


def test_each_setting_says_what_it_does_which_way_and_what_it_costs() -> None:
    assert list(EFFECTS) == [leaf.name for leaf in config_leaves()]
    for leaf in config_leaves():
        said = (leaf.help_text, leaf.direction, leaf.cost)
        assert all(sentence.endswith(".") for sentence in said), leaf.name
        assert len(set(said)) == 3, leaf.name
        assert COSTS & {word.strip(".,:") for word in leaf.cost.lower().split()}, leaf.name
        if leaf.annotation in (int, float):
            assert WAYS & {word.strip(".,:") for word in leaf.direction.lower().split()}, leaf.name
