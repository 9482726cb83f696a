"""The LoRAs that a request names: found in the library, read, and checked against the base before any
loading.

A layer goes by Kohya's name everywhere in here (`lora_unet_mid_block_...`), whatever spelling the file has.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from lora_studio.access.visitor import Kind, visitor
from lora_studio.catalog import FAMILIES, SAME_LAYERS, family_title
from lora_studio.errors import ConfigError, FamilyMismatch, StoreError
from lora_studio.lora.file.contents import LeftOut, contents_of, say_left_out
from lora_studio.lora.file.keys import PARTS, layer_name
from lora_studio.lora.file.lora_files import LoraHeader, checkpoint_files, find_file, read_header
from lora_studio.request import LoraUse

if TYPE_CHECKING:
    from torch.nn import Module

    from lora_studio.lora.network.layer_fit import Fit
    from lora_studio.lora.network.output_rows import Place


@dataclass(frozen=True, kw_only=True)
class WantedLora:
    """A LoRA of the library with the weights that a request gives it: `weight` in the denoiser and, unless
    `text_encoder_weight` says otherwise, in the text encoders. `checkpoint` is the step of its training that
    is used instead of its own file."""

    slug: str
    weight: float
    header: LoraHeader
    text_encoder_weight: float | None = None
    checkpoint: int | None = None

    @property
    def key(self) -> str:
        """Names what is loaded: one LoRA may be in a stack with several of its checkpoints."""
        return self.slug if self.checkpoint is None else f"{self.slug}-step{self.checkpoint:08d}"

    @property
    def weight_of_text(self) -> float:
        return self.weight if self.text_encoder_weight is None else self.text_encoder_weight

    @property
    def title(self) -> str:
        return self.header.title or self.slug

    @property
    def trigger_word(self) -> str:
        return self.header.trigger_word


class NamedFamily(Protocol):
    """A base as far as its family goes."""

    @property
    def name(self) -> str: ...

    @property
    def family(self) -> str: ...


def find_loras(uses: Iterable[LoraUse], folder: Path) -> list[WantedLora]:
    """Look the LoRAs up in the library's folder, in the request's order; those whose weights are all 0 are
    left out. Raises StoreError (unknown LoRA or checkpoint), ConfigError (named twice), BrokenFile,
    UnknownFormat."""
    wanted: dict[tuple[str, int | None], WantedLora] = {}
    for use in uses:
        if (use.slug, use.checkpoint) in wanted:
            raise ConfigError(
                f"The LoRA “{use.slug}” is in the list twice.",
                "Keep one of the two; to make it stronger, raise its weight.",
                field="loras",
            )
        if not ((folder / use.slug).is_dir() and visitor().sees(Kind.LORA, use.slug)):
            raise StoreError(
                f"There is no LoRA “{use.slug}” in the library.",
                "Pick one from the list. It may have been renamed or deleted.",
            )
        if use.weight or use.text_encoder_weight:
            file = _file_of(use, folder / use.slug)
            facts = file.stat()
            wanted[use.slug, use.checkpoint] = WantedLora(
                slug=use.slug,
                weight=use.weight,
                header=_read_once(file, facts.st_mtime_ns, facts.st_size),
                text_encoder_weight=use.text_encoder_weight,
                checkpoint=use.checkpoint,
            )
    return list(wanted.values())


def check_family(lora: WantedLora, base: NamedFamily) -> None:
    """Refuse a LoRA of another family where both are known and share no layers. Raises FamilyMismatch."""
    theirs, ours = lora.header.family, base.family
    if theirs and ours and theirs != ours and not {theirs, ours} <= SAME_LAYERS:
        title = family_title(theirs)
        hint = f"Pick a base model that is {title}, or another LoRA."
        if theirs not in FAMILIES:
            hint = f"{title} can't be run here yet. Pick a LoRA that is made for {family_title(ours)}."
        raise FamilyMismatch(
            f"“{lora.title}” was made for {title}; “{base.name}” is {family_title(ours)}.",
            hint,
            path=lora.header.path,
        )


def check_fit(lora: WantedLora, layers: Mapping[str, Place], base: str) -> Fit:
    """Compare the file with the base's layers (as from `layers_of`): what of it can be used. One that doesn't
    fit is refused before it is loaded. Raises FamilyMismatch, UnknownFormat."""
    from lora_studio.lora.network.layer_fit import fit_to

    contents = contents_of(lora.header.tensors)
    fit = fit_to(contents, layers)
    if contents.layers and not fit.belongs:
        made_for = f" It was made for {lora.header.base}." if lora.header.base else ""
        what = "sizes" if fit.other_sizes else "names"
        raise FamilyMismatch(
            f"“{lora.title}” doesn't fit “{base}”: its layers have other {what}.{made_for}",
            "Pick the base model it was made for, or another LoRA.",
            path=lora.header.path,
        )
    return replace(fit, left_out=(*contents.left_out, *fit.left_out))


def say_of(lora: WantedLora, left: Sequence[LeftOut]) -> str:
    """A sentence on what of the file is not used; empty when all is."""
    if not left:
        return ""
    values = sum(math.prod(shape) for _, shape in lora.header.tensors.values())
    sentence = say_left_out(left, values)
    return f"“{lora.title}”: {sentence}" if sentence else ""


def layers_of(models: Mapping[str, Module]) -> dict[str, Place]:
    """The layers of a base's parts (as from `BaseModel.models`) that a LoRA can change, by the names that
    files have for them: the denoiser's by diffusers' module paths and by its makers'."""
    from torch.nn import Embedding, GroupNorm, LayerNorm

    from lora_studio.lora.network.output_rows import fused_layers_of, named_layers

    beside = (Embedding, GroupNorm, LayerNorm)
    found: dict[str, Place] = {}
    for part in PARTS:
        model = models.get(part)
        for path, module in model.named_modules() if model is not None else ():
            if hasattr(module, "in_features") or hasattr(module, "kernel_size") or isinstance(module, beside):
                for name, layer in named_layers(part, path, layer_name(f"{part}.{path}"), module):
                    found.setdefault(name, layer)
    return {**fused_layers_of(found), **found}


def _file_of(use: LoraUse, folder: Path) -> Path:
    """The file of the LoRA or of the checkpoint that is asked for. Raises StoreError, UnknownFormat."""
    file = find_file(folder)
    if use.checkpoint is None:
        return file
    files = checkpoint_files(folder)
    if use.checkpoint in files:
        return files[use.checkpoint]
    facts = file.stat()
    last = _read_once(file, facts.st_mtime_ns, facts.st_size).steps
    if last == use.checkpoint:
        return file
    steps = sorted({*files, *([last] if last else [])})
    there = f"There are: {', '.join(map(str, steps))}." if steps else "It has none; leave the field empty."
    raise StoreError(f"“{use.slug}” has no checkpoint of step {use.checkpoint}.", there)


@lru_cache(maxsize=256)
def _read_once(path: Path, mtime_ns: int, size: int) -> LoraHeader:
    """The header of this state of the file: hashing a large one takes a moment, once is enough."""
    return read_header(path)
