"""The options of `lora-studio dataset caption` for taggers, under sd-scripts' names."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lora_studio.captioning.tagger_options import TaggerOptions

TEXTS = {
    "general_threshold": ("SHARE", "how sure of a tag, 0 to 1 (default: 0.35)"),
    "character_threshold": ("SHARE", "how sure of a character; above 1 none is named (default: 0.35)"),
    "undesired_tags": ("TAGS", "tags to leave out, with the separator between"),
    "caption_separator": ("TEXT", "what stands between two tags (default: a comma and a blank)"),
}
SWITCHES = {
    "remove_underscore": "blanks for underscores, but in emoticons (on unless switched off)",
    "character_tags_first": "characters before other tags (on unless switched off)",
    "use_rating_tags": "the likeliest rating in front (off unless switched on)",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that only taggers have."""
    for name, (form, words) in TEXTS.items():
        parser.add_argument(f"--{name}", metavar=form, help=f"wd14: {words}")
    for name, words in SWITCHES.items():
        parser.add_argument(f"--{name}", action=argparse.BooleanOptionalAction, help=f"wd14: {words}")


def tagger_options(arguments: argparse.Namespace) -> TaggerOptions:
    """The options that were given, and the defaults of the others. Raises ConfigError."""
    from lora_studio.captioning.tagger_options import TaggerOptions

    asked: dict[str, Any] = {name: getattr(arguments, name) for name in (*TEXTS, *SWITCHES)}
    return TaggerOptions(**{name: value for name, value in asked.items() if value is not None})
