"""The fit of a LoRA file to a base model: which of its layers can be used."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from lora_studio.lora.file.contents import FULL, LORA, Contents, FileLayer, LeftOut
from lora_studio.lora.file.keys import ALPHA, BIAS, DORA, UP_BIAS, layer_name
from lora_studio.lora.file.layer_shapes import LARGEST_MADE, products_of
from lora_studio.lora.network.kinds import fits
from lora_studio.lora.network.output_rows import shape_of

TOKENS = "embeddings.token_embedding"
LONGEST = 75
"""Vectors of one word at most: a window of the text encoder has room for as many."""
NO_WORD = "an embedding that doesn't go with the base model's text encoder"
MOST_WORDS = 100
"""Words of one file at most: each is looked for in every prompt."""
TOO_MANY = f"one embedding too many: {MOST_WORDS} are read"
NO_PLACE, OTHER_SIZES = "no such layer in the base model", "of other sizes than the base model's"
TOO_LARGE = "with a core that takes more memory than any model's layer"


@dataclass(frozen=True, kw_only=True)
class Fit:
    """The usable part of a file. `layers` are usable ones by Kohya's name; `other_sizes` counts layers that
    have a place but not its sizes: many are a sign of another base model. `words` are the file's embeddings:
    by word, the tensor for each text encoder's part."""

    layers: Mapping[str, FileLayer]
    left_out: tuple[LeftOut, ...]
    other_sizes: int
    words: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def belongs(self) -> bool:
        """Whether the file is for this base model, as far as names and sizes tell."""
        return bool(self.layers) and self.other_sizes <= max(1, len(self.layers) // 3)


def fit_to(contents: Contents, modules: Mapping[str, Any]) -> Fit:
    """Compare a file with a base's layers, by all names that files have for them. Only shapes are read."""
    fitting = lru_cache(None)(lambda kind, shapes, weight: fits(kind, dict(shapes), weight))
    used: dict[str, FileLayer] = {}
    left, other_sizes = [], 0
    for name, layer in contents.layers.items():
        module = modules.get(name)
        if module is None:
            left.append(_left(layer, NO_PLACE))
            continue
        if _needs_too_much(layer):
            left.append(_left(layer, TOO_LARGE))
            continue
        shapes = tuple(sorted((part, shape) for part, shape in layer.shapes.items() if part != ALPHA))
        if hasattr(module, "num_embeddings") and not _for_words(layer):
            left.append(_left(layer, NO_PLACE))
            continue
        weight = tuple(shape_of(module))
        if fitting(layer.kind, shapes, weight):
            used[name] = layer
            bias = layer.shapes.get(BIAS)
            if bias is not None and math.prod(bias) != weight[0]:
                left.append(LeftOut(name=layer.keys[BIAS], why=OTHER_SIZES, values=math.prod(bias)))
        else:
            other_sizes += 1
            left.append(_left(layer, OTHER_SIZES))
    words, others = _words(contents, modules)
    return Fit(layers=used, left_out=(*left, *others), other_sizes=other_sizes, words=words)


def _words(contents: Contents, modules: Mapping[str, Any]) -> tuple[dict[str, dict[str, str]], list[LeftOut]]:
    words: dict[str, dict[str, str]] = {}
    left = []
    for word, parts in contents.embeddings.items():
        for part, (key, shape) in parts.items():
            encoder = "text_encoder_2" if part == "clip_g" else "text_encoder"
            table = modules.get(layer_name(f"{encoder}.{TOKENS}"))
            if (
                table is None
                or shape[-1:] != tuple(table.weight.shape[1:])
                or math.prod(shape[:-1]) > LONGEST
            ):
                left.append(LeftOut(name=key, why=NO_WORD, values=math.prod(shape)))
            elif word not in words and len(words) >= MOST_WORDS:
                left.append(LeftOut(name=key, why=TOO_MANY, values=math.prod(shape)))
            else:
                words.setdefault(word, {})[encoder] = key
    return words, left


def _needs_too_much(layer: FileLayer) -> bool:
    """Whether a tensor on the way to the change, beside a core, is larger than any change is."""
    return any(one.has_core and one.largest > LARGEST_MADE for one in products_of(layer.shapes))


def _for_words(layer: FileLayer) -> bool:
    """Whether a layer can change a table of words, where nothing is turned and no bias added."""
    return layer.kind in (LORA, FULL) and not {BIAS, UP_BIAS, DORA} & layer.shapes.keys()


def _left(layer: FileLayer, why: str) -> LeftOut:
    return LeftOut(name=layer.spelled, why=why, values=layer.values)
