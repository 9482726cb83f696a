"""The contents of a LoRA file, layer by layer, told from the table in its header: which tensors make a change
of which kind, and which can't be used. Standard library only, as the library needs it.

No file is refused for a part of it: unusable tensors are listed with the reason.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from lora_studio.lora.file.keys import (
    ALPHA,
    BIAS,
    DIFF,
    DORA,
    DOWN,
    FACTOR,
    GLORA,
    MID,
    OFT,
    OFT_DIAG,
    OFT_R,
    ON_INPUT,
    PEFT_FACTOR,
    RESCALE,
    SCALED,
    SET,
    UP,
    UP_BIAS,
    spelled_key,
)
from lora_studio.lora.file.layer_shapes import go_together

LORA, LOHA, LOKR, DIAG_OFT = "lora", "loha", "lokr", "diag-oft"
BOFT, OFTV2, FULL, IA3, GENERALIZED = "boft", "oftv2", "full", "ia3", "glora"
TITLES: Mapping[str, str] = {
    **{LORA: "LoRA", LOHA: "LoHa", LOKR: "LoKr", DIAG_OFT: "OFT", BOFT: "BOFT", OFTV2: "OFT v2"},
    **{FULL: "full differences", IA3: "(IA)³", GENERALIZED: "GLoRA"},
}
NETWORKS = "LoRA, LoCon, DoRA, LoHa, LoKr, GLoRA, (IA)³, OFT, BOFT and plain differences can be used."
HADA = ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b")

Shape = tuple[int, ...]
Table = Mapping[str, tuple[str, Shape]]
"""Names of tensors to (number format, shape)."""

EMBEDDING = re.compile(r"bundle_emb\.([^.]+)\.(string_to_param\.\*|emb_params|clip_[lgh])")
FOREIGN: Mapping[str, str] = {
    **{"vera_": "a VeRA", "randlora_": "a RandLoRA", "fourierft_": "a FourierFT", "hra_": "an HRA"},
    **{"boft_": "PEFT's BOFT", "oft_r": "PEFT's first OFT", "bone_": "a Bone", "miss_": "a MiSS"},
    **{"shira_": "a SHiRA", "c3a_": "a C³A", "ln_tuning_": "an LN tuning", "waveft_": "a WaveFT"},
    **{"lora_embedding_": "PEFT's LoRA of an embedding layer"},
}
"""Kinds of networks without support here, by the start of one of their tensors' names."""
NO_LAYER, INCOMPLETE = "without the rest of its layer", "incomplete"
OTHER_KIND = "beside a layer of another kind"
MISFIT = "of tensors that don't go together"
FUSED, FUSED_PARTS = "_attention_qkv", ("_attention_to_q", "_attention_to_k", "_attention_to_v")
"""Z-Image's attention as its makers and ComfyUI have it, and as diffusers has it."""
BY_OUTPUT: Mapping[str, tuple[str, ...]] = {
    LORA: (UP,),
    LOHA: ("hada_w1_a", "hada_w2_a"),
    FULL: (DIFF, SET),
}
"""Parts with a row for each output, of kinds whose outputs don't depend on each other."""
NOT_ONE = "a layer whose alpha or switch is not one number"


@dataclass(frozen=True, kw_only=True)
class FileLayer:
    """The tensors of one layer: names in the file and shapes, both by part. `spelled` is the layer's name as
    the file has it. `third` is 0, 1 or 2 for a layer that is this part of a fused one, whose outputs are
    those of three; None: the whole."""

    kind: str
    keys: Mapping[str, str]
    shapes: Mapping[str, Shape]
    spelled: str
    third: int | None = None

    @property
    def values(self) -> int:
        return sum(map(math.prod, self.shapes.values()))


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """A part of a file that can't be used: its name there, the reason, and how many numbers it holds."""

    name: str
    why: str
    values: int


@dataclass(frozen=True, kw_only=True)
class Contents:
    """A file's contents. `layers` go by Kohya's name, in the file's order; `embeddings` by word and then by
    part, each a tensor's name and shape; `values` counts the numbers in the file."""

    layers: Mapping[str, FileLayer]
    embeddings: Mapping[str, Mapping[str, tuple[str, Shape]]] = field(default_factory=dict)
    left_out: tuple[LeftOut, ...] = ()
    values: int = 0

    @property
    def algo(self) -> str:
        """The kind of most layers, empty without any; differences count only where there is nothing else."""
        kinds = Counter(layer.kind for layer in self.layers.values())
        return max(kinds, key=lambda kind: (kind != FULL, kinds[kind]), default="")

    @property
    def dim(self) -> int:
        """The largest rank of a layer; for OFT the largest block; 0 where there is none."""
        return max((_dim(layer.shapes) for layer in self.layers.values()), default=0)


