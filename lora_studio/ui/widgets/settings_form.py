"""Form fields made from TrainConfig's settings, and their values turned back into overrides.

An empty field takes the value that the preset and the base model plan, which is shown in grey. So a typed
value is never mixed up with one that follows from the kind of pictures, and another kind never overwrites it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr

from lora_studio.catalog import PresetValues
from lora_studio.config import Leaf, config_leaf
from lora_studio.errors import ConfigError
from lora_studio.ui.widgets.form_sections import is_out_of_reach, sectioned_leaves, shown_leaves
from lora_studio.ui.widgets.html_templates import fill, panel
from lora_studio.ui.widgets.setting_labels import found_settings, label_of

AUTOMATIC = "automatic"
LONGEST_QUERY = 60
SWITCH: Mapping[str, bool] = {"on": True, "off": False}
LEAD_JS = """
element.addEventListener('click', (event) => {
  const {setting, section} = event.target.closest('[data-setting]')?.dataset || {};
  if (setting) studio.lead(`train-${setting}`, section ? [`train-advanced-${section}`] : []);
});
"""
"""Script that leads from a setting that was found to its field, whose section may be folded."""


@dataclass(frozen=True)
class Form:
    """The fields by setting name, in the order of the page."""

    fields: Mapping[str, gr.components.FormComponent]
    search: gr.Textbox
    found: gr.HTML
    reset: gr.Button

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.fields)

    @property
    def components(self) -> list[gr.components.FormComponent]:
        return list(self.fields.values())

    def planned(self, plan: PresetValues) -> list[dict[str, Any]]:
        """Updates that show the planned values in grey, in the order of `components`."""
        return [_planned(config_leaf(name), plan) for name in self.names]

    def emptied(self) -> list[dict[str, Any]]:
        """Updates that clear typed values, in the order of `components`."""
        return [gr.update(value=_empty(config_leaf(name))) for name in self.names]

    def filled(self, typed: Mapping[str, str]) -> list[dict[str, Any]]:
        """Updates that type these texts by setting and empty all others, as `components` are ordered."""
        return [gr.update(value=_fitting(config_leaf(name), typed.get(name))) for name in self.names]


def render_form(plan: PresetValues) -> Form:
    """Create the search, the basic settings, the others folded by section. Call inside Blocks."""
    fields: dict[str, gr.components.FormComponent] = {}
    search = gr.Textbox(
        label="Find a setting", placeholder="rank, caption, noise_offset", max_lines=1, elem_id="train-search"
    )
    found = panel(elem_id="train-found", actions=LEAD_JS)
    with gr.Group(elem_id="train-basic"):
        for leaf in shown_leaves(basic=True):
            fields[leaf.name] = field(leaf, plan)
    for section, leaves in sectioned_leaves().items():
        with gr.Accordion(section.title, open=False, elem_id=f"train-advanced-{section.name}"):
            for leaf in leaves:
                fields[leaf.name] = field(leaf, plan)
    reset = gr.Button("Back to the defaults", elem_id="train-reset")
    return Form(fields=fields, search=search, found=found, reset=reset)


def search_results(query: str) -> str:
    """HTML of buttons that lead to the settings found; empty without a query."""
    typed = str(query or "")[:LONGEST_QUERY].strip()
    rows = [
        {"leaf": leaf, "label": label_of(leaf), "section": section} for leaf, section in found_settings(typed)
    ]
    return fill("settings_found", rows=rows, query=typed) if typed else ""


def field(leaf: Leaf, plan: PresetValues) -> gr.components.FormComponent:
    """A setting's component: label, help with unit and range, Kohya's name, planned value in grey."""
    facts: dict[str, Any] = {"label": label_of(leaf), "elem_id": f"train-{leaf.name}"}
    facts["info"] = f"{help_text(leaf)} {leaf.direction} {leaf.cost} `{leaf.name}`"
    facts |= {"interactive": True, **_looks(leaf, plan)}
    if leaf.annotation is bool or leaf.choices:
        return gr.Dropdown(value=AUTOMATIC, **facts)
    if leaf.annotation in (int, float):
        return number_box(**facts)
    return gr.Textbox(value="", lines=1 if leaf.annotation is str else 3, **facts)


def number_box(**facts: Any) -> gr.Textbox:
    """A field for a number that may be left empty. Not gr.Number: an empty one becomes 0 when its tab is
    first opened (6.31)."""
    return gr.Textbox(value="", max_lines=1, **facts)


def help_text(leaf: Leaf) -> str:
    """The setting's help with its unit and range: `Rank: ... (1 to 512)`."""
    low, high = leaf.minimum, leaf.maximum
    limits = ""
    if low is not None and high is not None:
        limits = f"{_plain(low)} to {_plain(high)}"
    elif low is not None:
        limits = f"from {_plain(low)}"
    noted = " ".join(part for part in (limits, leaf.unit) if part)
    return f"{leaf.help_text} ({noted})" if noted else leaf.help_text


