"""Styles by purpose: a tile for each, which puts its words around the prompt and takes them away again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from lora_studio.catalog import BASES
from lora_studio.prompts.styles import SLOT, STYLES, Style, apply_style, size_for, style_named
from lora_studio.studio import Studio
from lora_studio.ui.client_input.validate import guarded
from lora_studio.ui.generate.generate_fields import Fields
from lora_studio.ui.widgets.html_templates import ACTIONS_JS, fill, panel


@dataclass(frozen=True, kw_only=True)
class Dressed:
    """A prompt and a negative prompt, and the key of the style around them; empty for none."""

    prompt: str
    negative: str
    style: str = ""


def render() -> gr.HTML:
    """Create the tiles. Call inside a Tab."""
    return panel(tiles(""), elem_id="generate-styles", actions=ACTIONS_JS)


def tiles(chosen: str) -> str:
    """HTML with a button and a picture for each style."""
    items = [
        {"style": style, "preview": style.preview.is_file() and style.preview} for style in STYLES.values()
    ]
    return fill("styles", items=items, chosen=chosen)


def undress(prompt: str, negative: str, base: str) -> Dressed:
    """The prompts without the style that `apply_style` put around them, whose key is in `style`."""
    stripped = prompt.strip()
    fitting = [
        style
        for style in STYLES.values()
        if stripped and apply_style(stripped, "", style.key, base=base)[0] == stripped
    ]
    if not fitting:
        return Dressed(prompt=prompt, negative=negative)
    style = max(fitting, key=lambda style: len(dressed_in(style, base)))  # some end like others
    before, _, after = dressed_in(style, base).partition(SLOT)
    inner = stripped[len(before) : len(stripped) - len(after)]
    return Dressed(prompt=inner, negative=_without(negative, style.negative), style=style.key)


def dressed_in(style: Style, base: str) -> str:
    """The style's words for a base, with the place for the prompt."""
    around, _ = apply_style(SLOT, "", style.key, base=base)
    return around


def _without(negative: str, words: str) -> str:
    return negative.replace(words, "").strip().strip(",").strip()


def dress(prompt: str, negative: str, key: str, base: str) -> Dressed:
    """The prompts in style `key` instead of theirs; in none when it is theirs. Raises ConfigError."""
    style_named(key)
    plain = undress(prompt, negative, base)
    if plain.style == key:
        return Dressed(prompt=plain.prompt, negative=plain.negative)
    prompt, negative = apply_style(plain.prompt, plain.negative, key, base=base)
    return Dressed(prompt=prompt, negative=negative, style=key)


def sizes(key: str, base: str, typed: tuple[str, str]) -> tuple[Any, Any]:
    """Width and height of the style's shape, unless typed otherwise. The embedded base draws squares."""
    entry = BASES.get(base)
    if entry is None or not entry.source:
        return gr.skip(), gr.skip()
    ours = {size_for(style, entry.native_size, entry.step) for style in STYLES}
    if any(typed) and typed not in {(str(width), str(height)) for width, height in ours}:
        return gr.skip(), gr.skip()
    width, height = size_for(key, entry.native_size, entry.step) if key else (0, 0)
    return ("", "") if width == height else (str(width), str(height))


def listen(shown: gr.HTML, fields: Fields, studio: Studio) -> Any:
    """Wire the tiles. Returns the event that fills in the fields."""

    def choose(event: gr.EventData, *given: Any) -> list[Any]:
        prompt, negative, base, width, height = (str(value or "") for value in given)
        worn = dress(prompt, negative, str(getattr(event, "style", "")), base)
        return [worn.prompt, worn.negative, *sizes(worn.style, base, (width, height)), tiles(worn.style)]

    outputs = [fields[name] for name in ("prompt", "negative_prompt", "width", "height")]
    inputs = [fields[name] for name in ("prompt", "negative_prompt", "base", "width", "height")]
    return shown.click(
        guarded(choose), inputs, [*outputs, shown], show_progress="hidden", api_visibility="private"
    )
