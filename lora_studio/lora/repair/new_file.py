"""A file to be repaired, and the new file that its layers are put into: names, number formats, alphas."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from lora_studio.errors import ConfigError, UnknownFormat
from lora_studio.lora.file.contents import (
    FULL,
    FUSED,
    FUSED_PARTS,
    LORA,
    SINGLE,
    TITLES,
    Contents,
    FileLayer,
    contents_of,
    say_left_out,
    shown,
)
from lora_studio.lora.file.identify import family_of_layers
from lora_studio.lora.file.keys import ALPHA, BIAS, DORA, DOWN, MID, UP
from lora_studio.lora.file.lora_files import family_from_words
from lora_studio.lora.file.spellings import COMFYUI, DIFFUSERS, SPELLINGS, spelled_as
from lora_studio.lora.file.tensor_table import Tensors, read_tensor_table
from lora_studio.lora.inspection.file_report import common_spelling
from lora_studio.lora.network.kinds import is_finite
from lora_studio.lora.network.weights import LayerWeights
from lora_studio.lora.repair.alpha_forms import folded, with_alpha
from lora_studio.lora.repair.fused_spelling import groups_for_makers, taken_apart
from lora_studio.lora.repair.repair_request import FOLDED, RepairRequest
from lora_studio.lora.repair.tensor_spool import TensorSpool
from lora_studio.parsing.plain_text import plain_name

DTYPES = {"float": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
NAMES = {dtype: name for name, dtype in DTYPES.items()} | {torch.float64: "a number of 64 bits"}
MOST_WORDS = 3
MATRICES = {DOWN: "lora_A.weight", UP: "lora_B.weight"}


@dataclass(frozen=True)
class WrittenLayer:
    """A layer to be written, by Kohya's name, and the layers of the file that it is made of."""

    name: str
    members: tuple[str, ...]


@dataclass(kw_only=True)
class NewFile:
    """Tensors to be written, and sentences on what is left out."""

    tensors: TensorSpool
    layers: int = 0
    dims: set[int] = field(default_factory=set)
    alphas: set[float] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)
    is_plain: bool = True
    """Whether all layers are LoRAs or differences, without magnitudes: what sd-scripts calls a LoRA."""


@dataclass(frozen=True, kw_only=True)
class RepairSource:
    """A file to be read: its place, metadata, table, contents and family."""

    path: Path
    metadata: Mapping[str, str]
    table: Tensors
    contents: Contents
    family: str

    @classmethod
    def read(cls, path: Path, *, split_fused: bool = False) -> RepairSource:
        metadata, table, _ = read_tensor_table(path)
        contents = contents_of(table, split_fused=split_fused)
        if not contents.layers:
            raise UnknownFormat(f"{plain_name(path)} has no layer that can be used.", path=path)
        family = family_from_words(metadata) or family_of_layers(contents)
        return cls(path=path, metadata=metadata, table=table, contents=contents, family=family)

    def written_layers(self, *, for_makers: bool) -> list[WrittenLayer]:
        """The layers to be written: with `for_makers` the makers' own, else the file's."""
        names = self.contents.layers
        groups = groups_for_makers(names, self.family) if for_makers else {name: (name,) for name in names}
        return [WrittenLayer(name, members) for name, members in groups.items()]

    @property
    def spelling(self) -> str:
        """The spelling of most layers, as people call it."""
        return common_spelling(self.contents)

    def left_out_of_merges(self) -> list[str]:
        """Sentences on what of the file is no layer, and has no sum."""
        name, words = plain_name(self.path), self.contents.embeddings
        sentence = say_left_out(self.contents.left_out, self.contents.values)
        notes = [f"{name}: {sentence}"] if sentence else []
        if words:
            some = ", ".join(shown(word) for word in list(words)[:MOST_WORDS])
            notes.append(f"{name}: what it has for words of prompts is left out ({some}).")
        return notes

    def members_of(self, written: WrittenLayer) -> list[FileLayer]:
        return [self.contents.layers[name] for name in written.members]

    @property
    def has_parts(self) -> bool:
        """Whether the makers have layers of it as one."""
        return groups_for_makers(self.contents.layers, self.family).keys() != self.contents.layers.keys()


def differ_in_fused(sources: Sequence[RepairSource]) -> bool:
    """Whether one file has Z-Image's attention as one layer and another as three."""
    names = [name for source in sources for name in source.contents.layers]
    return any(name.endswith(FUSED) for name in names) and any(name.endswith(FUSED_PARTS) for name in names)


