"""Files of settings that somebody hands to the page: an argument TOML, a preset of the kohya_ss GUI, or a
LoRA's training.json. Nothing that such a file names is opened."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from lora_studio.config import TrainConfig
from lora_studio.kohya_config.argument_file import parse_options, read_given
from lora_studio.kohya_config.option_values import read_json, read_text
from lora_studio.kohya_config.read_options import KohyaOptions

HINT = "Take an argument TOML of sd-scripts, a preset of the kohya_ss GUI, or a LoRA's training.json."
PROMPTS_ELSEWHERE = (
    "The prompts of the previews are in a file of their own, which isn't read: write them into “Prompts of "
    "the previews”."
)


def read_settings_file(path: Path, name: str) -> KohyaOptions:
    """Read a file, which messages call `name`; options that we lack are notes. Raises ConfigError."""
    text = read_text(path, HINT)
    ours = _training_in(text, name) if text.lstrip()[:1] == "{" else None
    if ours is not None:
        return KohyaOptions(values=ours.values(), given={})
    given, settings, rounds = parse_options(text, name)
    notes: tuple[str, ...] = ()
    if isinstance(given.get("sample_prompts"), str):
        del given["sample_prompts"]
        notes = () if "sample_prompts" in settings else (PROMPTS_ELSEWHERE,)
    options = read_given(given, settings, ignore_unknown=True)
    counted = {"max_train_epochs": rounds} if rounds else {}
    return replace(options, in_epochs={**options.in_epochs, **counted}, notes=(*options.notes, *notes))


def _training_in(text: str, name: str) -> TrainConfig | None:
    """The training of a training.json; None for JSON of another kind. Raises ConfigError."""
    data = read_json(text, name)
    found = data.get("config", data) if isinstance(data, dict) else None
    if not isinstance(found, dict) or not isinstance(found.get("model"), dict):
        return None
    return TrainConfig.from_json(found)
