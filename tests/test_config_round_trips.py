"""A training's settings in each form they are kept in, and back: argument TOML, JSON, and text as typed."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any, get_args, get_origin

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_studio.catalog import SDXL
from lora_studio.config import Leaf, TrainConfig, config_leaves
from lora_studio.errors import ConfigError
from lora_studio.kohya_config import from_toml, kohya_options, write_kohya
from lora_studio.kohya_config.argument_file import parse_options, read_given
from lora_studio.kohya_config.write_preset import write_preset
from tests.support.configs import config
from tests.support.properties import examples

ODD = 'a "b" \\ c\n# [d] = é 猫 \x7f\t'
SUITS: dict[str, tuple[Any, ...]] = {
    "output_name": ("a", "x-2"),
    "optimizer_type": ("Lion", "Prodigy", "package.Class"),
    "lr_scheduler": ("cosine", "polynomial", "constant_with_warmup", "adafactor:1e-3"),
    "lr_scheduler_type": ("CosineAnnealingLR", "a.b.C"),
    "optimizer_args": (("betas=0.9,0.99",), ("weight_decay=0.1", "eps=1e-8"), ("weight_decay=x",)),
    "lr_scheduler_args": (("step_rules=1:5,0.1",), ("T_max=100",)),
    "lr_warmup_steps": (0.1, 5),
    "lr_decay_steps": (0.25, 7),
    "face_crop_aug_range": ("2.0,4.0",),
    "block_dims": (",".join(["4"] * 25),),
    "conv_block_dims": (",".join(["4"] * 25),),
    "block_alphas": (",".join(["1.5"] * 25),),
    "conv_block_alphas": (",".join(["1"] * 25),),
    "down_lr_weight": (",".join(["0.5"] * 12), "cosine+0.25"),
    "mid_lr_weight": ("0.5",),
    "up_lr_weight": (",".join(["1"] * 12), "zeros"),
    "base_weights_multiplier": ((0.5, 1.0),),
    "sd_scripts_args": (("xformers = true",), ('log_with = "wandb"', "max_train_epochs = 3")),
    "caption_separator": (";", ", "),
}
"""Values of settings whose text has a form of its own."""


def values_for(leaf: Leaf, draw: random.Random) -> Iterator[Any]:
    """A few values that a setting may take, its default among them unless it has to be given."""
    if not leaf.required:
        yield leaf.default
    if leaf.name in SUITS:
        yield from SUITS[leaf.name]
    elif leaf.choices:
        yield from leaf.choices
    elif leaf.annotation is bool:
        yield from (True, False)
    elif leaf.annotation in (int, float):
        low = 0 if leaf.minimum is None else leaf.minimum
        high = low + 4096 if leaf.maximum is None else leaf.maximum
        multiple = 8 if "resolution" in leaf.name else 75 if leaf.name == "max_token_length" else 1
        for _ in range(3):
            drawn = draw.uniform(low, high)
            yield max(int(drawn) // multiple * multiple, multiple) if leaf.annotation is int else drawn
        yield from (leaf.minimum, leaf.maximum)
    elif get_origin(leaf.annotation) is tuple:
        yield ("1", "2") if get_args(leaf.annotation)[0] is not str else ("a", ODD)
    else:
        yield from (ODD.strip(), "none of it", "1,2,3")


def survives(made: TrainConfig) -> None:
    text = write_kohya(made)
    assert from_toml(text).config() == made, text
    text = write_preset(made, SDXL)
    given, settings, _ = parse_options(text, "preset.json")
    assert read_given(given, settings, ignore_unknown=True).config() == made, text


@pytest.mark.slow
def test_every_value_of_every_setting_survives_the_round_trip() -> None:
    draw = random.Random(1)
    tried, made = 0, 0
    missed = []
    for leaf in config_leaves():
        before = made
        for value in values_for(leaf, draw):
            tried += 1
            changes = {leaf.name: value} | (
                {"engine": "sd-scripts"} if leaf.name == "sd_scripts_args" else {}
            )
            try:
                one = config(**changes)
            except ConfigError:
                continue  # at odds with another setting
            made += 1
            survives(one)
        missed += [leaf.name] if made == before else []
    assert missed == []
    assert made > tried * 0.6


@st.composite
def configs(draw: st.DrawFn) -> TrainConfig:
    """Up to 25 settings with any values that get along with each other."""
    made = config()
    leaves = draw(st.lists(st.sampled_from(config_leaves()), min_size=2, max_size=25, unique_by=id))
    for leaf in leaves:
        try:
            made = made.with_values({leaf.name: draw(values(leaf))})
        except ConfigError:
            continue
    return made


def values(leaf: Leaf) -> st.SearchStrategy[Any]:
    text = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
    if leaf.name in SUITS or leaf.choices or leaf.annotation is bool:
        found: st.SearchStrategy[Any] = st.sampled_from(list(values_for(leaf, random.Random(0))))
    elif leaf.annotation is int:
        low, high = int(leaf.minimum or 0), leaf.maximum
        found = st.integers(low, low + 4096 if high is None else int(high))
        found = found.map(lambda drawn: max(drawn // 8 * 8, low)) if "reso" in leaf.name else found
    elif leaf.annotation is float:
        low, high = leaf.minimum or 0.0, leaf.maximum
        found = st.floats(low, low + 4096 if high is None else high)
    elif get_origin(leaf.annotation) is tuple:
        found = st.lists(text, max_size=3).map(tuple)
    else:
        found = text
    return st.none() | found if leaf.optional else found


@examples(60)
@given(configs())
def test_any_settings_survive_each_form(made: TrainConfig) -> None:
    survives(made)
    assert kohya_options(from_toml(write_kohya(made)).config()) == kohya_options(made)
    assert TrainConfig.from_json(json.loads(json.dumps(made.to_json(), allow_nan=False))) == made
    typed = {name: "none" if value is None else str(value) for name, value in made.values().items()}
    listed = {name: value for name, value in made.values().items() if isinstance(value, tuple)}
    assert TrainConfig.from_values({**typed, **listed}) == made
