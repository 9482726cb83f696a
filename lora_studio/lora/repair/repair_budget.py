"""The work of a repair, told by shapes before it begins: multiplications, and numbers to be written. A file
of a few kilobytes may ask for hours and for all the memory there is.

Shape letters: o outputs, i inputs (times the kernel's size), r rank.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from lora_studio.errors import ConfigError
from lora_studio.events import Emit, Noted, PhaseAdvanced, ShouldStop
from lora_studio.files import check_room
from lora_studio.formatting import duration
from lora_studio.lora.file.contents import FULL, LOKR, FileLayer
from lora_studio.lora.file.keys import DIFF
from lora_studio.lora.file.layer_shapes import Product, matrix_of, products_of
from lora_studio.lora.repair.repair_request import RepairRequest
from lora_studio.parsing.plain_text import plain_name

Layer = TypeVar("Layer")
MOST_OPERATIONS = 1 << 50
"""Multiplications of a repair, some six hours of one processor: twenty times SDXL's whole differences."""
OPERATIONS_A_SECOND, NUMBERS_A_SECOND = 5e10, 2e7
"""Measured on one processor: multiplications of an SVD, numbers read, worked on and written."""
MOST_NUMBERS = 1 << 31
"""Numbers of a new file, 4 GB in 16 bits."""
LONG_SECONDS = 30.0
LEAST_BYTES = 2 * 2
"""Bytes of a number in a new file, and of its copy while the file is made."""


class RepairStopped(Exception):
    """A repair was asked to stop, and nothing is written."""


@dataclass(frozen=True)
class Change:
    """The sides of a layer's change, and the rank that its factors have at most."""

    outputs: int
    inputs: int
    rank: int

    @property
    def full_rank(self) -> int:
        return min(self.outputs, self.inputs)

    def svd_operations(self) -> int:
        """Multiplications of its SVD (Golub and Van Loan 2013, figure 8.6.1), for fewer ranks than a matrix
        of its sides may have after two QR factorizations."""
        sides, rank = self.outputs + self.inputs, self.rank
        if rank < self.full_rank:
            return 4 * sides * rank**2 + 26 * rank**3
        return self.outputs * self.inputs * rank + 6 * sides * self.full_rank**2 + 20 * self.full_rank**3


def change_of(layer: FileLayer) -> Change | None:
    """The change of a layer; None for one that has no ranks."""
    shapes = layer.shapes
    products = products_of(shapes)
    if not products:
        outputs, inputs = matrix_of(shapes[DIFF]) if len(shapes.get(DIFF, ())) > 1 else (0, 0)
        return _change(outputs, inputs, inputs) if outputs else None
    outputs, inputs = products[0].outputs, products[0].inputs * products[0].kernel
    if layer.kind == LOKR:
        outputs, inputs = outputs * products[1].outputs, inputs * products[1].inputs * products[1].kernel
    return _change(outputs, inputs, math.prod(_change_of_product(one).rank for one in products))


def check_work(layers: Iterable[Sequence[FileLayer]], request: RepairRequest, target: Path) -> list[float]:
    """The seconds that each layer takes, about; `layers` are those that become one, each time. Refuses what
    takes too long or too much room before it begins. Raises ConfigError, DiskFull."""
    work = [_work(ones, request) for ones in layers]
    operations, numbers = (sum(one[place] for one in work) for place in (0, 1))
    if operations > MOST_OPERATIONS:
        raise ConfigError(
            f"That would take {operations / 1e12:,.0f} trillion multiplications, and "
            f"{MOST_OPERATIONS / 1e12:,.0f} are the most.",
            "Keep the ranks of such a file; in a merge, name fewer files, or resize each first (new_rank).",
        )
    if numbers > MOST_NUMBERS:
        raise ConfigError(
            f"The new file would hold {numbers / 1e9:,.0f} billion numbers, and "
            f"{MOST_NUMBERS / 1e9:,.0f} billion are the most.",
            "Ask for fewer ranks (new_rank).",
            field="new_rank",
        )
    check_room(target, plain_name(target), LEAST_BYTES * numbers)
    return [made / OPERATIONS_A_SECOND + written / NUMBERS_A_SECOND for made, written in work]


def paced(
    layers: Sequence[Layer], seconds: Sequence[float], emit: Emit, should_stop: ShouldStop
) -> Iterator[Layer]:
    """The layers one after the other, with progress in between, in thousandths of the work. Says before how
    long all takes, where that is long. Raises RepairStopped, within a layer's time."""
    whole, past = sum(seconds) or 1.0, 0.0
    about = f"about {duration(whole)} in all" if whole > LONG_SECONDS else ""
    if about:
        emit(
            Noted(message=f"This takes about {duration(whole)}. It can be stopped at any time.", level="info")
        )
    for layer, takes in zip(layers, seconds, strict=True):
        if should_stop():
            raise RepairStopped
        emit(PhaseAdvanced(phase="repair", done=round(1000 * past / whole), total=1000, note=about))
        yield layer
        past += takes
    emit(PhaseAdvanced(phase="repair", done=1000, total=1000, note=about))


def _work(ones: Sequence[FileLayer], request: RepairRequest) -> tuple[int, int]:
    """(multiplications, numbers to be written) at most, of layers that become one."""
    changes = [change for one in ones if (change := change_of(one))]
    are_merged = len(ones) > 1
    if not changes or not (request.resizes or are_merged):
        return 0, sum(one.values for one in ones)
    sides = max(change.outputs for change in changes), max(change.inputs for change in changes)
    whole = Change(*sides, sum(change.rank for change in changes))
    if not request.resizes and all(one.kind == FULL for one in ones):
        return 0, sides[0] * sides[1]
    rank = min(whole.rank, whole.full_rank)
    written = 0 if request.dynamic_method else min(rank, request.new_rank or rank) * sum(sides)
    if ones[0].kind == LOKR and not are_merged:
        factors = map(_change_of_product, products_of(ones[0].shapes))
        return sum(factor.svd_operations() for factor in factors), written
    is_cut = request.resizes or whole.rank > whole.full_rank
    return whole.svd_operations() if is_cut else 0, written


def _change_of_product(product: Product) -> Change:
    """One with a core is made whole."""
    inputs = product.inputs * product.kernel
    return _change(product.outputs, inputs, inputs if product.has_core else product.ranks[0])


def _change(outputs: int, inputs: int, rank: int) -> Change:
    return Change(outputs, inputs, min(outputs, inputs, rank))
