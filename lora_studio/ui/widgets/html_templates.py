"""HTML for gr.HTML, filled in on the server by Jinja with autoescape.

Gradio's own templates are not used for anything people wrote: the result of `{{ }}` in an `html_template` is
evaluated as a JavaScript template literal in the browser (6.31), so a LoRA called `${...}` would run as a
program. The default template, `${value}`, inserts a finished string as it is.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import gradio as gr
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from lora_studio.ui.languages.typed_text import TypedText

TEMPLATES = Path(__file__).with_name("templates")

ACTIONS_JS = """
element.addEventListener('click', (event) => {
  const button = event.target.closest('[data-action]');
  if (button && element.contains(button)) trigger('click', {...button.dataset});
});
"""
"""`js_on_load` for HTML whose buttons carry `data-action` and more facts: they arrive as the event's data."""

FOCUS_JS = """
let held = '';
element.addEventListener('focusin', (event) => { held = event.target.dataset?.key || ''; });
element.addEventListener('focusout', (event) => { if (event.relatedTarget) held = ''; });
new MutationObserver(() => {
  if (!held || document.activeElement !== document.body) return;
  const all = [...element.querySelectorAll('[data-key]')];
  all.find((one) => one.dataset.key === held && !one.disabled)?.focus();
}).observe(element, {childList: true, subtree: true});
"""
"""More of `js_on_load`: the focus stays on the thing of the same `data-key` when the HTML is painted anew."""


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=[TypedText],
    )
    environment.filters["url"] = file_url
    return environment


def fill(template: str, **facts: Any) -> str:
    """The HTML of `templates/<template>.html` with escaped facts."""
    return _environment().get_template(f"{template}.html").render(**facts)


def file_url(path: str | Path) -> str:
    """The address of a served file. Relative, so that it holds behind a prefixing proxy too."""
    return "gradio_api/file=" + quote(str(path), safe="/")


def panel(value: str = "", *, elem_id: str, actions: str | None = None) -> gr.HTML:
    """A component for HTML of ours. `actions` is its `js_on_load`, as ACTIONS_JS."""
    return gr.HTML(value, elem_id=elem_id, elem_classes="panel", js_on_load=actions, apply_default_css=False)


def heading(title: str, text: str = "", *, elem_id: str) -> gr.HTML:
    return panel(fill("heading", title=title, text=text), elem_id=elem_id)


def hidden(elem_id: str, value: str = "") -> gr.Textbox:
    """A hidden field for an id. It comes back from the browser, so it has to be checked."""
    return gr.Textbox(value, visible=False, elem_id=elem_id)
