"""sd-scripts' options from the settings of a training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from lora_studio.config import Leaf, TrainConfig, config_leaf, config_leaves
from lora_studio.errors import ConfigError
from lora_studio.kohya_config.flow_modules import FLOW_OPTIONS
from lora_studio.kohya_config.options import (
    ABSENT,
    LYCORIS,
    NETWORK_ARGS,
    ONLY_IN_LYCORIS,
    OPTIONS,
    PLAIN,
    SECRETS,
)
from lora_studio.kohya_config.read_options import OWN_SETTINGS, OWN_TABLE, KohyaOptions, read_options
from lora_studio.parsing.toml_text import read_toml, write_table, write_value

HEADER = """\
# A training as sd-scripts reads it: train_network.py --config_file THIS_FILE
# The last table is LoRA Studio's own; sd-scripts reads past it.
"""
OF_NETWORK_ARGS = {leaf: key for key, leaf in NETWORK_ARGS.items()}
ELSEWHERE = frozenset(
    {
        *("output_dir", "output_name", "config_file", "output_config", "pretrained_model_name_or_path"),
        *("dataset_config", "train_data_dir", "reg_data_dir", "in_json", "metadata_title", "save_model_as"),
        *("use_8bit_adam", "use_lion_optimizer"),
    }
)
"""Options that name places, which a run decides itself, and old names of options that it writes anew."""
Values = Mapping[str, Any]


def write_kohya(config: TrainConfig, further: Mapping[str, Any] | None = None) -> str:
    """The argument TOML. `from_toml` gives the same config again, whatever its settings are. `further` are
    options that sd-scripts needs besides, such as the file of its prompts."""
    options = {**kohya_options(config), **(further or {})}
    groups = {leaf.name: leaf.group for leaf in config_leaves()}
    tables: dict[str, dict[str, Any]] = {}
    for name, value in options.items():
        group = groups.get(name) or ("network" if name == "network_args" else "output")
        tables.setdefault(group, {})[name] = value
    settings = not_said(config, options)
    parts = [HEADER, *(f"{write_table(group, values)}\n" for group, values in tables.items())]
    if settings:
        parts.append(f"{write_table(f'{OWN_TABLE}.{OWN_SETTINGS}', settings)}\n")
    return "\n".join(parts)


def from_toml(text: str, name: str = "The file", *, ignore_unknown: bool = False) -> KohyaOptions:
    """Read an argument TOML, flat or in sections. Raises ConfigError."""
    given, settings = flatten(read_toml(text, name))
    return read_options(given, settings, ignore_unknown=ignore_unknown)


def flatten(data: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(sd-scripts' options, our own settings): sections mean nothing to sd-scripts, the later value wins."""
    given: dict[str, Any] = {}
    settings: dict[str, Any] = {}
    for name, value in data.items():
        if name == OWN_TABLE and isinstance(value, dict):
            settings = own_settings(data)
        elif isinstance(value, dict):
            given |= value
        else:
            given[name] = value
    return given, settings


def own_settings(data: Mapping[str, Any]) -> dict[str, Any]:
    """Our own settings in a file of theirs. Raises ConfigError."""
    table = data.get(OWN_TABLE, {})
    settings = table.get(OWN_SETTINGS, {}) if isinstance(table, dict) else {}
    if not isinstance(settings, dict):
        raise ConfigError(f"{OWN_TABLE}.{OWN_SETTINGS} is no table.", "Take it out of the file.")
    return dict(settings)


def kohya_options(config: TrainConfig) -> dict[str, Any]:
    """sd-scripts' options that make this training, as far as it has them; options that are off are left out.
    Values have the types that TOML and sd-scripts want."""
    options: dict[str, Any] = {}
    values = config.values()
    for leaf in config_leaves():
        value = values[leaf.name]
        if leaf.name in FORMS:
            options |= FORMS[leaf.name](values)
        elif leaf.name in OF_NETWORK_ARGS:
            _add_pairs(options, leaf, value)
        elif leaf.name in OPTIONS and not _is_off(leaf.name, value):
            options[leaf.name] = list(value) if isinstance(value, tuple) else value
    lycoris = any(values[name] != config_leaf(name).default for name in ONLY_IN_LYCORIS)
    options["network_module"] = LYCORIS if lycoris else PLAIN
    if lycoris and values["conv_dim"] is None:
        options.setdefault("network_args", []).append("preset=attn-mlp")
    if values["dora_wd"] and not values["wd_on_output"]:
        options["network_args"].append("wd_on_output=False")  # LyCORIS' default is the other one
    return {name: value for name, value in options.items() if value is not None and value != []}


