"""A training set up anew as another one was, to run again with one change."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lora_studio.access.visitor import Kind, visitor
from lora_studio.catalog import plan, preview_prompts
from lora_studio.config import TrainConfig
from lora_studio.errors import StoreError
from lora_studio.records import JobRecord
from lora_studio.studio import Studio
from lora_studio.ui.client_input.base_traits import traits_of
from lora_studio.ui.upload import picture_set, settings_files
from lora_studio.ui.upload.setup_places import DRAWER
from lora_studio.ui.upload.upload_tab import UploadTab
from lora_studio.ui.widgets.form_sections import folds_of, shown_leaves
from lora_studio.ui.widgets.html_templates import fill
from lora_studio.ui.widgets.setting_labels import LABELS

OFFERED = ("max_train_steps", "learning_rate", "network_dim", "resolution")
"""The settings that are changed most, offered first."""


def outputs(tab: UploadTab) -> list[Any]:
    """Components in the order of `repeated`."""
    asked = [tab.kind, tab.name, tab.trigger, tab.base]
    return [*tab.shown, *asked, tab.again, *tab.form.components]


def repeated(tab: UploadTab, studio: Studio, job: JobRecord) -> list[Any]:
    """Values that set the Upload tab up as a training was: its pictures, its questions, and the settings that
    are others than those of its preset. Raises StoreError when its pictures are not here."""
    config = TrainConfig.from_json(job.config)
    folder = Path(config.dataset.train_data_dir)
    is_ours = folder.parent == studio.settings.datasets and visitor().sees(Kind.DATASET, folder.name)
    if not is_ours or not folder.is_dir():
        raise StoreError(
            f"The pictures of {job.name} are not here any more.", "Upload them again, or put them back."
        )
    record = studio.datasets.get(folder.name)
    base = config.model.pretrained_model_name_or_path
    typed = typed_settings(config, base, record.images, studio)
    questions = [config.dataset.kind, job.name, config.dataset.trigger_word, base]
    return [*picture_set.shown(studio, record), *questions, banner(job), *tab.form.filled(typed)]


def typed_settings(config: TrainConfig, base: str, images: int, studio: Studio) -> dict[str, str]:
    """The settings of a training that the form has and that its preset doesn't give, as typed."""
    traits, subject = traits_of(base, studio.settings), config.dataset
    prompts = preview_prompts(subject.kind, subject.trigger_word, traits.name)
    planned: Mapping[str, Any] = {**plan(subject.kind, traits, images).values, "sample_prompts": prompts}
    values, found = config.values(), {}
    for leaf in (*shown_leaves(basic=True), *shown_leaves(basic=False)):
        value, usual = values[leaf.name], planned.get(leaf.name, leaf.default)
        text = settings_files.typed_text(leaf, value)
        if text and value != usual and text != settings_files.typed_text(leaf, usual):
            found[leaf.name] = text
    return found


def banner(job: JobRecord) -> str:
    """HTML that says whose settings these are, and leads to those that are changed most."""
    fields = [
        {
            "element": f"train-{name}",
            "label": LABELS[name],
            "folds": " ".join((DRAWER, *(folds_of(name) or ()))),
        }
        for name in OFFERED
    ]
    return fill("again", run=f"{job.id} {time.time():.0f}", name=job.name, fields=fields)