def kind_of(parts: Collection[str]) -> str:
    """The kind of a layer with these parts; empty when a part is missing or no kind has them."""
    has = set(parts)
    if {DOWN, UP} <= has:
        return LORA
    if set(HADA) <= has:
        return LOHA
    if _has_factor(has, "lokr_w1") and _has_factor(has, "lokr_w2"):
        return LOKR
    if has & {OFT, OFT_DIAG}:
        return DIAG_OFT
    if set(GLORA) <= has:
        return GENERALIZED
    if PEFT_FACTOR in has or {FACTOR, ON_INPUT} <= has:
        return IA3
    if OFT_R in has:
        return OFTV2
    return FULL if has & {DIFF, BIAS, SET} else ""


def contents_of(table: Table, *, split_fused: bool = True) -> Contents:
    """Sort a file's tensors by layer; with `split_fused`, fused attention counts as its three layers."""
    found: dict[str, dict[str, str]] = {}
    spelled: dict[str, str] = {}
    embeddings: dict[str, dict[str, tuple[str, Shape]]] = {}
    left: list[LeftOut] = []
    for key, (_, shape) in table.items():
        if match := EMBEDDING.fullmatch(key):
            embeddings.setdefault(match[1], {})[match[2]] = key, shape
            continue
        name, part, spelling = spelled_key(key)
        if not part or part in found.get(name, {}):
            left.append(LeftOut(name=key, why=_what(key), values=math.prod(shape)))
            continue
        found.setdefault(name, {})[part] = key
        spelled.setdefault(name, spelling)
    layers: dict[str, FileLayer] = {}
    for name, keys in found.items():
        layer = _layer({part: table[key][1] for part, key in keys.items()}, keys, spelled[name])
        if isinstance(layer, LeftOut):
            left.append(layer)
        else:
            is_fused = split_fused and name.endswith(FUSED) and not found.keys() & set(_names_of_parts(name))
            layers |= parted(name, layer) if is_fused else {name: layer}
            beside = [key for part, key in keys.items() if part not in layer.keys]
            left += [LeftOut(name=key, why=OTHER_KIND, values=math.prod(table[key][1])) for key in beside]
    return Contents(
        layers=layers,
        embeddings=embeddings,
        left_out=tuple(left),
        values=sum(math.prod(shape) for _, shape in table.values()),
    )