def add_layer(
    new: NewFile, source: RepairSource, written: WrittenLayer, layer: LayerWeights, request: RepairRequest
) -> None:
    """Put a layer into the new file, in the spelling and the number format that are asked for. Raises
    ConfigError where it has no name or no form there."""
    place = source.contents.layers[written.members[0]]
    to_diffusers = request.spelling == DIFFUSERS
    if to_diffusers and (layer.kind != LORA or {DORA, MID, BIAS} & layer.parts.keys()):
        rest = " with more tensors" if layer.kind == LORA else ""
        raise ConfigError(
            "diffusers' spelling is defined for the two factors of a LoRA only; "
            f"{shown(place.spelled)} is {TITLES[layer.kind]}{rest}.",
            "Take the spelling comfyui or kohya, or resize it into a LoRA first (new_rank).",
            field="spelling",
        )
    new.is_plain &= layer.kind in (LORA, FULL) and DORA not in layer.parts
    shares = [(written.name, layer)]
    if to_diffusers:  # folded whole, so that all shares have the same matrix down
        shares = taken_apart(written.name, folded(layer), source.family)
    for name, share in shares:
        _add_named(new, source, place, name, share, request)


def _add_named(
    new: NewFile,
    source: RepairSource,
    place: FileLayer,
    name: str,
    layer: LayerWeights,
    request: RepairRequest,
) -> None:
    spelled = name
    if source.contents.layers.get(name) is place:
        spelled = place.spelled if place.third is None else _spelled_third(place)
    to_diffusers = request.spelling == DIFFUSERS
    if request.spelling:
        spelled = spelled_as(request.spelling, name, spelled, source.family)
    if not spelled:
        raise ConfigError(
            f"{shown(place.spelled)} has no name in the spelling {request.spelling} here.",
            f"Keep the names as they are, or take another of: {', '.join(SPELLINGS)}.",
            field="spelling",
        )
    made = folded(layer) if to_diffusers or request.alpha == FOLDED else with_alpha(layer, request.alpha)
    new.layers += 1
    if made.dim:
        new.dims.add(made.dim)
        new.alphas.add(made.alpha or float(made.dim))
    in_pairs = request.spelling in (DIFFUSERS, COMFYUI) or (
        not request.spelling and "lora_A" in place.keys.get(DOWN, "")
    )
    dtype = _dtype(source, place, request)
    for part, tensor in made.parts.items():
        key = f"{spelled}.{MATRICES.get(part, part) if in_pairs else part}"
        if key in new.tensors:
            raise ConfigError(
                f"Two layers of the file are {shown(spelled)} in the spelling {request.spelling}.",
                "Keep the names as they are.",
                field="spelling",
            )
        if request.save_precision and part not in SINGLE and not tensor.is_floating_point():
            tensor = tensor.float()  # a factor in whole numbers
        new.tensors.add(key, cast(key, tensor, dtype))
    if made.alpha is not None:
        new.tensors.add(f"{spelled}.{ALPHA}", torch.tensor(float(made.alpha)))


def _dtype(source: RepairSource, place: FileLayer, request: RepairRequest) -> torch.dtype:
    """The number format that is asked for, else the layer's own; 16 bit for a layer of 8."""
    if request.save_precision:
        return DTYPES[request.save_precision]
    largest = max(place.shapes, key=lambda part: math.prod(place.shapes[part]))
    number_format = source.table[place.keys[largest]][0]
    return {"F64": torch.float64, "F32": torch.float32, "BF16": torch.bfloat16}.get(
        number_format, torch.float16
    )


def _spelled_third(place: FileLayer) -> str:
    """The name of a third of fused attention, spelled as the file spells the whole."""
    assert place.third is not None
    end = FUSED_PARTS[place.third].removeprefix(FUSED.removesuffix("qkv"))
    return f"{place.spelled.removesuffix('qkv')}{end}"


def cast(key: str, tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """A tensor in a number format; whole numbers stay. Raises ConfigError for numbers that don't fit."""
    if not tensor.is_floating_point():
        return tensor.contiguous()
    made = tensor.to(dtype).contiguous()
    if not is_finite(made):
        larger = "bf16 or float" if dtype == torch.float16 else "a smaller ratio"
        raise ConfigError(
            f"{shown(key)} has numbers that {NAMES[dtype]} can't hold.",
            f"Take {larger}.",
            field="save_precision",
        )
    return made
