"""A file to be repaired, and the new file that its layers are put into: names, number formats, alphas."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from lora_studio.errors import ConfigError, UnknownFormat
from lora_studio.lora.file.contents import LORA, TITLES, Contents, FileLayer, contents_of, shown
from lora_studio.lora.file.identify import family_of_layers
from lora_studio.lora.file.keys import ALPHA, BIAS, DORA, DOWN, MID, UP
from lora_studio.lora.file.spellings import COMFYUI, DIFFUSERS, SPELLINGS, spelled_as
from lora_studio.lora.file.tensor_table import Tensors, read_tensor_table
from lora_studio.lora.inspection.file_report import family_from_words
from lora_studio.lora.inspection.layer_strength import is_finite
from lora_studio.lora.network.weights import LayerWeights
from lora_studio.lora.repair.alpha_forms import folded, with_alpha
from lora_studio.lora.repair.fused_spelling import groups_for_makers, taken_apart
from lora_studio.lora.repair.repair_request import FOLDED, RepairRequest
from lora_studio.parsing.plain_text import plain_name

DTYPES = {"float": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
MATRICES = {DOWN: "lora_A.weight", UP: "lora_B.weight"}


@dataclass(frozen=True)
class WrittenLayer:
    """A layer to be written, by Kohya's name, and the layers of the file that it is made of."""

    name: str
    members: tuple[str, ...]


@dataclass(kw_only=True)
class NewFile:
    """Tensors to be written, and sentences on what is left out."""

    tensors: dict[str, torch.Tensor] = field(default_factory=dict)
    layers: int = 0
    dims: set[int] = field(default_factory=set)
    alphas: set[float] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)


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
    def has_parts(self) -> bool:
        """Whether the makers have layers of it as one."""
        return groups_for_makers(self.contents.layers, self.family).keys() != self.contents.layers.keys()


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
    shares = [(written.name, layer)]
    if to_diffusers:
        shares = taken_apart(written.name, layer, source.family)
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
    is_files_own = source.contents.layers.get(name) is place and place.third is None
    spelled = place.spelled if is_files_own else name
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
        new.tensors[key] = cast(key, tensor, dtype)
    if made.alpha is not None:
        new.tensors[f"{spelled}.{ALPHA}"] = torch.tensor(float(made.alpha))


def _dtype(source: RepairSource, place: FileLayer, request: RepairRequest) -> torch.dtype:
    """The number format that is asked for, else the layer's own; 16 bit for a layer of 8."""
    if request.save_precision:
        return DTYPES[request.save_precision]
    largest = max(place.shapes, key=lambda part: math.prod(place.shapes[part]))
    number_format = source.table[place.keys[largest]][0]
    return {"F64": torch.float64, "F32": torch.float32, "BF16": torch.bfloat16}.get(
        number_format, torch.float16
    )


def cast(key: str, tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """A tensor in a number format; whole numbers stay what they are. Raises ConfigError for numbers that it
    can't hold."""
    if not tensor.is_floating_point():
        return tensor.contiguous()
    made = tensor.to(dtype).contiguous()
    if is_finite(tensor) and not is_finite(made):
        raise ConfigError(
            f"{shown(key)} has numbers that are infinite in fp16.",
            "Take bf16 or float.",
            field="save_precision",
        )
    return made
