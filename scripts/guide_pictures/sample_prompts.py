"""Draw the sample prompts of the embedded base: python -m scripts.guide_pictures.sample_prompts [--only X]

Reads the numbered tables of docs/sample-prompts.md and draws a sheet for each into docs/img. For the tables
about a LoRA it trains on an example set first, with its preset's settings. Each sheet keeps its prompts in
its EXIF, so that a test tells when the page has changed since.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from lora_studio.images.contact_sheet import PAPER, draw_sheet
from lora_studio.request import GenerateRequest, LoraUse
from lora_studio.settings import CHECKOUT, Settings
from lora_studio.studio import Studio, open_studio
from lora_studio.training_request import StartTraining

PAGE = CHECKOUT / "docs" / "sample-prompts.md"
ROW = re.compile(r"^\| \d+ \| [^|]* \| ([^|]+) \|$", re.MULTILINE)
SEED, TRIGGER, PATIENCE = 7, "zwx", 3600.0
COLUMNS = 6
DESCRIPTION = 0x010E
"""EXIF's field ImageDescription."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """A table of the page below `heading`; with `example`, its prompts are drawn with a LoRA of that set."""

    heading: str
    example: str = ""
    kind: str = ""

    @property
    def prompts(self) -> list[str]:
        part = PAGE.read_text("utf-8").partition(f"\n### {self.heading}\n")[2].partition("\n#")[0]
        return [prompt.replace("**", "") for prompt in ROW.findall(part)]

    def sheet(self, name: str) -> Path:
        return PAGE.parent / "img" / f"sample-prompts-{name}.webp"


GROUPS = {
    "alone": Group(heading="The base alone"),
    "object": Group(heading="Your object", example="alien", kind="object"),
    "style": Group(heading="Your style", example="ink", kind="style"),
}


def prompts_in(sheet: Path) -> list[str]:
    """The prompts that a sheet was drawn from."""
    with Image.open(sheet) as picture:
        return list(json.loads(picture.getexif()[DESCRIPTION]))


def trained(studio: Studio, group: Group) -> tuple[LoraUse, ...]:
    """The LoRA of the group's example set, if it has one. Exits where the training doesn't finish."""
    if not group.example:
        return ()
    files = sorted((CHECKOUT / "examples" / group.example).iterdir())
    job = studio.trainings.start(
        StartTraining(
            dataset_id=studio.datasets.create(group.example, files).id,
            name=group.example,
            kind=group.kind,
            trigger=TRIGGER,
            overrides={
                "seed": 42,
                "sample_every_n_steps": 0,
                "checkpoint_board": False,
                "result_pictures": 0,
            },
        )
    )
    record = studio.jobs.wait(job.id, timeout=PATIENCE)
    if record.status != "finished":
        raise SystemExit(f"The training on {group.example} ended as {record.status}: {record.message}")
    return (LoraUse(slug=Path(record.result_path).name),)


def draw(studio: Studio, group: Group) -> Image.Image:
    """A sheet of the group's prompts, some in a row, each above its picture."""
    loras = trained(studio, group)
    pictures = []
    for prompt in group.prompts:
        request = GenerateRequest(prompt=prompt, loras=loras, insert_trigger=False, seed=SEED)
        with Image.open(studio.generate(request)[0].path) as picture:
            pictures.append(picture.convert("RGB"))
    rows = [
        draw_sheet(pictures[at : at + COLUMNS], (group.prompts[at : at + COLUMNS], [""], [""]))
        for at in range(0, len(pictures), COLUMNS)
    ]
    sheet = Image.new("RGB", (max(row.width for row in rows), sum(row.height for row in rows)), PAPER)
    top = 0
    for row in rows:
        sheet.paste(row, (0, top))
        top += row.height
    return sheet


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.guide_pictures.sample_prompts",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", nargs="+", choices=GROUPS, default=list(GROUPS))
    for name in parser.parse_args(arguments).only:
        group = GROUPS[name]
        with tempfile.TemporaryDirectory() as folder:
            studio = open_studio(Settings(home=Path(folder) / "home", models=Path(folder) / "models"))
            try:
                sheet = draw(studio, group)
            finally:
                studio.close()
        exif = Image.Exif()
        exif[DESCRIPTION] = json.dumps(group.prompts)
        sheet.save(group.sheet(name), "WEBP", quality=85, method=6, exif=exif)
        print(f"{group.sheet(name).relative_to(CHECKOUT)}: {len(group.prompts)} prompts")
    return 0


if __name__ == "__main__":
    sys.exit(main())