def further_options(given: Mapping[str, Any], config: TrainConfig) -> tuple[str, ...]:
    """Options of a file that the config made from it gives other values: lines for `sd_scripts_args`, so that
    sd-scripts gets all options of the file but its secrets."""
    written = {**ABSENT, **OPTIONS, **kohya_options(config)}
    return tuple(
        f"{name} = {write_value(value)}"
        for name, value in given.items()
        if name in {*OPTIONS, *FLOW_OPTIONS}
        and name not in {*ELSEWHERE, *SECRETS}
        and value != written.get(name)
        and not (name == "sample_prompts" and isinstance(value, list))
    )


def _is_off(name: str, value: Any) -> bool:
    """Whether sd-scripts has this value where the option is left out."""
    if value is None or value == "" or (name in ABSENT and value == ABSENT[name]):
        return True
    return not value and not OPTIONS[name]


def _add_pairs(options: dict[str, Any], leaf: Leaf, value: Any) -> None:
    """Add a setting of ours that sd-scripts takes inside `network_args`, unless it has its default."""
    if value != leaf.default and value is not None:
        text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
        options.setdefault("network_args", []).append(f"{OF_NETWORK_ARGS[leaf.name]}={text}")


def not_said(config: TrainConfig, options: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that reading `options` alone would not give back."""
    read = read_options(
        {name: value for name, value in options.items() if name != "sample_prompts"}, ignore_unknown=True
    )
    values = {leaf.name: leaf.default for leaf in config_leaves()} | dict(read.values)
    wanted = config.values()
    missing: dict[str, Any] = {}
    for name, value in wanted.items():
        if _same(values[name], value):
            continue
        missing[name] = "none" if value is None else list(value) if isinstance(value, tuple) else value
    return missing


def _same(read: Any, wanted: Any) -> bool:
    """Whether a value that was read becomes the wanted one: text, as typed, may stand for a number."""
    if isinstance(wanted, bool) or wanted is None or isinstance(wanted, tuple):
        return bool(type(read) is type(wanted) and read == wanted)
    if isinstance(wanted, int | float):
        try:
            return float(read) == wanted
        except (TypeError, ValueError):
            return False
    return bool(read == wanted)


def _resolution(values: Values) -> dict[str, Any]:
    width = values["resolution"]
    return {"resolution": f"{width},{values['resolution_height'] or width}"}


def _optimizer_args(values: Values) -> dict[str, Any]:
    decay = values["weight_decay"]
    decay_pair = [] if decay is None else [f"weight_decay={decay}"]
    return {"optimizer_args": [*decay_pair, *values["optimizer_args"]]}


def _cache_latents(values: Values) -> dict[str, Any]:
    """The option cache_latents, unless pictures change at each use: sd-scripts breaks off then."""
    changing = values["color_aug"] or values["random_crop"]
    return {} if changing else {"cache_latents": values["cache_latents"]}


def _rates(values: Values) -> dict[str, Any]:
    rate = values["text_encoder_lr"]
    return {} if rate is None else {"text_encoder_lr": [rate]}


def _nothing(values: Values) -> dict[str, Any]:
    return {}


def _unless(name: str, option: str, *absent: Any) -> Callable[[Values], dict[str, Any]]:
    """A function that gives the option the setting's value, and leaves it out for the values `absent`."""
    return lambda values: {} if values[name] in absent else {option: values[name]}


FORMS: Mapping[str, Callable[[Values], dict[str, Any]]] = {
    "resolution": _resolution,
    "resolution_height": _nothing,
    "optimizer_args": _optimizer_args,
    "weight_decay": _nothing,
    "text_encoder_lr": _rates,
    "cache_latents": _cache_latents,
    "cache_latents_to_disk": _nothing,  # ours go into the app's folder, theirs beside the pictures
    "cache_text_encoder_outputs": _nothing,  # SD 1.x has no such option there
    "sample_prompts": _nothing,  # theirs is a file
    "mixed_precision": _unless("mixed_precision", "mixed_precision", "auto"),
    "max_token_length": _unless("max_token_length", "max_token_length", None, 75),
    "title": _unless("title", "metadata_title", ""),
    "trigger_word": _unless("trigger_word", "metadata_trigger_phrase", ""),
    "save_every_n_steps": _unless("save_every_n_steps", "save_every_n_steps", None, 0),
    "sample_every_n_steps": _unless("sample_every_n_steps", "sample_every_n_steps", None, 0),
}
"""Settings whose form differs from sd-scripts'."""
