"""Plain tables for the terminal.

Not by rich, which is there through Gradio: it breaks or cuts cells at 80 columns where output is no terminal,
and scripts read that; it would cost each command some 50 ms for the twenty lines of this file.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

WIDEST = 32


def draw_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Left-aligned columns, two spaces apart; long cells are cut."""
    cells = [list(head), *([_cut(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in cells)
    return "\n".join(line.rstrip() for line in lines)


def _cut(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= WIDEST else f"{flat[: WIDEST - 1]}…"
