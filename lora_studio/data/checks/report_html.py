"""The report on a set as one HTML file that needs nothing else: styles and thumbnails are inside."""

from __future__ import annotations

import base64
import io
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from PIL import Image

from lora_studio.data.checks.dataset_report import DatasetReport
from lora_studio.data.pixels.decoding import decode, opened
from lora_studio.errors import DatasetError

SIDE = 192
MOST_SHOWN = 24
"""Findings of one check that are shown with thumbnails; the others are counted."""


def report_html(report: DatasetReport, *, title: str, base: str) -> str:
    """The page of a report. All that strangers wrote is escaped."""
    paths = {picture.name: picture.path for picture in report.pictures}
    shown = {
        finding.pictures[0]
        for part in report.parts
        for finding in part.findings[:MOST_SHOWN]
        if finding.pictures
    }
    thumbnails = {name: _thumbnail(paths[name]) for name in sorted(shown) if name in paths}
    return _template().render(report=report, title=title, base=base, thumbnails=thumbnails, most=MOST_SHOWN)


@cache
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report_page.html")


def _thumbnail(path: Path) -> str:
    """A small picture as a data address; empty for one that can't be read."""
    try:
        with opened(path.name, path) as image:
            if image.format == "JPEG":
                image.draft(None, (SIDE, SIDE))
            small = decode(path.name, image).image
    except DatasetError:
        return ""
    small.thumbnail((SIDE, SIDE), Image.Resampling.BOX)
    buffer = io.BytesIO()
    small.save(buffer, "WEBP", quality=80)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
