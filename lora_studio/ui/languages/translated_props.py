"""Components in the language of who reads them: in Gradio's config, and in the answers of events.

Gradio's own `I18n` looks texts up in the browser by the browser's language, knows no placeholders, and not
the texts of an event's answer (6.31). So what Gradio sends is translated before it goes out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lora_studio.ui.languages.message_table import MessageTable
from lora_studio.ui.languages.translated_html import translated_html
from lora_studio.ui.languages.translated_scripts import translated_script

WORDED = ("label", "info", "placeholder", "title", "description", "submit_btn", "stop_btn")
"""Props that hold a text, of any component."""
VALUE_IS_TEXT = frozenset({"button", "uploadbutton", "downloadbutton", "markdown"})
TYPED = "notranslate"
"""The class of fields whose choices are names that people gave."""


def translated_props(
    kind: str, props: Mapping[str, Any], table: MessageTable, *, has_names: bool = False
) -> dict[str, Any]:
    """A component's props, as its config or an update has them; `has_names`: choices stay as they are."""
    made = dict(props)
    for name in WORDED:
        if isinstance(text := made.get(name), str):
            made[name] = _lines(text, table)
    if made.get("choices") and not has_names:
        made["choices"] = [_choice(one, table) for one in made["choices"]]
    if isinstance(script := made.get("js_on_load"), str):
        made["js_on_load"] = translated_script(script, table)
    if "value" in made:
        made["value"] = translated_value(kind, made["value"], table)
    return made


def translated_value(kind: str, value: Any, table: MessageTable) -> Any:
    """A component's value. What stands in a field is somebody's own, whatever it says."""
    if not isinstance(value, str):
        return value
    if kind == "html":
        return translated_html(value, table)
    return table.translated(value) if kind in VALUE_IS_TEXT else value


def translated_answer(blocks: Sequence[Any], values: Sequence[Any], table: MessageTable) -> list[Any]:
    """The answer of an event: for each of the blocks a value or an update."""
    made = []
    for block, value in zip(blocks, values, strict=True):
        kind = block.get_block_name()
        if isinstance(value, dict) and value.get("__type__") == "update":
            has_names = TYPED in (getattr(block, "elem_classes", None) or ())
            made.append(translated_props(kind, value, table, has_names=has_names))
        else:
            made.append(translated_value(kind, value, table))
    return made


def translated_config(config: Mapping[str, Any], table: MessageTable) -> dict[str, Any]:
    """Gradio's config of a page."""
    components = []
    for component in config["components"]:
        props = component.get("props", {})
        has_names = TYPED in (props.get("elem_classes") or ())
        made = translated_props(component["type"], props, table, has_names=has_names)
        components.append({**component, "props": made})
    return {**config, "components": components}


def _lines(text: str, table: MessageTable) -> str:
    """A text line by line, as it is shown."""
    return "\n".join(table.translated(line) for line in text.split("\n"))


def _choice(choice: Any, table: MessageTable) -> Any:
    """A (name, value) of a choice, or a name alone."""
    if isinstance(choice, list | tuple) and len(choice) == 2 and isinstance(choice[0], str):
        return [_lines(choice[0], table), choice[1]]
    return choice
