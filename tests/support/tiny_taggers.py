"""Tiny WD14-style taggers: ONNX models of one layer with random weights, and lists of tags."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

SIDE = 32
LAST, FIRST = ("N", SIDE, SIDE, 3), ("N", 3, SIDE, SIDE)
"""Shapes of a model's pictures, with the colours last and first."""
ROWS = (
    *(("general", 9), ("sensitive", 9)),
    *(("1girl", 0), ("long_hair", 0), ("^_^", 0), ("||_||", 0), ("red_hair", 0)),
    *(("hatsune_miku_(vocaloid)", 4), ("kagamine_rin", 4)),
)
"""Tags with their categories, in the order of the model's outputs."""


@dataclass(frozen=True, kw_only=True)
class TinyTagger:
    """A tagger's folder, and the one layer in it: `weights` [values of a picture, tags]."""

    folder: Path
    weights: np.ndarray

    def probabilities(self, pixels: np.ndarray) -> np.ndarray:
        """The answer for a picture's values in the order that the model takes, 0..255."""
        return 1 / (1 + np.exp(-(pixels.reshape(-1) @ self.weights)))


def write_tags(folder: Path, rows: Sequence[tuple[str, int]] = ROWS) -> None:
    lines = [f"{number},{name},{category},9" for number, (name, category) in enumerate(rows)]
    (folder / "selected_tags.csv").write_text(
        "\n".join(["tag_id,name,category,count", *lines]) + "\n", "utf-8"
    )


def make_tiny_tagger(folder: Path, shape: Sequence[Any] = LAST, **changes: Any) -> TinyTagger:
    """A tagger for `ROWS`; `changes` are those of `write_model`."""
    sides = shape[1:]
    values = math.prod(sides) if all(isinstance(side, int) for side in sides) else SIDE * SIDE * 3
    weights = np.random.default_rng(5).normal(0, 2e-4, (values, len(ROWS))).astype(np.float32)
    folder.mkdir(parents=True, exist_ok=True)
    write_model(folder / "model.onnx", weights, shape, **changes)
    write_tags(folder)
    return TinyTagger(folder=folder, weights=weights)


def write_model(
    path: Path,
    weights: np.ndarray,
    shape: Sequence[Any],
    *,
    kind: str = "FLOAT",
    operator: str = "Sigmoid",
    outside: str = "",
) -> None:
    """A model that multiplies what it takes, laid flat, with the weights. `operator` comes behind that;
    `outside` is the file that the weights lie in, as the model names it."""
    onnx = pytest.importorskip("onnx")
    helper, types = onnx.helper, onnx.TensorProto
    held = onnx.numpy_helper.from_array(weights, "weights")
    if outside:
        place = Path(outside) if Path(outside).is_absolute() else path.parent / outside
        if not place.is_symlink():
            place.write_bytes(held.raw_data)
        held.ClearField("raw_data")
        held.data_location = types.EXTERNAL
        held.external_data.add(key="location", value=outside)
    nodes = [
        helper.make_node("Cast", ["pictures"], ["numbers"], to=types.FLOAT),
        helper.make_node("Flatten", ["numbers"], ["flat"], axis=1),
        helper.make_node("MatMul", ["flat", "weights"], ["sums"]),
        helper.make_node(operator, ["sums"], ["tags"], domain="" if operator == "Sigmoid" else "strange"),
    ]
    graph = helper.make_graph(
        nodes,
        "tagger",
        [helper.make_tensor_value_info("pictures", getattr(types, kind), shape)],
        [helper.make_tensor_value_info("tags", types.FLOAT, [shape[0], weights.shape[1]])],
        [held],
    )
    domains = [helper.make_opsetid("", 17), helper.make_opsetid("strange", 1)]
    model = helper.make_model(graph, opset_imports=domains, ir_version=8)
    path.write_bytes(model.SerializeToString())
