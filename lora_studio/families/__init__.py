"""Everything that differs between families of base models, one file each."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lora_studio.families.base import Family
    from lora_studio.families.base_files.found_base import FoundBase


def family_of(found: FoundBase | str) -> Family:
    """The code for a base model (found already, or by name). A hub id that was never fetched is asked what it
    is. Raises ModelFileError, UnknownFormat, FamilyMismatch."""
    from lora_studio.catalog import ANIMA, CHROMA, FLUX, KLEIN, SDXL, ZIMAGE
    from lora_studio.families.anima import Anima
    from lora_studio.families.base_files.locate import ask_hub, find_base
    from lora_studio.families.flux import Chroma, Flux
    from lora_studio.families.klein import Klein
    from lora_studio.families.sd import StableDiffusion
    from lora_studio.families.sdxl import StableDiffusionXL
    from lora_studio.families.zimage import ZImage

    if isinstance(found, str):
        found = find_base(found)
    if not found.family:
        found = ask_hub(found)
    families: dict[str, Callable[[FoundBase], Family]] = {
        **{SDXL: StableDiffusionXL, ZIMAGE: ZImage, ANIMA: Anima, FLUX: Flux, CHROMA: Chroma},
        KLEIN: Klein,
    }
    return families.get(found.family, StableDiffusion)(found)
