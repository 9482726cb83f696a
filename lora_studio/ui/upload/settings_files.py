"""Settings of a training between the form, the visitor's shelf and files: what is typed, read and written."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

from lora_studio.catalog import BASES
from lora_studio.config import Kind, Leaf, TrainConfig, config_leaf
from lora_studio.data.buckets import resolution_of
from lora_studio.errors import StudioError
from lora_studio.formatting import counted
from lora_studio.kohya_config import KohyaOptions, write_kohya
from lora_studio.kohya_config.sample_prompts import prompt_lines
from lora_studio.kohya_config.write_preset import write_preset
from lora_studio.parsing.numbers import parse_whole
from lora_studio.parsing.plain_text import plain_text
from lora_studio.parsing.toml_text import write_table
from lora_studio.settings import Settings
from lora_studio.studio import Studio
from lora_studio.training_request import StartTraining
from lora_studio.ui.client_input.validate import base_names, safe_base
from lora_studio.ui.widgets.form_sections import SET_ELSEWHERE, is_out_of_reach
from lora_studio.ui.widgets.setting_labels import LABELS, label_of
from lora_studio.ui.widgets.settings_form import AUTOMATIC, overrides

PICTURES, OUTPUT = "pictures", "output"
"""Folders that a written file names: those of this machine are nobody else's business."""
KINDS: tuple[Kind, ...] = get_args(Kind)
LONGEST_SHOWN = 80
BASE = "pretrained_model_name_or_path"


@dataclass(frozen=True, kw_only=True)
class Filling:
    """Texts for the form's fields by setting; a base model, empty to leave it; sentences on the rest."""

    typed: Mapping[str, str]
    base: str = ""
    notes: tuple[str, ...] = ()


def filling_of(file: KohyaOptions, planned: Mapping[str, Any], images: int, settings: Settings) -> Filling:
    """Return a file's settings as the form takes them, where an empty field would mean a `planned` value.
    `images` is the number of pictures on the page."""
    notes = list(file.notes)
    values = _in_steps(file, images, notes)
    base = base_here(str(values.get(BASE) or ""), settings, notes)
    typed: dict[str, str] = {}
    for name in {**values, **{name: None for name in planned if name in LABELS}}:
        leaf = config_leaf(name)
        value = values.get(name, leaf.default)
        if is_out_of_reach(leaf):
            if name not in SET_ELSEWHERE and value not in (leaf.default, (), "", None):
                notes.append(f"{name} isn't taken over: it names a file or code of a machine.")
        elif leaf.choices and str(value) not in leaf.choices and value is not None:
            notes.append(f"{label_of(leaf)}: {_shown(value)} can't be chosen on the page.")
        elif name in LABELS and (text := typed_text(leaf, value)):
            typed[name] = text
    return Filling(typed=typed, base=base, notes=tuple(notes))


def typed_text(leaf: Leaf, value: Any) -> str:
    """A value as a person would give it to the setting's field; empty where only an empty field says it."""
    if value is None:
        return "none" if leaf.optional and not leaf.choices and leaf.annotation is not bool else ""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple | list):
        return "\n".join(map(str, value))
    return str(value)


def is_typed(value: Any) -> bool:
    """Whether a field of the form holds something of its own."""
    return value not in (None, AUTOMATIC) and bool(str(value).strip())


def read_differences(filling: Filling, planned: Mapping[str, Any]) -> list[str]:
    """A sentence for each setting that is another than the planned one."""
    found = []
    for name, text in filling.typed.items():
        leaf = config_leaf(name)
        plain = typed_text(leaf, planned.get(name, leaf.default))
        if text != plain:
            found.append(f"{label_of(leaf)}: {_shown(text)} instead of {_shown(plain) or 'nothing'}.")
    return found


