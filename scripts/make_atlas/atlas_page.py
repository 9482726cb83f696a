"""The page of an atlas: a section for each strip, of which any can be made anew by itself."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from lora_studio.catalog import BASES
from lora_studio.images.contact_sheet import draw_sheet
from scripts.make_atlas.effects_atlas import SEED, Atlas, Column
from scripts.make_atlas.strips import STRIPS, Strip

LETTERS = 20
"""Pixels of a sheet that is 560 wide; a phone shows it at two thirds."""
HEADING = re.compile(r"^## (.{1,100})\n", re.MULTILINE)


def write_atlas(atlas: Atlas, folder: Path, only: Sequence[str] = ()) -> Path:
    """Draw the strips and write them into the base's page, after each one, so that a run that breaks off has
    lost nothing. The others' sections stay as they are. Returns the page."""
    page = folder / f"atlas-{atlas.base}.md"
    sections = sections_of(page.read_text("utf-8")) if page.exists() else {}
    for strip in atlas.strips(only):
        sections[strip.setting] = _section(atlas, strip, folder)
        ordered = [sections[one.setting] for one in STRIPS if one.setting in sections]
        page.write_text("\n".join([_head(atlas.base), *ordered]), "utf-8")
    return page


def sections_of(page: str) -> dict[str, str]:
    """The text of each strip in a page, by its setting."""
    parts = HEADING.split(page)[1:]
    return {
        setting: f"## {setting}\n\n{text.strip()}\n"
        for setting, text in zip(parts[::2], parts[1::2], strict=True)
    }


def _head(base: str) -> str:
    return "\n".join(
        [
            f"# What settings do: {BASES[base].title}",
            "",
            f"Made by `python -m scripts.make_atlas --base {base}`: ten ink drawings (`examples/ink`), the"
            f" preset style, one setting changed at a time. Every picture has the same seed, {SEED}, every"
            " training its own same one, and none was picked out. Seconds are those of one processor core, of"
            " the whole training or of one picture. Other bases have other right values: look for the"
            " direction.",
            "",
        ]
    )


def _section(atlas: Atlas, strip: Strip, folder: Path) -> str:
    """Draw a strip into the folder's img/atlas. Returns its Markdown."""
    columns = [atlas.draw(strip, value) for value in strip.values]
    labels = [strip.label(value, atlas.base) for value in strip.values]
    file = Path("img") / "atlas" / f"{atlas.base}-{strip.setting.replace(' ', '-')}.webp"
    (folder / file).parent.mkdir(parents=True, exist_ok=True)
    pictures = [column.pictures[row] for row in range(len(strip.prompts)) for column in columns]
    sheet = draw_sheet(pictures, (labels, [""], strip.prompts), letters=LETTERS)
    sheet.save(folder / file, "WEBP", quality=85, method=6)
    seen = strip.seen.get(atlas.base, "")
    shown = ", ".join(labels)
    return "\n".join(
        [
            f"## {strip.setting}",
            "",
            f"{strip.about} {seen}".strip(),
            "",
            f"![The same prompts and seed with {strip.setting} {shown}]({file.as_posix()})",
            "",
            *_figures(atlas, strip, labels, columns),
            "",
        ]
    )


def _figures(atlas: Atlas, strip: Strip, labels: Sequence[str], columns: Sequence[Column]) -> list[str]:
    """The table of what each value took."""
    if strip.drawing:
        rows = [
            f"| {label} | {atlas.steps(strip, value)} | {column.seconds:.2f} |"
            for label, value, column in zip(labels, strip.values, columns, strict=True)
        ]
        return ["| value | steps of a picture | seconds |", "|---|---|---|", *rows]
    rows = [
        f"| {label} | {lora.steps} | {lora.seconds:.0f} | {'' if lora.loss is None else f'{lora.loss:.4f}'} |"
        for label, lora in zip(labels, (column.lora for column in columns), strict=True)
    ]
    return ["| value | steps of training | seconds | last loss |", "|---|---|---|---|", *rows]
