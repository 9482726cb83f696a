"""Borders around a picture: bars of one colour that end at a straight edge.

Legend: h, w height and width of the picture.
"""

from __future__ import annotations

import numpy

SAME_COLOUR, SAME_ROW = 10.0, 5.0
"""Levels within which the rows of a border have one mean, and their pixels one colour (JPEG's noise)."""
OTHER_COLOUR, LEAST_OTHER = 24.0, 0.5
"""Levels and the share of pixels in which the row behind a border differs from it. A margin around a thing,
which is no border, ends where the thing begins: at a few pixels."""
LEAST_SHARE, MOST_SHARE = 0.015, 0.45
BLACK, MOST_ONE_SIDED = 16.0, 0.25
AT_ONCE = 32
SOFT_ROWS = 3
"""Rows between border and picture that may be of both."""
CORNER, MOST_PLAIN_CORNERS = 0.04, 2
"""Share of a side that makes a corner of what is inside a border, and how many of the four may be of the
border's colour: where a thing lies on a plain ground most are."""

Box = tuple[int, int, int, int]


def find_borders(pixels: numpy.ndarray) -> tuple[Box, str]:
    """The part of a picture [h, w, 3] inside its borders, as left, top, right, bottom, and their colour as
    #rrggbb; all of it and an empty text where there are none.

    Two opposite sides count, or one that is black: a clear sky is a bar at one side, too. A plain ground
    around a thing is none."""
    height, width, _ = pixels.shape
    top, bottom, first = _pair(pixels)
    left, right, second = _pair(pixels[top : height - bottom].transpose(1, 0, 2))
    colour = first if top + bottom else second
    if not top + bottom + left + right or colour is None:
        return (0, 0, width, height), ""
    inner = pixels[top : height - bottom, left : width - right]
    if colour.max() > BLACK and _plain_corners(inner, colour) > MOST_PLAIN_CORNERS:
        return (0, 0, width, height), ""
    shown = "".join(f"{round(float(level)):02x}" for level in colour)
    return (left, top, width - right, height - bottom), f"#{shown}"


def _plain_corners(pixels: numpy.ndarray, colour: numpy.ndarray) -> int:
    """The number of corners, of four, that are mostly of this colour."""
    high, wide = (max(1, round(CORNER * side)) for side in pixels.shape[:2])
    corners = (pixels[rows, columns] for rows in _ends(high) for columns in _ends(wide))
    near = [(numpy.abs(corner - colour).max(axis=2) <= OTHER_COLOUR).mean() for corner in corners]
    return sum(share > 0.5 for share in near)


def _ends(length: int) -> tuple[slice, slice]:
    return slice(None, length), slice(-length, None)


def _pair(values: numpy.ndarray) -> tuple[int, int, numpy.ndarray | None]:
    """Rows of the border at the beginning and at the end, and its colour."""
    (first, colour), (last, other) = _border(values), _border(values[::-1])
    if first and last and numpy.abs(colour - other).max() <= 2 * SAME_COLOUR:
        return first, last, colour
    length = values.shape[0]
    for rows, shade, place in ((first, colour, 0), (last, other, 1)):
        if rows and shade.max() <= BLACK and rows <= MOST_ONE_SIDED * length:
            return (rows, 0, shade) if place == 0 else (0, rows, shade)
    return 0, 0, None


def _border(pixels: numpy.ndarray) -> tuple[int, numpy.ndarray]:
    """Rows of one colour at the beginning that end at a straight edge; 0 for none."""
    length = pixels.shape[0]
    colour = pixels[0].mean(axis=0)
    if not _is_plain(pixels[0]) or not _is_plain(pixels[int(LEAST_SHARE * length)]):
        return 0, colour
    rows = 1 + _rows_alike(pixels[1 : int(MOST_SHARE * length) + 1], colour)
    if not LEAST_SHARE * length <= rows <= MOST_SHARE * length:
        return 0, colour
    behind = pixels[min(rows + SOFT_ROWS, length - 1)]
    differs = (numpy.abs(behind - colour).max(axis=1) > OTHER_COLOUR).mean()
    return (rows, colour) if differs >= LEAST_OTHER else (0, colour)


def _rows_alike(pixels: numpy.ndarray, colour: numpy.ndarray) -> int:
    """Rows at the beginning that are of this colour. Some are looked at together: one by one they would hold
    the interpreter for as long as all else that is measured."""
    for start in range(0, pixels.shape[0], AT_ONCE):
        some = pixels[start : start + AT_ONCE]
        is_near = numpy.abs(some.mean(axis=1) - colour).max(axis=1) <= SAME_COLOUR
        is_alike = is_near & (some.std(axis=1).max(axis=1) <= SAME_ROW)
        if not is_alike.all():
            return start + int(is_alike.argmin())
    return int(pixels.shape[0])


def _is_plain(row: numpy.ndarray) -> bool:
    return bool(row.std(axis=0).max() <= SAME_ROW)
