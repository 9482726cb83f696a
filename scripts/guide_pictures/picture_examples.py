"""Show good and bad pictures, and what is said of each: python -m scripts.guide_pictures.picture_examples

Spoils pictures of `examples/alien` in the ways that people's pictures are spoiled, runs the checks of
`lora-studio dataset check` on them, and writes two sheets into docs/img and their section into
docs/guide/pictures.md. The words beside the pictures are the checks' own.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFilter

from lora_studio.config_groups import DatasetGroup
from lora_studio.data.checks.checked_set import pictures_of
from lora_studio.data.checks.dataset_check import CHECKS, check_dataset
from lora_studio.data.checks.dataset_findings import DatasetFinding
from lora_studio.data.checks.dataset_report import DatasetReport
from lora_studio.data.checks.picture_facts import FactsCache
from lora_studio.data.training_set.subsets import folder_subsets
from lora_studio.images.contact_sheet import draw_sheet
from lora_studio.settings import CHECKOUT, Settings
from lora_studio.training.preparation.check_options import options_for

DOCS = CHECKOUT / "docs"
PAGE = DOCS / "guide" / "pictures.md"
SET = CHECKOUT / "examples" / "alien"
TRIGGER = "zwx"
ACROSS, LETTERS, CELL = 4, 18, 128
"""Pictures in a row, so that a phone shows their words large enough."""
NOTHING = "nothing found"
BEGIN, END = (
    "<!-- examples: python -m scripts.guide_pictures.picture_examples -->\n",
    "<!-- end of examples -->\n",
)


@dataclass(frozen=True, kw_only=True)
class Example:
    """A picture, and what is wrong with it if it isn't `is_good`; `caption` None: the usual one."""

    name: str
    wrong: str
    picture: Image.Image
    caption: str | None = None
    is_good: bool = False


def spoiled() -> Iterator[Example]:
    """Pictures as people bring them, with what is wrong with each. The files' names sort as they come."""
    first, second, third, fourth, fifth, sixth, seventh, eighth, *_ = _pictures(SET)
    yield Example(
        name="a-blurred.png",
        wrong="out of focus",
        picture=second.resize((128, 128)).filter(ImageFilter.GaussianBlur(3)),
    )
    yield Example(
        name="b-small.png",
        wrong="tiny: 40 pixels, where 64 are trained",
        picture=third.resize((40, 40), Image.Resampling.LANCZOS),
    )
    yield Example(
        name="c-bars.png",
        wrong="a film still with its bars",
        picture=_pasted(fourth, (256, 400), (0, 72), "black"),
    )
    yield Example(
        name="d-edge.png",
        wrong="the subject at the end of a wide picture",
        picture=_pasted(first.resize((170, 170)), (1000, 200), (8, 16), "#e8e4da"),
    )
    yield Example(name="e-first.png", wrong="nothing: the better one of two", picture=fifth, is_good=True)
    yield Example(
        name="f-again.png",
        wrong="the same again, a little cropped",
        picture=fifth.crop((4, 4, 252, 252)).resize((200, 200), Image.Resampling.LANCZOS),
    )
    yield Example(name="g-cut-out.png", wrong="cut out, nothing behind it", picture=_cut_out(sixth))
    yield Example(name="h-mask.png", wrong="a mask that slipped in", picture=_mask(first))
    yield Example(
        name="i-no-trigger.png",
        wrong="a caption that forgets the trigger word",
        picture=seventh,
        caption="a creature on a green background",
    )
    yield Example(name="j-text.png", wrong="text over the picture", picture=_with_text(eighth))
    yield Example(
        name="k-side.png",
        wrong="on its side, and no EXIF that says so",
        picture=third.transpose(Image.Transpose.ROTATE_90),
    )
    yield Example(name="l-crowd.png", wrong="the subject among others", picture=_crowd(second))


def _pictures(folder: Path) -> list[Image.Image]:
    return [Image.open(path).convert("RGB") for path in sorted(folder.glob("*.png"))]


def _pasted(picture: Image.Image, size: tuple[int, int], at: tuple[int, int], colour: str) -> Image.Image:
    sheet = Image.new("RGB", size, colour)
    sheet.paste(picture, at)
    return sheet


def _cut_out(picture: Image.Image) -> Image.Image:
    """The picture with its white ground transparent."""
    alpha = picture.convert("L").point(lambda level: 0 if level > 245 else 255)
    made = picture.convert("RGBA")
    made.putalpha(alpha)
    return made


def _mask(picture: Image.Image) -> Image.Image:
    return picture.convert("L").point(lambda level: 0 if level > 200 else 255)


def _with_text(picture: Image.Image) -> Image.Image:
    made = picture.copy()
    pen = ImageDraw.Draw(made)
    for line in range(3):
        pen.text(
            (20, 40 + 70 * line), "SAMPLE", fill="white", font_size=56, stroke_width=2, stroke_fill="gray"
        )
    return made


