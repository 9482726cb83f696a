"""The LoRAs that a request names: found in the library, read, and checked against the base before any
loading.

A layer goes by Kohya's name everywhere in here (`lora_unet_mid_block_...`), whatever spelling the file has.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lora_studio.catalog import family_title
from lora_studio.errors import ConfigError, FamilyMismatch, StoreError, UnknownFormat
from lora_studio.lora.files import LoraHeader, find_file, read_header
from lora_studio.lora.keys import text_encoder_name, unet_name
from lora_studio.request import LoraUse

if TYPE_CHECKING:
    from lora_studio.families.detect import FoundBase

PART = re.compile(r"(?P<layer>.+?)(?:[._]lora)?[._](?P<part>lora_down|lora_A|down|lora_up|lora_B|up)\.weight")
DOWN = {"lora_down", "lora_A", "down"}
ALPHA = ".alpha"
Shape = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class WantedLora:
    """A LoRA of the library with the weight that a request gives it."""

    slug: str
    weight: float
    header: LoraHeader

    @property
    def title(self) -> str:
        return self.header.metadata.get("modelspec.title") or self.slug

    @property
    def trigger_word(self) -> str:
        return self.header.metadata.get("modelspec.trigger_phrase", "")


def find_loras(uses: Iterable[LoraUse], folder: Path) -> list[WantedLora]:
    """Look the LoRAs up in the library's folder, in the request's order; those of weight 0 are left out.
    Raises StoreError (unknown), ConfigError (named twice), BrokenFile, UnknownFormat."""
    wanted: dict[str, WantedLora] = {}
    for use in uses:
        if use.slug in wanted:
            raise ConfigError(
                f"The LoRA “{use.slug}” is in the list twice.",
                "Keep one of the two; to make it stronger, raise its weight.",
                field="loras",
            )
        if not (folder / use.slug).is_dir():
            raise StoreError(
                f"There is no LoRA “{use.slug}” in the library.",
                "Pick one from the list. It may have been renamed or deleted.",
            )
        if use.weight:
            file = find_file(folder / use.slug)
            facts = file.stat()
            header = _read_once(file, facts.st_mtime_ns, facts.st_size)
            wanted[use.slug] = WantedLora(slug=use.slug, weight=use.weight, header=header)
    return list(wanted.values())


def check_family(lora: WantedLora, found: FoundBase) -> None:
    """Raises FamilyMismatch where both sides are known to belong to different families."""
    theirs, ours = lora.header.family, found.family
    if theirs and ours and theirs != ours:
        raise FamilyMismatch(
            f"“{lora.title}” was made for {family_title(theirs)}; “{found.name}” is {family_title(ours)}.",
            f"Pick a base model that is {family_title(theirs)}, or another LoRA.",
            path=lora.header.path,
        )


def check_fit(lora: WantedLora, layers: Mapping[str, Shape], base: str) -> None:
    """Compare every tensor's shape with the base's layers (as from `layer_shapes`), so that a LoRA that does
    not fit is refused before it touches the pipeline. Raises FamilyMismatch, UnknownFormat."""
    for name, (_, shape) in lora.header.tensors.items():
        layer, part = split_name(name)
        if not part:
            kind = name.rpartition(".")[2]
            raise UnknownFormat(
                f"“{lora.title}” holds weights of a kind that can't be drawn with yet ({kind}).",
                "Plain LoRA files work, as made here or by Kohya's networks.lora.",
                path=lora.header.path,
            )
        if part != "alpha" and not _fits(shape, part, layers.get(layer, ())):
            made_for = f" It was made for {lora.header.base}." if lora.header.base else ""
            raise FamilyMismatch(
                f"“{lora.title}” doesn't fit “{base}”: its layers have other sizes.{made_for}",
                "Pick the base model it was made for, or another LoRA.",
                path=lora.header.path,
            )


def layer_shapes(pipe: Any) -> dict[str, Shape]:
    """The weights' shapes of the layers that a LoRA can change, by Kohya's name. To be called before any
    adapter is attached."""
    return {
        layer_name(f"{part}.{path}"): tuple(module.weight.shape)
        for part, model in (("unet", pipe.unet), ("text_encoder", pipe.text_encoder))
        for path, module in model.named_modules()
        if hasattr(module, "in_features") or hasattr(module, "kernel_size")
    }


def layer_name(module_name: str) -> str:
    """Kohya's name for `unet.<module>` or `text_encoder.<module>`."""
    part, _, module = module_name.partition(".")
    return text_encoder_name(module) if part == "text_encoder" else unet_name(module)


def split_name(tensor_name: str) -> tuple[str, str]:
    """(Kohya's layer name, "down", "up" or "alpha") of a tensor in a LoRA file; the part is empty for a
    tensor that plain LoRA doesn't have. Knows Kohya's, PEFT's and both of diffusers' spellings."""
    if tensor_name.endswith(ALPHA):
        return _layer(tensor_name.removesuffix(ALPHA)), "alpha"
    match = PART.fullmatch(tensor_name)
    if match is None:
        return tensor_name, ""
    return _layer(match["layer"]), "down" if match["part"] in DOWN else "up"


def _fits(shape: Shape, part: str, weight: Shape) -> bool:
    """Linear weights are [out, in], convolutions [out, in, height, width]; the same without out goes for
    down."""
    if not weight or len(shape) != len(weight):
        return False
    return shape[1:] == weight[1:] if part == "down" else shape[0] == weight[0]


def _layer(name: str) -> str:
    if name.startswith("lora_"):
        return name.replace("lora_te1_", "lora_te_", 1)
    name = name.replace(".processor.", ".")
    return layer_name(re.sub(r"\bto_out$", "to_out.0", name))


@lru_cache(maxsize=256)
def _read_once(path: Path, mtime_ns: int, size: int) -> LoraHeader:
    """The header of this state of the file: hashing a large one takes a moment, once is enough."""
    return read_header(path)