def _plain(limit: float) -> str:
    return f"{int(limit):,}" if float(limit).is_integer() else f"{limit:g}"


def overrides(values: Mapping[str, Any]) -> dict[str, Any]:
    """Filled-in settings in TrainConfig's types. Raises ConfigError for settings that follow from other
    inputs and for unknown ones."""
    chosen: dict[str, Any] = {}
    for name, value in values.items():
        leaf = config_leaf(name)
        if is_out_of_reach(leaf):
            raise ConfigError(
                f"{name} can't be set as an option.",
                "It names files or code of this machine: use the command line."
                if leaf.local
                else "It follows from the pictures, the kind, the name and the base.",
                field=name,
            )
        if value is None or value == AUTOMATIC or (isinstance(value, str) and not value.strip()):
            continue
        chosen[name] = _typed(leaf, value)
        _check_choice(leaf, chosen[name])
    return chosen


def _check_choice(leaf: Leaf, value: Any) -> None:
    """Refuse a text that is none of the known values, as a class to run. Raises ConfigError."""
    if leaf.choices and str(value).strip().lower() not in {choice.lower() for choice in leaf.choices}:
        shown = ", ".join(leaf.choices)
        raise ConfigError(
            f"{leaf.name}: choose one of {shown} (got {str(value)[:80]!r}).", leaf.help_text, field=leaf.name
        )


def _typed(leaf: Leaf, value: Any) -> Any:
    if leaf.annotation is bool and isinstance(value, str):
        return SWITCH.get(value, value)
    if isinstance(value, str) and leaf.annotation not in (int, float, str) and not leaf.choices:
        lines = tuple(line.strip() for line in value.splitlines() if line.strip())
        return lines if leaf.annotation == tuple[str, ...] and not _is_pairs(leaf) else " ".join(lines)
    return value


def _is_pairs(leaf: Leaf) -> bool:
    """Whether a setting takes name=value several times, as people write it on a line or on several."""
    return leaf.name.endswith("_args")


def _planned(leaf: Leaf, plan: PresetValues) -> dict[str, Any]:
    return gr.update(**_looks(leaf, plan))


def _looks(leaf: Leaf, plan: PresetValues) -> dict[str, Any]:
    """Facts that show the planned value: the first choice's words, or the grey text in an empty field."""
    value = plan.values.get(leaf.name, leaf.default)
    if leaf.annotation is bool:
        word_shown = "off" if value is False else "on" if value else "as the base says"
        return {"choices": [(f"{AUTOMATIC}: {word_shown}", AUTOMATIC), *((word, word) for word in SWITCH)]}
    if leaf.choices:
        automatic = (f"{AUTOMATIC}: {value}" if value != "auto" else AUTOMATIC, AUTOMATIC)
        return {"choices": [automatic, *((choice, choice) for choice in leaf.choices)]}
    if value is None or value in ("", ()):
        return {"placeholder": AUTOMATIC}
    return {"placeholder": f"{value:g}" if isinstance(value, float) else str(value)}


def _fitting(leaf: Leaf, text: str | None) -> Any:
    """The text, if the setting's field can hold it, else what an empty field holds."""
    choices = SWITCH if leaf.annotation is bool else leaf.choices
    return _empty(leaf) if text is None or (choices and text not in choices) else text


def _empty(leaf: Leaf) -> Any:
    return AUTOMATIC if leaf.annotation is bool or leaf.choices else ""
