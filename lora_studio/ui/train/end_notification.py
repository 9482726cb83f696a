"""The bell in the line above the tabs: the browser's notification when a training ends. All of it happens
there, and the browser is asked for its leave only when somebody presses the bell."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

from lora_studio.ui.widgets.html_templates import fill, panel

SCRIPT = Path(__file__).with_name("end_notification.js")


def render() -> gr.HTML:
    """Create the bell. Call in the line above the tabs."""
    return panel(fill("bell"), elem_id="strip-bell", actions=SCRIPT.read_text("utf-8"))
