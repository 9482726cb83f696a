"""The shapes of a layer's factors: whether they can be multiplied, and how large a tensor that takes. Told
before anything is multiplied, since a file of a few kilobytes may ask for any size. Standard library only.

Shape letters: o outputs, i inputs, k numbers in a kernel; r and s the ranks on both sides of a Tucker core.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from lora_studio.lora.file.keys import DOWN, MID, UP

Shapes = Mapping[str, tuple[int, ...]]
LARGEST_MADE = 1 << 27
"""Numbers of the largest tensor that a layer's factors may need on the way to its change, half a gigabyte in
32 bit: FLUX.1's largest layer has half of that as a whole. A LoKr of 30 KB, or a core beside long rows, may
ask for any number."""


@dataclass(frozen=True, kw_only=True)
class Product:
    """A matrix of two factors, [o, r] times [s, i k], where r is s; with a core [r, s, k] between them,
    [o, r] and [s, i]. One that a file has as a whole has the rank of its smaller side."""

    outputs: int
    inputs: int
    ranks: tuple[int, int]
    kernel: int = 1
    has_core: bool = False

    @property
    def largest(self) -> int:
        """Numbers of the largest tensor on the way to the whole matrix, whichever factor comes first."""
        made = self.outputs * self.inputs * self.kernel
        if not self.has_core:
            return made
        (left, right), kernel = self.ranks, self.kernel
        return max(made, right * kernel * self.outputs, left * kernel * self.inputs)

    @property
    def operations(self) -> int:
        """Multiplications that make it whole, at most."""
        (left, right), kernel = self.ranks, self.kernel
        if not self.has_core:
            return self.outputs * self.inputs * left
        by_outputs = right * kernel * self.outputs * (left + self.inputs)
        return max(by_outputs, left * kernel * self.inputs * (right + self.outputs))


def products_of(shapes: Shapes) -> list[Product]:
    """The matrices that a LoRA (one), a LoHa (its two halves) or a LoKr (its two factors) is made of; none
    for other kinds. Raises ValueError for tensors that don't go together."""
    if {DOWN, UP} <= shapes.keys():
        return [_product(shapes[UP], shapes[DOWN], shapes.get(MID))]
    if "hada_w1_a" in shapes:
        first, second = (_half(shapes, number) for number in "12")
        if first.has_core != second.has_core or _sides(first) != _sides(second):
            raise ValueError("the halves differ")
        return [first, second]
    if {"lokr_w1", "lokr_w1_a"} & shapes.keys():
        return [_kronecker_factor(shapes, name) for name in ("lokr_w1", "lokr_w2")]
    return []


def go_together(shapes: Shapes) -> bool:
    """Whether the factors of a layer can be multiplied; True for kinds without any."""
    try:
        products_of(shapes)
    except (ValueError, IndexError, KeyError):
        return False
    return True


def matrix_of(shape: tuple[int, ...]) -> tuple[int, int]:
    """The sides of a tensor whose dimensions after the first are one."""
    return shape[0], math.prod(shape[1:])


def _half(shapes: Shapes, number: str) -> Product:
    left, right = shapes[f"hada_w{number}_a"], shapes[f"hada_w{number}_b"]
    core = shapes.get(f"hada_t{number}")
    return _product(left, right, None) if core is None else _cored(left, right, core)


def _kronecker_factor(shapes: Shapes, name: str) -> Product:
    if name in shapes:
        outputs, inputs = matrix_of(shapes[name])
        if len(shapes[name]) < 2:
            raise ValueError("a factor is no matrix")
        return Product(outputs=outputs, inputs=inputs, ranks=(min(outputs, inputs),) * 2)
    left, right, core = shapes[f"{name}_a"], shapes[f"{name}_b"], shapes.get("lokr_t2")
    if name == "lokr_w2" and core is not None:
        return _cored(left, right, core)
    return _product(left, right, None)


def _product(left: tuple[int, ...], right: tuple[int, ...], core: tuple[int, ...] | None) -> Product:
    (outputs, first), (second, inputs) = matrix_of(left), matrix_of(right)
    if core is None:
        if len(left) < 2 or len(right) < 2 or first != second:
            raise ValueError("the ranks differ")
        return Product(outputs=outputs, inputs=inputs, ranks=(first, second))
    return _around(core, outputs=(first, outputs), inputs=(second, inputs))


def _cored(left: tuple[int, ...], right: tuple[int, ...], core: tuple[int, ...]) -> Product:
    """LyCORIS', whose factors beside a core have the rank first."""
    if len(left) != 2 or len(right) != 2:
        raise ValueError("a factor is no matrix")
    return _around(core, outputs=(left[0], left[1]), inputs=(right[0], right[1]))


def _around(core: tuple[int, ...], *, outputs: tuple[int, int], inputs: tuple[int, int]) -> Product:
    if len(core) < 2 or core[:2] != (outputs[0], inputs[0]):
        raise ValueError("the ranks differ")
    kernel = math.prod(core[2:])
    return Product(
        outputs=outputs[1], inputs=inputs[1], ranks=(core[0], core[1]), kernel=kernel, has_core=True
    )


def _sides(product: Product) -> tuple[int, int]:
    return product.outputs, product.inputs * product.kernel
