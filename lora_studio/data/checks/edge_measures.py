"""Edges of a picture: how steep they are, and where.

Legend: h, w height and width of the picture; all brightnesses are levels from 0 to 255.
"""

from __future__ import annotations

import numpy

COARSE = 8
"""Pixels of a coarse one; blur of that many pixels and more can't be told apart."""
TILE = 64
STEEP_PERCENTILE, SHARPER = 99.7, 90.0
LEAST_STEP = 20.0
"""Levels between coarse pixels, below which there is no edge to judge by."""
LIKE_EDGE = 24.0
STRIPS, GRID = 16, 48


def slopes(grey: numpy.ndarray) -> numpy.ndarray:
    """The larger of the steps to the right and down, [h - 1, w - 1], of a picture [h, w]."""
    across = numpy.abs(grey[:-1, 1:] - grey[:-1, :-1])
    down = numpy.abs(grey[1:, :-1] - grey[:-1, :-1])
    return numpy.maximum(across, down)


def edge_sharpness(grey: numpy.ndarray, fine: numpy.ndarray) -> float | None:
    """The steepness of a picture's edges relative to their height: about 1 where an edge takes one pixel,
    0.4 / s after a blur of s pixels, and 1 / COARSE at least. None where there are no edges.

    Not the variance of the Laplacian, which calls flat drawings blurred and noise sharp: here steps between
    pixels are compared to steps between means of COARSE x COARSE pixels at the same place, which blur leaves
    as they are. Each place of TILE x TILE pixels is judged by itself, and the sharpest tenth of them counts:
    a background out of focus says nothing."""
    height, width = (side // COARSE * COARSE for side in grey.shape)
    if min(height, width) < 2 * COARSE:
        return None
    cells = grey[:height, :width].reshape(height // COARSE, COARSE, width // COARSE, COARSE)
    coarse = slopes(cells.mean(axis=(1, 3)))
    tiles = [max(1, side * COARSE // TILE) for side in coarse.shape]
    steps = _in_tiles(coarse, tiles, TILE // COARSE).max(axis=1)
    steepest = numpy.percentile(_in_tiles(fine, tiles, TILE), STEEP_PERCENTILE, axis=1)
    strong = steps >= LEAST_STEP
    if not strong.any():
        return None
    return float(numpy.percentile(steepest[strong] / steps[strong], SHARPER))


def strip_shares(fine: numpy.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The shares of all edges in STRIPS columns, then in as many rows; equal ones without edges."""
    edges = numpy.where(fine >= LIKE_EDGE, fine, 0.0)
    return _shares(edges.sum(axis=0)), _shares(edges.sum(axis=1))


def edge_grid(fine: numpy.ndarray) -> str:
    """Places with an edge, GRID x GRID bits in hexadecimal digits; empty for a picture that is too small."""
    if min(fine.shape) < GRID:
        return ""
    starts = [numpy.linspace(0, side, GRID + 1).astype(int)[:-1] for side in fine.shape]
    highest = numpy.maximum.reduceat(numpy.maximum.reduceat(fine, starts[0], axis=0), starts[1], axis=1)
    return numpy.packbits(highest >= LIKE_EDGE).tobytes().hex()


def read_grid(edges: str) -> numpy.ndarray:
    """The bits of `edge_grid`, [GRID, GRID]."""
    return numpy.unpackbits(numpy.frombuffer(bytes.fromhex(edges), numpy.uint8)).reshape(GRID, GRID)


def _in_tiles(values: numpy.ndarray, tiles: list[int], side: int) -> numpy.ndarray:
    """Tiles of `side` x `side` values, so many down and across, as rows; where there is one only, it may be
    smaller. The rest at the right and below belongs to none."""
    high, wide = (min(side, values.shape[axis]) for axis in (0, 1))
    cut = values[: tiles[0] * high, : tiles[1] * wide].reshape(tiles[0], high, tiles[1], wide)
    return cut.transpose(0, 2, 1, 3).reshape(tiles[0] * tiles[1], high * wide)


def _shares(sums: numpy.ndarray) -> tuple[float, ...]:
    parts = [float(part.sum()) for part in numpy.array_split(sums, STRIPS)]
    whole = sum(parts)
    return tuple(round(part / whole if whole else 1 / STRIPS, 4) for part in parts)
