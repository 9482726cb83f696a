"""The options of a tagger on Upload, shown while a tagger is chosen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from lora_studio.captioning.captioner import TAGGER
from lora_studio.captioning.tagger_options import LONGEST_UNDESIRED, TaggerOptions
from lora_studio.ui.client_input.validate import decimal, text, yes_or_no

DEFAULTS = TaggerOptions()


@dataclass(frozen=True, kw_only=True)
class TaggerControls:
    """The components, and the group that shows or hides them."""

    group: gr.Group
    general_threshold: gr.Slider
    character_threshold: gr.Slider
    undesired_tags: gr.Textbox
    remove_underscore: gr.Checkbox
    use_rating_tags: gr.Checkbox

    @property
    def fields(self) -> list[Any]:
        """The components, in the order of `tagger_options`."""
        return [
            *(self.general_threshold, self.character_threshold, self.undesired_tags),
            *(self.remove_underscore, self.use_rating_tags),
        ]


def render() -> TaggerControls:
    """Create the components, hidden. Call below the choice of an engine."""
    with gr.Group(visible=False, elem_id="upload-tagger") as group:
        with gr.Row():
            general = _threshold("How sure of a tag", DEFAULTS.general_threshold, "general")
            character = _threshold("How sure of a character", DEFAULTS.character_threshold, "character")
        undesired = gr.Textbox(
            label="Tags to leave out",
            placeholder="none",
            max_length=LONGEST_UNDESIRED,
            elem_id="upload-tagger-undesired",
        )
        with gr.Row():
            spaces = gr.Checkbox(
                DEFAULTS.remove_underscore, label="Blanks for underscores", elem_id="upload-tagger-underscore"
            )
            rating = gr.Checkbox(
                DEFAULTS.use_rating_tags, label="The rating in front", elem_id="upload-tagger-rating"
            )
    return TaggerControls(
        group=group,
        general_threshold=general,
        character_threshold=character,
        undesired_tags=undesired,
        remove_underscore=spaces,
        use_rating_tags=rating,
    )


def shown_for(engine: Any) -> dict[str, Any]:
    """The update of the group for an engine's name."""
    return gr.update(visible=engine == TAGGER)


def tagger_options(*values: Any) -> TaggerOptions:
    """The options that the components say. Raises ConfigError."""
    general, character, undesired, spaces, rating = values
    return TaggerOptions(
        general_threshold=_or_default(general, DEFAULTS.general_threshold, "How sure of a tag"),
        character_threshold=_or_default(character, DEFAULTS.character_threshold, "How sure of a character"),
        undesired_tags=text(undesired, "Tags to leave out", longest=LONGEST_UNDESIRED),
        remove_underscore=yes_or_no(spaces, "Blanks for underscores"),
        use_rating_tags=yes_or_no(rating, "The rating in front"),
    )


def _or_default(given: Any, usual: float, field: str) -> float:
    number = decimal(given, field)
    return usual if number is None else number


def _threshold(label: str, value: float, name: str) -> gr.Slider:
    return gr.Slider(0, 1, value, step=0.01, label=label, elem_id=f"upload-tagger-{name}")
