"""Layers that one spelling has as one and another as several, as the makers of FLUX and diffusers do: taken
apart and put together for a new spelling. Every formula is exact.

Shape letters: o outputs, i inputs, r rank.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch

from lora_studio.catalog import KLEIN
from lora_studio.errors import ConfigError
from lora_studio.lora.file.contents import FUSED, FUSED_PARTS, LORA, TITLES, shown
from lora_studio.lora.file.flux_keys import (
    BLOCK,
    LAST_NORM,
    PARTS,
    THEIR_BLOCK,
    THEIR_LAST_NORM,
    Pieces,
    diffusers_path,
    fused_path,
    makers_path,
    rows_in_files,
)
from lora_studio.lora.file.keys import DORA, DOWN, UNET, UP
from lora_studio.lora.file.spellings import BUILT_LIKE_FLUX
from lora_studio.lora.inspection.layer_strength import as_float
from lora_studio.lora.network.weights import LayerWeights
from lora_studio.lora.repair.low_rank import balanced

START = f"{UNET}_"
SINGLE_OUTPUTS = 7
"""Outputs of the first layer of a single block of FLUX.1 for each of its inputs: query, key, value, and a
feed-forward network of four times the width."""


def groups_for_makers(names: Iterable[str], family: str) -> dict[str, tuple[str, ...]]:
    """The layers of a file (by Kohya's names) by the makers' layer that they are together; a layer that is
    one for them goes by its own name."""
    groups: dict[str, tuple[str, ...]] = {}
    for name in names:
        flat = name.removeprefix(START)
        together = fused_path(flat) if name != flat and family in BUILT_LIKE_FLUX else ""
        whole = f"{START}{_makers_whole(together)}" if together else name
        groups[whole] = (*groups.get(whole, ()), name)
    return groups


def put_together(whole: str, members: Sequence[tuple[str, LayerWeights]]) -> LayerWeights:
    """The makers' layer of this name, of LoRAs of some of its outputs: their ranks side by side, or once
    where all have the same matrix down. Raises ConfigError for other kinds, and for sizes that don't go
    together."""
    if len(members) == 1 and members[0][0] == whole:
        return members[0][1]
    for name, layer in members:
        if layer.kind != LORA or not {DOWN, UP} <= layer.parts.keys() <= {DOWN, UP, DORA}:
            raise _several(name, TITLES[layer.kind])
    outputs, pieces = _pieces(whole, members)
    pairs = [
        (as_float(layer.parts[UP].flatten(1)), as_float(layer.parts[DOWN].flatten(1))) for _, layer in members
    ]
    scales = {_scale(layer) for _, layer in members}
    if len(scales) > 1:
        pairs = [
            balanced(_scale(layer) * up, down) for (up, down), (_, layer) in zip(pairs, members, strict=True)
        ]
    downs = [down for _, down in pairs]
    is_shared = len(scales) == 1 and all(torch.equal(downs[0], down) for down in downs)
    ranks = [0, *torch.tensor([len(down) for down in downs]).cumsum(0).tolist()]
    up = downs[0].new_zeros(outputs, len(downs[0]) if is_shared else ranks[-1])
    for index, (name, _) in enumerate(members):
        share = pairs[index][0]
        first = 0 if is_shared else ranks[index]
        place = 0
        for begin, end in pieces[name]:
            up[begin:end, first : first + len(downs[index])] += share[place : place + end - begin]
            place += end - begin
    down = downs[0] if is_shared else torch.cat(downs)
    alpha = scales.pop() * len(down) if len(scales) == 1 else float(len(down))
    parts = {DOWN: down, UP: up, **_magnitudes(whole, members, pieces, outputs)}
    return LayerWeights(kind=LORA, parts=parts, alpha=alpha)


def taken_apart(name: str, layer: LayerWeights, family: str) -> list[tuple[str, LayerWeights]]:
    """diffusers' layers, by Kohya's names, for a LoRA of the makers' one; a layer that both have as it is.
    Raises ConfigError for sizes that it can't have."""
    flat = name.removeprefix(START)
    if name.endswith(FUSED):
        start = name.removesuffix(FUSED)
        return _thirds(name, layer, [f"{start}{end}" for end in FUSED_PARTS])
    if family not in BUILT_LIKE_FLUX or name == flat:
        return [(name, layer)]
    if flat == THEIR_LAST_NORM:
        half = len(layer.parts[UP]) // 2
        return _shares(name, layer, {f"{START}{LAST_NORM}": ((half, 2 * half), (0, half))})
    if fused_path(flat) and THEIR_BLOCK.match(flat):  # XLabs' first part of a single block's layer
        start = fused_path(flat).removesuffix("proj_mlp")
        return _thirds(name, layer, [f"{START}{start}{part}" for part in PARTS["proj_mlp"][:3]])
    path = diffusers_path(makers_path(flat), second=family == KLEIN)
    match = BLOCK.fullmatch(path)
    if fused_path(flat) or not match or match[3] not in PARTS:
        return [(name, layer)]
    shape = (len(layer.parts[UP]), layer.parts[DOWN].flatten(1).shape[1])
    rows = {theirs: spans for theirs, spans in rows_in_files(path, shape).items() if BLOCK.match(theirs)}
    return _shares(name, layer, {f"{START}{theirs}": spans for theirs, spans in rows.items()})


def _thirds(name: str, layer: LayerWeights, names: Sequence[str]) -> list[tuple[str, LayerWeights]]:
    third = len(layer.parts[UP]) // 3
    spans = [((place * third, (place + 1) * third),) for place in range(3)]
    return _shares(name, layer, dict(zip(names, spans, strict=True)))


def _shares(name: str, layer: LayerWeights, named: Mapping[str, Pieces]) -> list[tuple[str, LayerWeights]]:
    """The LoRA of each of these rows, with the same matrix down."""
    up = layer.parts[UP]
    spans = [span for pieces in named.values() for span in pieces]
    if any(begin >= end for begin, end in spans) or max(end for _, end in spans) != len(up):
        raise _other_sizes(name)
    return [
        (
            theirs,
            LayerWeights(
                kind=LORA,
                parts={DOWN: layer.parts[DOWN].clone(), UP: torch.cat([up[slice(*span)] for span in pieces])},
                alpha=layer.alpha,
            ),
        )
        for theirs, pieces in named.items()
    ]


def _pieces(whole: str, members: Sequence[tuple[str, LayerWeights]]) -> tuple[int, dict[str, Pieces]]:
    """The whole layer's outputs, and each member's rows. Raises ConfigError for unfitting sizes."""
    path = next(filter(None, (fused_path(name.removeprefix(START)) for name, _ in members)))
    outputs, inputs = members[0][1].parts[UP].shape[0], members[0][1].parts[DOWN].flatten(1).shape[1]
    if path.startswith("transformer_blocks_"):
        outputs = 3 * outputs
    elif path != LAST_NORM:
        outputs = SINGLE_OUTPUTS * inputs
    outputs = next((len(layer.parts[UP]) for name, layer in members if name == whole), outputs)
    rows = {f"{START}{theirs}": spans for theirs, spans in rows_in_files(path, (outputs, inputs)).items()}
    half = outputs // 2
    rows |= {whole: ((0, outputs),), f"{START}{LAST_NORM}": ((half, outputs), (0, half))}
    found = {name: rows[name] for name, _ in members}
    for name, layer in members:
        up, down = layer.parts[UP].flatten(1), layer.parts[DOWN].flatten(1)
        is_right = len(up) == sum(end - begin for begin, end in found[name]) and down.shape[1] == inputs
        if not is_right or up.shape[1] != len(down):
            raise _other_sizes(name)
    return outputs, found


def _magnitudes(
    whole: str, members: Sequence[tuple[str, LayerWeights]], pieces: Mapping[str, Pieces], outputs: int
) -> dict[str, torch.Tensor]:
    """DoRA's, where each member has those of its outputs and together they have all. Raises ConfigError."""
    having = [(name, layer.parts[DORA]) for name, layer in members if DORA in layer.parts]
    if not having:
        return {}
    made = torch.zeros(outputs, 1)
    covered = 0
    for name, magnitude in having:
        rows = torch.cat([torch.arange(begin, end) for begin, end in pieces[name]])
        if magnitude.shape[0] != len(rows):
            raise _several(name, "a DoRA with magnitudes of its inputs")
        made[rows] = magnitude.reshape(-1, 1).float()
        covered += len(rows)
    if covered != outputs or len(having) != len(members):
        raise _several(whole, "a DoRA of some of its outputs")
    return {DORA: made}


def _scale(layer: LayerWeights) -> float:
    return layer.alpha / layer.dim if layer.alpha else 1.0


def _makers_whole(path: str) -> str:
    """The makers' name of a layer that is several in diffusers, by its name here."""
    if path == LAST_NORM:
        return THEIR_LAST_NORM
    match = BLOCK.fullmatch(path)
    assert match is not None
    name = {"attn_to_qkv": "img_attn_qkv", "attn_to_added_qkv": "txt_attn_qkv"}.get(match[3], "linear1")
    return f"{'single' if name == 'linear1' else 'double'}_blocks_{match[2]}_{name}"


def _several(name: str, kind: str) -> ConfigError:
    return ConfigError(
        f"The makers of this model have {shown(name)} and its neighbours as one layer, and {kind} can't be "
        "put together to it.",
        "Keep the names, or resize it into a LoRA first (new_rank).",
        field="spelling",
    )


def _other_sizes(name: str) -> ConfigError:
    return ConfigError(
        f"{shown(name)} has other sizes than a layer of that name has.",
        "Keep the names as they are.",
        field="spelling",
    )
