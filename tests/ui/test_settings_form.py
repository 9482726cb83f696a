"""Fields made from settings, and back."""

from __future__ import annotations

import re
from typing import Any

import gradio as gr
import pytest

from lora_studio.catalog import SD1, STARTER, base_of_family, plan
from lora_studio.config import TrainConfig, config_leaf, config_leaves
from lora_studio.errors import ConfigError
from lora_studio.ui.client_input.field_refusals import in_labels
from lora_studio.ui.widgets import form_sections, setting_labels, settings_form
from tests.support.configs import NEEDED
from tests.support.html import NASTY, parse

PLAN = plan("style", STARTER, 10)


@pytest.fixture
def made() -> settings_form.Form:
    with gr.Blocks():
        return settings_form.render_form(PLAN)


def test_each_setting_has_a_field_with_its_help_or_follows_from_another_input(
    made: settings_form.Form,
) -> None:
    hidden = {leaf.name for leaf in config_leaves() if form_sections.is_out_of_reach(leaf)}
    assert set(made.names) | hidden | form_sections.WITHOUT_EFFECT == {leaf.name for leaf in config_leaves()}
    assert not set(made.names) & (hidden | form_sections.WITHOUT_EFFECT)
    assert len(made.names) == len(set(made.names))
    for name, field in made.fields.items():
        leaf = config_leaf(name)
        assert field.label == setting_labels.LABELS[name]
        assert str(field.info).endswith(f"`{name}`")
        assert leaf.help_text
        assert str(field.info).startswith(leaf.help_text)
        assert field.elem_id == f"train-{name}"
        assert field.interactive


def test_every_path_is_out_of_reach() -> None:
    named = re.compile(r"_(dir|path|json|weights|config)$")
    paths = [leaf.name for leaf in config_leaves() if named.search(leaf.name) and leaf.annotation is not bool]
    assert len(paths) > 5
    local = [leaf.name for leaf in config_leaves() if leaf.local]
    assert {"lr_scheduler_type", "engine", "sd_scripts_args", "network_weights"} <= set(local)
    assert set(paths) <= form_sections.SET_ELSEWHERE | set(local)
    for name in (*form_sections.SET_ELSEWHERE, *local):
        with pytest.raises(ConfigError, match=f"{name} can't be set"):
            settings_form.overrides({name: "/etc"})


@pytest.mark.parametrize("name", ["optimizer_type", "lr_scheduler", "algo", "mixed_precision"])
def test_a_visitor_picks_among_known_names(made: settings_form.Form, name: str) -> None:
    leaf = config_leaf(name)
    assert isinstance(made.fields[name], gr.Dropdown)
    assert not made.fields[name].allow_custom_value
    for choice in leaf.choices:
        assert settings_form.overrides({name: choice}) == {name: choice}
    for code in ("os.system", "package.module.Class", "adafactor:1"):
        with pytest.raises(ConfigError, match=f"{name}: choose one of") as caught:
            settings_form.overrides({name: code})
        assert caught.value.field == name


def test_sections_are_short_enough_to_read() -> None:
    found = form_sections.sectioned_leaves()
    assert {section.name for section in form_sections.SECTIONS} == set(form_sections.ORDER)
    assert {leaf.group for leaf in config_leaves()} == {section.group for section in form_sections.SECTIONS}
    assert all(len(leaves) <= 20 for leaves in found.values()), {k.name: len(v) for k, v in found.items()}
    assert len({section.title for section in found}) == len(found)


def test_a_setting_is_found_by_its_label_its_name_and_its_help() -> None:
    def names(query: str) -> list[str]:
        return [leaf.name for leaf, _ in setting_labels.found_settings(query)]

    assert names("rank")[0] == "network_dim"
    assert names("noise_offset")[0] == "noise_offset"
    assert names("MIRROR pictures") == ["flip_aug"]
    assert "learning_rate" in names("breaks sooner")
    assert names("no such thing") == names("  ") == []
    assert len(names("e")) == setting_labels.MOST_FOUND
    assert len(set(setting_labels.LABELS.values())) == len(setting_labels.LABELS)


