"""Everything that differs between families of base models, one file each."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lora_studio.families.base import Family
    from lora_studio.families.detect import FoundBase


def family_of(found: FoundBase | str) -> Family:
    """The code for a base model (found already, or by name). Raises ModelFileError, UnknownFormat."""
    from lora_studio.families.detect import find_base
    from lora_studio.families.sd import StableDiffusion

    if isinstance(found, str):
        found = find_base(found)
    return StableDiffusion(found)
