"""The choice of a second training on the Train tab, and the two side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from lora_studio.errors import ConfigError, StoreError
from lora_studio.jobs.comparison.run_comparison import compare_runs
from lora_studio.studio import Studio
from lora_studio.ui.client_input.validate import QUICK, guarded, safe_id
from lora_studio.ui.comparison.comparison_views import compared
from lora_studio.ui.widgets.html_templates import ACTIONS_JS, FOCUS_JS, panel

ADDRESS_JS = Path(__file__).with_name("comparison_panel.js").read_text("utf-8")


def render() -> gr.HTML:
    """Create the panel. Call first in the column of the chosen training, which makes way for it."""
    return panel(elem_id="train-comparison", actions=ACTIONS_JS + FOCUS_JS + ADDRESS_JS)


def chosen_pair(studio: Studio, event: gr.EventData, shown: str) -> list[str]:
    """Ids of the shown training and of that whose row says Compare. Raises StoreError, ConfigError."""
    other = studio.jobs.get(safe_id(getattr(event, "id", None), "training")).id
    first = studio.jobs.get(safe_id(shown, "training")).id
    if first == other:
        raise ConfigError("That is the training that is shown.", "Compare it with another one.", field="with")
    return [first, other]


def listen(shown: gr.HTML, job: gr.Textbox, other: gr.Textbox, studio: Studio) -> list[Any]:
    """Wire the comparison's buttons, and what the address asks for; `job` and `other` are the ids of the two.
    Returns the events after which the page has to be refreshed."""

    def act(event: gr.EventData) -> list[Any]:
        """End the comparison, here and not by the next look alone: one that began before the comparison
        was shown may come after it, and tell that none is."""
        if getattr(event, "action", "") == "show":
            return [studio.jobs.get(safe_id(getattr(event, "id", None), "training")).id, "", ""]
        return [gr.skip(), "", ""]

    def restore_comparison(event: gr.EventData) -> str:
        named = getattr(event, "with", "")
        return studio.jobs.get(safe_id(named, "training")).id if named else ""

    act.__name__ = "end_comparison"  # the audit log calls it so
    # One after the other: what ends a comparison must not be answered after the Back that asks for it again.
    alone: dict[str, Any] = {**QUICK, "concurrency_id": "comparison"}
    return [
        shown.click(guarded(act), None, [job, other, shown], **alone),
        shown.submit(guarded(restore_comparison), None, other, trigger_mode="multiple", **alone),
    ]


def comparison_of(studio: Studio, first: str, second: str) -> str:
    """HTML of two trainings side by side; empty without a second one, or when one of them is gone."""
    if not second or first == second:
        return ""
    try:
        pair = [safe_id(one, "training") for one in (first, second)]
        return compared(compare_runs(studio.jobs, studio.database, *pair))
    except StoreError:
        return ""
