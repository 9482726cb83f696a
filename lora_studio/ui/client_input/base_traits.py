"""A base model's defaults for the page, by what a client sent."""

from __future__ import annotations

from typing import Any

from lora_studio.catalog import SD1, Base, base_of_family
from lora_studio.errors import StudioError
from lora_studio.families.base_files.locate import find_base, known_base
from lora_studio.settings import Settings
from lora_studio.ui.client_input.validate import safe_base


def traits_of(given: Any, settings: Settings) -> Base:
    """The defaults that a training on the client's base starts with; those of SD 1.x for a base that can't be
    told, whose start will say why. A hub id that was never fetched is looked up."""
    try:
        return known_base(safe_base(given, settings), settings).traits
    except StudioError:
        return base_of_family(SD1)


def chosen_traits(given: Any, settings: Settings) -> Base | None:
    """The defaults for drawing on the client's base; None when only loading tells them."""
    try:
        found = find_base(safe_base(given, settings), settings)
    except StudioError:
        return None
    return found.traits if found.family else None