def parted(name: str, layer: FileLayer) -> dict[str, FileLayer]:
    """A fused layer of attention as three layers of its kind, each with a third of the outputs; the layer
    itself where its kind or its shapes have no such thirds."""
    shapes = layer.shapes
    by_output = [part for part in (*BY_OUTPUT.get(layer.kind, ()), DORA, BIAS, UP_BIAS) if part in shapes]
    rows = shapes[by_output[0]][0] if by_output else 0
    has_core = MID in shapes or any(part.startswith("hada_t") for part in shapes)
    if not rows or rows % 3 or has_core or any(shapes[part][0] != rows for part in by_output):
        return {name: layer}
    shares = {**shapes, **{part: (rows // 3, *shapes[part][1:]) for part in by_output}}
    names = _names_of_parts(name)
    return {one: replace(layer, shapes=shares, third=place) for place, one in enumerate(names)}


def _names_of_parts(fused: str) -> list[str]:
    start = fused.removesuffix(FUSED)
    return [f"{start}{end}" for end in FUSED_PARTS]


def say_left_out(left: Iterable[LeftOut], values: int) -> str:
    """The end of a sentence on parts left out of a file with `values` numbers: how much, and one name for
    each reason. Empty for nothing."""
    left = list(left)
    if not left:
        return ""
    share = sum(one.values for one in left) / max(values, 1)
    first: dict[str, str] = {}
    for one in left:
        first.setdefault(one.why, one.name)
    reasons = [f"{shown(name)} ({why})" for why, name in list(first.items())[:3]]
    what = f"{len(left)} of its parts are" if len(left) > 1 else "1 of its parts is"
    return f"{what} left out, {_percent(share)} of the file: {', '.join(reasons)}{_more(len(first))}."


LONGEST_SHOWN = 80


def shown(name: str) -> str:
    """A tensor's name fit for a sentence, of a long one its end."""
    name = name if len(name) <= LONGEST_SHOWN else f"...{name[3 - LONGEST_SHOWN :]}"
    return "".join(letter if letter.isprintable() else "?" for letter in name)


def _percent(share: float) -> str:
    if share < 0.001:
        return "less than 0.1 %"
    return f"{100 * share:.1f} %" if share < 0.1 else f"{100 * share:.0f} %"


def _more(reasons: int) -> str:
    return ", ..." if reasons > 3 else ""


def _layer(shapes: Mapping[str, Shape], keys: Mapping[str, str], spelled: str) -> FileLayer | LeftOut:
    kind = kind_of(shapes)
    values = sum(map(math.prod, shapes.values()))
    if not kind:
        why = NO_LAYER if set(shapes) <= {ALPHA, DORA} else INCOMPLETE
        if set(shapes) == {FACTOR}:
            why = _what(next(iter(keys.values())))
        return LeftOut(name=spelled, why=why, values=values)
    if any(not shape for part, shape in shapes.items() if part not in SINGLE):
        return LeftOut(name=spelled, why=INCOMPLETE, values=values)
    if any(math.prod(shapes.get(part, ())) != 1 for part in SINGLE):
        return LeftOut(name=spelled, why=NOT_ONE, values=values)
    if kind in (LORA, LOHA, LOKR) and not go_together(shapes):
        return LeftOut(name=spelled, why=MISFIT, values=values)
    if kind == DIAG_OFT and len(shapes.get(OFT, ())) == 4:
        kind = BOFT
    used = {*BELONG[kind], ALPHA, BIAS}
    if kind in (LORA, LOHA, LOKR):
        used.add(DORA)
    elif DORA in shapes:
        return LeftOut(name=spelled, why=f"a DoRA of {TITLES[kind]}", values=values)
    elif "bm.weight" in shapes:
        return LeftOut(name=spelled, why="a GLoRA with a core", values=values)
    if "lora_magnitude_vector" in keys.get(DORA, ""):
        # PEFT's are those of the outputs, which a convolution has as its second side.
        shapes = {**shapes, DORA: (math.prod(shapes[DORA]), 1)}
    return FileLayer(
        kind=kind,
        keys={part: key for part, key in keys.items() if part in used},
        shapes={part: shape for part, shape in shapes.items() if part in used},
        spelled=spelled,
    )


SINGLE = (ALPHA, ON_INPUT, SCALED)
"""Parts that are one number; all others have sides."""
BELONG: Mapping[str, Collection[str]] = {
    LORA: (DOWN, UP, MID, UP_BIAS),
    LOHA: (*HADA, "hada_t1", "hada_t2"),
    LOKR: ("lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t2"),
    DIAG_OFT: (OFT, OFT_DIAG, RESCALE),
    BOFT: (OFT, RESCALE),
    OFTV2: (OFT_R, SCALED),
    FULL: (DIFF, SET),
    IA3: (FACTOR, ON_INPUT, PEFT_FACTOR),
    GENERALIZED: GLORA,
}
"""The parts of each kind, beside alpha and the bias' difference."""


def _dim(shapes: Mapping[str, Shape]) -> int:
    found = [shapes[part][0] for part in RANKS if shapes.get(part)]
    found += [shapes[part][-1] for part in (OFT, OFT_DIAG) if shapes.get(part)]
    found += [(1 + math.isqrt(1 + 8 * shapes[part][-1])) // 2 for part in (OFT_R,) if shapes.get(part)]
    return max(found, default=0)


RANKS = (DOWN, "hada_w1_b", "lokr_w2_b", "lokr_w1_b", "b2.weight")
"""Parts whose first side is the rank."""


def _what(key: str) -> str:
    """A tensor without a layer, in words."""
    if key.startswith("bundle_emb."):
        return "an embedding of a form that is not known here"
    for piece in key.split("."):
        for start, title in FOREIGN.items():
            if piece.startswith(start):
                return title
    return "of a kind that is not known here"


def _has_factor(parts: Collection[str], name: str) -> bool:
    return name in parts or {f"{name}_a", f"{name}_b"} <= set(parts)