def file_config(studio: Studio, subject: Sequence[str | None], typed: Mapping[str, Any]) -> TrainConfig:
    """The training on the tab, for a file: what isn't filled in yet gets a stand-in, and no path of this
    machine is in it. Raises StudioError."""
    dataset_id, kind, name, trigger, base = (given or "" for given in subject)
    images = studio.datasets.get(dataset_id).images if dataset_id else 10
    made_trigger = studio.trainings.trigger_for(dataset_id, name) if dataset_id and name.strip() else ""
    start = StartTraining(
        name=name.strip() or "My LoRA",
        kind=next((one for one in KINDS if one == kind), "object"),
        trigger=trigger.strip() or made_trigger,
        base=safe_base(base, studio.settings),
        overrides=overrides(typed),
    )
    config = studio.trainings.folder_config(start, studio.settings.home / "no-pictures", images)
    entry = BASES.get(start.base)
    return config.with_values(
        {
            "train_data_dir": PICTURES,
            "output_dir": OUTPUT,
            "reg_data_dir": "",
            BASE: (entry and entry.source) or start.base,
        }
    )


def sd_scripts_files(config: TrainConfig) -> dict[str, str]:
    """The argument TOML, and beside it the files that it names for sd-scripts: the pictures with their word,
    and the prompts of the previews. Texts by file name."""
    name, data = config.output.output_name, config.dataset
    files = {f"{name}.toml": "", f"{name}-dataset.toml": _dataset(config)}
    options: dict[str, Any] = {"dataset_config": f"{name}-dataset.toml"}
    if config.preview.sample_every_n_steps and config.preview.sample_prompts:
        lines = prompt_lines(config.preview.sample_prompts, config.preview, resolution_of(data))
        files[f"{name}-prompts.txt"] = "\n".join(lines) + "\n"
        options["sample_prompts"] = f"{name}-prompts.txt"
    return {**files, f"{name}.toml": write_kohya(config, options)}


def gui_file(config: TrainConfig, family: str) -> dict[str, str]:
    """The preset of the kohya_ss GUI by its file name. Raises ConfigError."""
    return {f"{config.output.output_name}.json": write_preset(config, family)}


def data_link(text: str) -> str:
    """An address that holds the text itself, so that nothing of it is kept here."""
    return f"data:application/octet-stream;base64,{base64.b64encode(text.encode()).decode()}"


def _dataset(config: TrainConfig) -> str:
    data = config.dataset
    values: dict[str, Any] = {"image_dir": PICTURES, "num_repeats": data.num_repeats}
    values["caption_extension"] = data.caption_extension or ".txt"
    if data.trigger_word:
        values["class_tokens"] = data.trigger_word
    return f"[[datasets]]\n\n{write_table('[datasets.subsets]', values)}\n"


def _in_steps(file: KohyaOptions, images: int, notes: list[str]) -> dict[str, Any]:
    """The settings with what the file counts in epochs as steps, by the pictures on the page."""
    if not file.in_epochs:
        return file.in_steps()
    if not images:
        epochs = ", ".join(file.in_epochs)
        notes.append(
            f"{epochs} isn't taken over: an epoch has no length without pictures. Put them in first."
        )
        return replace(file, in_epochs={}).in_steps()
    repeats, *batches = (
        max(1, parse_whole(file.values.get(name)) or 1)
        for name in ("num_repeats", "train_batch_size", "gradient_accumulation_steps")
    )
    length = math.ceil(images * repeats / math.prod(batches))
    notes.append(f"An epoch of {counted(images, 'picture')} has {counted(length, 'step')} here.")
    return file.in_steps(length)


def base_here(name: str, settings: Settings, notes: list[str]) -> str:
    """Return the base of a file by the name it has here; empty, with a note, for one that isn't here."""
    if not name:
        return ""
    by_source = {base.source: base.name for base in BASES.values() if base.source}
    found = by_source.get(name, name)
    if found in {choice for _, choice in base_names(settings)}:
        return found
    try:
        return safe_base(name, settings)
    except StudioError:
        shown = plain_text(name, LONGEST_SHOWN)
        notes.append(f"The base model {shown} isn't here: the one that is chosen stays.")
        return ""


def _shown(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"
