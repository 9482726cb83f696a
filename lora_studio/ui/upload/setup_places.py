"""The places of a training's fields on the Upload tab, for what is refused there."""

from __future__ import annotations

from lora_studio.config import config_leaf
from lora_studio.errors import ConfigError
from lora_studio.ui.client_input.field_refusals import FieldPlace
from lora_studio.ui.widgets.form_sections import folds_of
from lora_studio.ui.widgets.setting_labels import LABELS

DRAWER = "upload-settings"
NAME = FieldPlace(element="upload-name", label="Name")
BASE = FieldPlace(element="upload-base", label="Base model")
QUESTIONS = {
    "pictures": FieldPlace(element="upload-files", label="Pictures", watched="upload-pictures"),
    "kind": FieldPlace(element="upload-kind", label="What the pictures show"),
    "trigger_word": FieldPlace(
        element="upload-trigger", label="You will call it with", folds=("upload-called",)
    ),
    **dict.fromkeys(("name", "title", "output_name"), NAME),
    **dict.fromkeys(("base", "pretrained_model_name_or_path"), BASE),
}
"""The questions beside the settings, in the order of the page."""
QUESTION_LABELS = {name: place.label for name, place in QUESTIONS.items()}


def place_of(error: ConfigError) -> FieldPlace | None:
    """The place of the field that a refusal names."""
    if error.field in QUESTIONS:
        return QUESTIONS[error.field]
    folds = folds_of(error.field)
    if folds is None:
        return None
    return FieldPlace(element=f"train-{error.field}", label=LABELS[error.field], folds=(DRAWER, *folds))


def without_shown_help(error: ConfigError) -> ConfigError:
    """The refusals without the hints that stand at their fields anyway: the help of a setting."""
    each = [
        ConfigError(one.message, "" if _is_its_help(one) else one.hint, field=one.field) for one in error.each
    ]
    return ConfigError(each[0].message, each[0].hint, field=each[0].field, others=each[1:])


def _is_its_help(error: ConfigError) -> bool:
    return error.field in LABELS and error.hint == config_leaf(error.field).help_text
