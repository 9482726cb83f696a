"""Argument TOML and presets on disk, with the prompt file that they name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from lora_studio.errors import ConfigError
from lora_studio.files import expanded
from lora_studio.kohya_config.flow_modules import options_in
from lora_studio.kohya_config.option_values import bounded, read_json, read_text, typed
from lora_studio.kohya_config.presets import is_preset, read_preset
from lora_studio.kohya_config.read_options import KohyaOptions, read_options
from lora_studio.kohya_config.sample_prompts import prompt_only
from lora_studio.kohya_config.taken_options import option_names
from lora_studio.kohya_config.write_options import flatten, own_settings
from lora_studio.parsing.toml_text import read_toml

DRAWING = ("sample_every_n_steps", "sample_every_n_epochs", "sample_at_first")


def read_file(
    path: Path, command_line: Mapping[str, Any] | None = None, *, ignore_unknown: bool = False
) -> KohyaOptions:
    """Read an argument TOML, or a preset of the kohya_ss GUI (JSON), and the prompts that it names.
    `command_line` are options that win over the file's. Paths are, as in sd-scripts, from the working folder.
    Raises ConfigError."""
    given, settings, rounds = parse_options(read_text(path, "Check --kohya-config."), path.name)
    command_line = command_line or {}
    rounds = 0 if {"max_train_steps", "max_train_epochs"} & set(command_line) else rounds
    return read_given({**given, **command_line}, settings, rounds=rounds, ignore_unknown=ignore_unknown)


def parse_options(text: str, name: str) -> tuple[dict[str, Any], dict[str, Any], int]:
    """(sd-scripts' options, our own settings, epochs that the GUI counts max_train_steps from or 0) of the
    text of an argument TOML or of a preset, which messages call `name`. Raises ConfigError."""
    rounds = 0
    if name.lower().endswith(".json") or text.lstrip()[:1] == "{":
        (given, settings), rounds = _from_json(read_json(text, name), name)
    else:
        given, settings = flatten(read_toml(text, name))
    _recognise({*given, *settings}, name)
    return given, settings, rounds


def read_given(
    given: Mapping[str, Any],
    settings: Mapping[str, Any] | None = None,
    *,
    rounds: int = 0,
    ignore_unknown: bool = False,
) -> KohyaOptions:
    """Settings from sd-scripts' options `given`, with the prompts of the file that `sample_prompts` names;
    `settings` are ours, which win. Raises ConfigError."""
    read = {**given}
    notes: tuple[str, ...] = ()
    lines = _prompts_of(given)
    read.pop("sample_prompts", None)
    if lines:
        prompts = [prompt_only(line) for line in lines]
        read["sample_prompts"] = [prompt for prompt in prompts if prompt]
        if prompts != lines:
            notes = ("The previews take the prompts of sample_prompts without their flags.",)
    options = read_options(read, settings, ignore_unknown=ignore_unknown)
    return replace(options, given=options_in(given), notes=(*options.notes, *notes), rounds=rounds)


def _from_json(data: Any, name: str) -> tuple[tuple[dict[str, Any], dict[str, Any]], int]:
    if is_preset(data):
        options, rounds = read_preset(data)
        return (options, own_settings(data)), rounds
    if not isinstance(data, dict):
        raise ConfigError(f"{name} holds no options.", "Give --kohya-config a TOML file or a preset.")
    if isinstance(data.get("config"), dict) or isinstance(data.get("model"), dict):
        raise ConfigError(f"{name} is a training of LoRA Studio.", f"Use --config {name}.")
    return flatten(data), 0


def _recognise(names: set[str], name: str) -> None:
    """Refuse a file of another kind, whose names would all be passed over. Raises ConfigError."""
    if "datasets" in names:
        raise ConfigError(
            f"{name} describes datasets.", "It belongs into dataset_config; --kohya-config wants options."
        )
    if not names & option_names():
        raise ConfigError(
            f"{name} holds no option of sd-scripts.", "Give --kohya-config a TOML file or a preset."
        )


def _prompts_of(given: Mapping[str, Any]) -> list[str]:
    """The prompts' lines; unreadable files matter only if something is drawn. Raises ConfigError."""
    named = given.get("sample_prompts")
    if isinstance(named, list):  # of a preset, which holds them itself
        return [str(one) for one in bounded("sample_prompts", named)]
    if not isinstance(named, str) or not named.strip():
        return []
    try:
        return _prompt_lines(expanded(bounded("sample_prompts", named)))
    except ConfigError:
        if any(typed(name, given.get(name)) for name in DRAWING):
            raise
        return []


def _prompt_lines(path: Path) -> list[str]:
    """Prompts of a file, one a line, or a list in TOML or JSON, as in sd-scripts. Raises ConfigError."""
    text = read_text(path, "sample_prompts names the file with the prompts of the previews.")
    if path.suffix.lower() == ".toml":
        data: Any = read_toml(text, path.name).get("prompt", {}).get("subset", [])
    elif path.suffix.lower() == ".json":
        data = read_json(text, path.name, field="sample_prompts")
    else:
        lines = (line.strip() for line in text.splitlines())
        return [line for line in lines if line and not line.startswith("#")]
    if not isinstance(data, list):
        raise ConfigError(f"{path.name} holds no list of prompts.", field="sample_prompts")
    found = (one.get("prompt", "") if isinstance(one, dict) else str(one) for one in data)
    return [prompt for prompt in map(str, found) if prompt]