def test_a_found_setting_leads_to_its_field(made: settings_form.Form) -> None:
    buttons = list(parse(settings_form.search_results("flip")).iter("button"))
    assert [(one.get("data-setting"), one.get("data-section")) for one in buttons] == [
        ("flip_aug", "dataset")
    ]
    (basic,) = [
        one
        for one in parse(settings_form.search_results("max_train_steps")).iter("button")
        if one.get("data-setting") == "max_train_steps"
    ]
    assert basic.get("data-section") == ""
    assert NASTY.strip()[:40] in "".join(parse(settings_form.search_results(NASTY)).itertext())
    assert settings_form.search_results(" ") == ""


def test_a_wrong_value_is_named_by_its_label() -> None:
    wrong = ConfigError("max_train_steps: a whole number is needed.", "Like 200.", field="max_train_steps")
    shown = in_labels(wrong, setting_labels.LABELS)
    assert (str(shown), shown.field) == ("Steps: a whole number is needed. Like 200.", "max_train_steps")
    nameless = ConfigError("The name is empty.", field="name")
    assert str(in_labels(nameless, setting_labels.LABELS)) == str(nameless)


def test_help_names_range_and_unit() -> None:
    assert settings_form.help_text(config_leaf("max_train_steps")).endswith("(1 to 1,000,000 steps)")
    assert settings_form.help_text(config_leaf("network_dim")).endswith("(1 to 512)")
    assert settings_form.help_text(config_leaf("lr_warmup_steps")).endswith("(from 0 steps)")


def test_an_untouched_form_overrides_nothing(made: settings_form.Form) -> None:
    assert settings_form.overrides({name: field.value for name, field in made.fields.items()}) == {}
    emptied = dict(zip(made.names, made.emptied(), strict=True))
    assert settings_form.overrides({name: update["value"] for name, update in emptied.items()}) == {}


def test_what_is_filled_in_becomes_a_config(made: settings_form.Form) -> None:
    typed: dict[str, Any] = {
        "max_train_steps": "12",
        "learning_rate": "1e-3",
        "flip_aug": "on",
        "cache_latents": "off",
        "lr_scheduler": "linear",
        "sample_prompts": "a cat\n\n a dog ",
        "min_snr_gamma": "5",
        "training_comment": "hi",
        "optimizer_args": "betas=0.9,0.99 eps=1e-8\namsgrad=True",
        "lr_warmup_steps": "10%",
        "optimizer_type": "AdamW",
        "block_dims": ",".join(["4"] * 25),
    }
    values = {name: typed.get(name, field.value) for name, field in made.fields.items()}
    config = TrainConfig.from_values({**NEEDED, **settings_form.overrides(values)})
    assert config.optimizer.max_train_steps == 12
    assert config.dataset.flip_aug is True
    assert config.dataset.cache_latents is False
    assert config.optimizer.lr_scheduler == "linear"
    assert config.preview.sample_prompts == ("a cat", "a dog")
    assert config.noise.min_snr_gamma == 5
    assert config.output.training_comment == "hi"
    assert config.optimizer.optimizer_args == ("betas=0.9,0.99", "eps=1e-8", "amsgrad=True")
    assert config.optimizer.lr_warmup_steps == 0.1
    assert config.network.block_dims.startswith("4,4")


@pytest.mark.parametrize(
    ("name", "value"),
    [("max_train_steps", "0"), ("max_train_steps", 2.5), ("network_dim", "-1"), ("seed", "x")],
)
def test_a_wrong_value_is_named_by_its_setting(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=name) as caught:
        TrainConfig.from_values({**NEEDED, **settings_form.overrides({name: value})})
    assert caught.value.field == name


def test_planned_values_are_shown_in_grey(made: settings_form.Form) -> None:
    assert made.fields["max_train_steps"].placeholder == str(PLAN.values["max_train_steps"])
    updates = dict(zip(made.names, made.planned(plan("person", base_of_family(SD1), 12)), strict=True))
    assert updates["max_train_steps"]["placeholder"] == "900"
    assert updates["text_encoder_lr"]["placeholder"] == "1e-05"
    assert updates["min_snr_gamma"]["placeholder"] == "automatic"
    assert updates["lr_scheduler"]["choices"][0] == ("automatic: constant", "automatic")
    assert updates["network_train_unet_only"]["choices"][0] == ("automatic: off", "automatic")
    assert all("value" not in update for update in updates.values())
