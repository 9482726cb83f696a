"""JSON presets of the kohya_ss GUI's LoRA tab from the settings of a training."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from lora_studio.catalog import family_title
from lora_studio.catalog.family_names import FLUX, SD1, SD2, SDXL
from lora_studio.config import TrainConfig
from lora_studio.errors import ConfigError
from lora_studio.kohya_config.options import NETWORK_ARGS, OPTIONS
from lora_studio.kohya_config.presets import FLUX_MARK, MARK, RENAMED, SAME, read_preset
from lora_studio.kohya_config.read_options import OWN_SETTINGS, OWN_TABLE
from lora_studio.kohya_config.write_options import kohya_options, not_said

OF_FAMILY: Mapping[str, Mapping[str, bool]] = {
    SD1: {},
    SD2: {"v2": True},
    SDXL: {SDXL: True},
    FLUX: {FLUX_MARK: True},
}
"""The GUI's switches for the families whose presets it has and we read."""
THEIR_NAMES = {ours: theirs for theirs, ours in RENAMED.items()}
KINDS: Mapping[str, str] = {
    **{"loha": "LyCORIS/LoHa", "lokr": "LyCORIS/LoKr", "diag-oft": "LyCORIS/Diag-OFT"},
}
THEIR_ARGS = {"constraint": "constrain"}


def write_preset(config: TrainConfig, family: str) -> str:
    """The preset's text, which reads back as the same settings: the GUI passes over the table with those that
    it has no field for. Raises ConfigError for a family that its presets can't be written for."""
    if family not in OF_FAMILY:
        raise ConfigError(
            f"The kohya_ss GUI's presets for {family_title(family)} aren't written here.",
            "Take the TOML of sd-scripts.",
        )
    options = kohya_options(config)
    preset: dict[str, Any] = {MARK: _kind(config, family), **OF_FAMILY[family], "epoch": 1}
    preset |= {THEIR_NAMES.get(name, name): value for name, value in options.items() if _is_theirs(name)}
    preset |= _network(options) | _rates(options) | _pairs(options)
    if config.preview.sample_prompts:
        preset["sample_prompts"] = "\n".join(" ".join(one.split()) for one in config.preview.sample_prompts)
    preset |= {"max_train_steps": options["max_train_steps"], "lr_warmup": 0}
    settings = not_said(config, read_preset(preset)[0])
    return json.dumps({**preset, OWN_TABLE: {OWN_SETTINGS: settings}}, indent=2, ensure_ascii=False) + "\n"


def _is_theirs(name: str) -> bool:
    return name in SAME or name in THEIR_NAMES


def _kind(config: TrainConfig, family: str) -> str:
    network = config.network
    if network.algo in KINDS:
        return KINDS[network.algo]
    if network.dora_wd:
        return "LyCORIS/LoCon"
    if family == FLUX:
        return "Flux1"
    return "Standard" if network.conv_dim is None else "Kohya LoCon"


def _network(options: Mapping[str, Any]) -> dict[str, Any]:
    """The pairs of `network_args`, which are fields there."""
    pairs: dict[str, str] = {}
    for text in options.get("network_args", ()):
        name, _, value = text.partition("=")
        pairs[name] = value
    switches = {"True": True, "False": False}
    found: dict[str, Any] = {"LyCORIS_preset": pairs.pop("preset", "full")}
    for name, value in pairs.items():
        if name in NETWORK_ARGS and name != "algo":
            found[THEIR_ARGS.get(name, name)] = switches.get(value, value)
    return found


def _rates(options: Mapping[str, Any]) -> dict[str, Any]:
    """The rates, where 0 leaves a part out."""
    rate = options.get("learning_rate", OPTIONS["learning_rate"])
    unet, encoder = options.get("unet_lr", rate), next(iter(options.get("text_encoder_lr", ())), rate)
    return {
        "learning_rate": rate,
        "unet_lr": 0 if options.get("network_train_text_encoder_only") else unet,
        "text_encoder_lr": 0 if options.get("network_train_unet_only") else encoder,
    }


def _pairs(options: Mapping[str, Any]) -> dict[str, Any]:
    names = ("optimizer_args", "lr_scheduler_args")
    return {name: " ".join(options[name]) for name in names if options.get(name)}
