"""Colours, type and layout. Everything is bundled: the page asks no other host for anything."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import gradio as gr
from gradio.themes.utils.fonts import LocalFont

ROOMS = ("gallery", "upload", "checks", "train", "generate", "operations", "comparison")
STYLESHEETS = (
    "page.css",
    "shell.css",
    "client_input/field_refusals.css",
    "upload/picture_tools.css",
    "upload/captions.css",
    *(f"{room}/{room}.css" for room in ROOMS),
)
"""Joined in this order."""
LOOKS: Mapping[str, str] = {
    "body_background_fill": "*neutral_50",
    "body_background_fill_dark": "*neutral_950",
    "body_text_color_subdued": "*neutral_500",
    "body_text_color_subdued_dark": "*neutral_400",
    "block_title_background_fill": "none",
    "block_title_background_fill_dark": "none",
    "block_title_padding": "0",
    "block_title_text_color": "*neutral_800",
    "block_title_text_color_dark": "*neutral_100",
    "block_title_text_weight": "700",
    "block_label_background_fill": "none",
    "block_label_background_fill_dark": "none",
    "block_label_text_color": "*neutral_800",
    "block_label_text_color_dark": "*neutral_100",
    "block_label_text_weight": "700",
    "block_info_text_color": "*neutral_500",
    "block_info_text_color_dark": "*neutral_400",
    "block_border_width": "1px",
    "block_border_color": "*neutral_200",
    "block_border_color_dark": "*neutral_700",
    "block_shadow": "none",
    "block_shadow_dark": "none",
    "input_border_width": "1px",
    "input_border_color": "*neutral_300",
    "input_border_color_dark": "*neutral_600",
    "input_border_color_focus": "*primary_500",
    "input_border_color_focus_dark": "*primary_400",
    "input_shadow": "none",
    "input_shadow_focus": "none",
    "checkbox_label_shadow": "none",
    "checkbox_border_color": "*neutral_400",
    "button_primary_shadow": "none",
    "button_primary_shadow_hover": "none",
    "button_secondary_shadow": "none",
    "button_secondary_shadow_hover": "none",
    "button_secondary_border_color": "*neutral_300",
    "button_secondary_border_color_dark": "*neutral_600",
    "button_secondary_background_fill_hover_dark": "*neutral_600",
    "button_border_width": "1px",
    "button_large_text_weight": "700",
    "button_medium_text_weight": "700",
    "button_small_text_weight": "400",
    "button_primary_background_fill": "*primary_600",
    "button_primary_background_fill_hover": "*primary_700",
    "button_primary_background_fill_dark": "*primary_600",
    "button_primary_background_fill_hover_dark": "*primary_700",
    "button_cancel_background_fill": "#b91c1c",
    "button_cancel_background_fill_dark": "#b91c1c",
    "button_cancel_background_fill_hover": "#991b1b",
    "button_cancel_background_fill_hover_dark": "#dc2626",
    "button_cancel_text_color": "white",
    "button_cancel_text_color_dark": "white",
    "button_cancel_border_color": "#b91c1c",
    "button_cancel_border_color_dark": "#b91c1c",
    "section_header_text_weight": "700",
    "input_placeholder_color": "*neutral_500",
    "input_placeholder_color_dark": "*neutral_400",
}
"""Theme variables that differ from Soft's."""


def theme() -> gr.themes.Base:
    """Soft in indigo and fuchsia, flattened: flat labels, thin borders, no shadows, a red Stop."""
    # The bundled SemiBold files lack the Latin letters; Regular and Bold of IBM Plex Sans are complete.
    font = (LocalFont("IBM Plex Sans", weights=(400, 700)), "ui-sans-serif", "system-ui", "sans-serif")
    mono = (LocalFont("IBM Plex Mono", weights=(400, 700)), "ui-monospace", "Consolas", "monospace")
    soft = gr.themes.Soft(
        primary_hue="indigo", secondary_hue="fuchsia", neutral_hue="slate", font=font, font_mono=mono
    )
    return soft.set(**LOOKS)


def stylesheet() -> str:
    folder = Path(__file__).parent
    return "\n".join((folder / name).read_text("utf-8") for name in STYLESHEETS)