def _crowd(picture: Image.Image) -> Image.Image:
    others = [one.resize((128, 128)) for one in _pictures(CHECKOUT / "examples" / "ink")[:3]]
    made = Image.new("RGB", (256, 256), "white")
    for place, one in enumerate((*others, picture.resize((128, 128)))):
        made.paste(one, (128 * (place % 2), 128 * (place // 2)))
    return made


def report_on(folder: Path) -> DatasetReport:
    """The report on a folder that is meant for the embedded base."""
    settings = Settings(home=folder / "home", models=folder / "models")
    options = options_for("starter", settings, kind="object", trigger=TRIGGER)
    subsets, _ = folder_subsets(DatasetGroup(train_data_dir=str(folder)))
    return check_dataset(list(pictures_of(folder, subsets)), options, FactsCache(None))


def write_examples(folder: Path, examples: Sequence[Example]) -> None:
    for number, example in enumerate(examples):
        example.picture.save(folder / example.name)
        caption = f"a {TRIGGER} creature, example {number}" if example.caption is None else example.caption
        (folder / example.name).with_suffix(".txt").write_text(caption, "utf-8")


def finding_on(report: DatasetReport, name: str) -> DatasetFinding | None:
    """The worst that is said of a picture, notes aside; of copies it is said of the one to leave out."""
    found = [one for one in report.findings if name in one.pictures[:1] and one.severity != "note"]
    return min(found, key=lambda one: one.severity != "serious", default=None)


def title_of(finding: DatasetFinding | None) -> str:
    return NOTHING if finding is None else next(one.title for one in CHECKS if one.id == finding.check)


def section() -> tuple[str, Image.Image, Image.Image]:
    """The section of the page, and its sheets of good and of bad pictures."""
    examples = list(spoiled())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_examples(folder, examples)
        report = report_on(folder)
    good = report_on(SET)
    findings = [finding_on(report, example.name) for example in examples]
    rows = [
        f"| {number} | {example.wrong} | {finding.reason if finding else NOTHING} | {_offer(finding)} |"
        for number, (example, finding) in enumerate(zip(examples, findings, strict=True), 1)
    ]
    missed = [
        str(number)
        for number, (example, finding) in enumerate(zip(examples, findings, strict=True), 1)
        if finding is None and not example.is_good
    ]
    text = "\n".join(
        [
            "The set `examples/alien`: one thing, each time on another ground, in two styles, and captions"
            f" that say on which. The check gives it the grade {good.grade}.",
            "",
            "![Eight good pictures with their captions](../img/good-pictures.webp)",
            "",
            "And some of its pictures spoiled in the ways that pictures get spoiled:",
            "",
            "![Twelve spoiled pictures, each with what the check calls it](../img/bad-pictures.webp)",
            "",
            "| | what is wrong | what the check says | what it offers |",
            "|---|---|---|---|",
            *rows,
            "",
            f"In {', '.join(missed[:-1])} and {missed[-1]} nothing is found: what a picture shows, the check"
            " doesn't see. So look through the set once yourself.",
            "",
        ]
    )
    captions = [path.read_text("utf-8").strip() for path in sorted(SET.glob("*.txt"))]
    labels = [f"{number} {title_of(finding)}" for number, finding in enumerate(findings, 1)]
    return text, _sheet(_pictures(SET)[:8], captions[:8]), _sheet([one.picture for one in examples], labels)


def _offer(finding: DatasetFinding | None) -> str:
    if finding is None:
        return ""
    advice = next(one.advice for one in CHECKS if one.id == finding.check)
    return finding.fix.title if finding.fix else advice


def _sheet(pictures: Sequence[Image.Image], labels: Sequence[str]) -> Image.Image:
    """Rows of pictures with a label of its own above each."""
    rows = []
    for start in range(0, len(pictures), ACROSS):
        shown = [_shown(picture) for picture in pictures[start : start + ACROSS]]
        rows.append(draw_sheet(shown, (labels[start : start + ACROSS], [""], [""]), letters=LETTERS))
    sheet = Image.new("RGB", (max(row.width for row in rows), sum(row.height for row in rows)), "white")
    top = 0
    for row in rows:
        sheet.paste(row, (0, top))
        top += row.height
    return sheet


def _shown(picture: Image.Image) -> Image.Image:
    """The picture as large as a cell, a small one in its pixels; squares stand for what is transparent."""
    if picture.mode == "RGBA":
        ground = Image.new("RGB", picture.size, "white")
        pen = ImageDraw.Draw(ground)
        for x in range(0, picture.width, 32):
            for y in range(32 * (x // 32 % 2), picture.height, 64):
                pen.rectangle((x, y, x + 31, y + 31), fill="#cfd3dd")
        ground.paste(picture, mask=picture.getchannel("A"))
        picture = ground
    small = picture.convert("RGB")
    small.thumbnail((CELL, CELL), Image.Resampling.LANCZOS)
    sheet = Image.new("RGB", (CELL, CELL), "#e9ebf1")
    sheet.paste(small, ((CELL - small.width) // 2, (CELL - small.height) // 2))
    return sheet


def with_section(page: str, text: str) -> str:
    """The page with this section in the place of the one that it has."""
    before, _, rest = page.partition(BEGIN)
    return f"{before}{BEGIN}{text}{END}{rest.partition(END)[2]}"


def main() -> int:
    text, good, bad = section()
    for name, sheet in (("good", good), ("bad", bad)):
        sheet.save(DOCS / "img" / f"{name}-pictures.webp", "WEBP", quality=85, method=6)
    PAGE.write_text(with_section(PAGE.read_text("utf-8"), text), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
