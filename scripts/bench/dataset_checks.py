"""Measure the checks of a set of pictures: `python -m scripts.bench.dataset_checks`.

Prints precision and recall of each check on pictures and sets with known faults, and on good ones; with
`--write` the table goes into docs/datasets.md. `--pictures 500` measures instead how long so many pictures of
2 megapixels take, the first time and again.
"""

from __future__ import annotations

import argparse
import re
import tempfile
import time
from pathlib import Path

from lora_studio.data.checks.dataset_check import CHECKS
from lora_studio.data.checks.picture_facts import FactsCache
from tests.support.check_scores import Score, all_scores, report_on
from tests.support.drawn_scenes import scene
from tests.support.spoiled_pictures import encoded

DOCS = Path(__file__).parents[2] / "docs" / "datasets.md"
BEGIN, END = "<!-- checks: python -m scripts.bench.dataset_checks --write -->\n", "<!-- end of checks -->\n"
HEAD = "| check | from where on | precision | recall |\n|---|---|---|---|\n"
ROW = re.compile(r"\| ([^|]{1,80}) \|[^|]{1,600}\| ([0-9]{1,3})% \| ([0-9]{1,3})% \|")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="put the table into docs/datasets.md")
    parser.add_argument("--pictures", type=int, default=0, metavar="N", help="time N pictures instead")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if arguments.pictures:
            time_pictures(Path(folder), arguments.pictures)
            return
        scores, falsely = all_scores(Path(folder))
    text = table(scores)
    print(text)
    for check, score in scores.items():
        for what, names in (("missed", score.missed), ("false", score.false)):
            print("".join(f"{check}: {what} {name}\n" for name in sorted(names)), end="")
    print(f"{falsely:.1%} of the good pictures with a false finding")
    if arguments.write:
        DOCS.write_text(with_table(DOCS.read_text("utf-8"), text), "utf-8")


def table(scores: dict[str, Score]) -> str:
    """The Markdown table of all checks with their thresholds."""
    rows = []
    for check in CHECKS:
        score = scores[check.id]
        rows.append(f"| {check.title} | {check.threshold} | {score.precision:.0%} | {score.recall:.0%} |\n")
    return HEAD + "".join(rows)


def with_table(page: str, text: str) -> str:
    """The page with this table in the place of the one that it has."""
    before, _, rest = page.partition(BEGIN)
    return f"{before}{BEGIN}{text}{END}{rest.partition(END)[2]}"


def figures(page: str) -> dict[str, tuple[int, int]]:
    """Precision and recall in percent, by the title of the check, from the table in a page."""
    inside = page.partition(BEGIN)[2].partition(END)[0]
    return {match[1]: (int(match[2]), int(match[3])) for match in ROW.finditer(inside)}


def time_pictures(folder: Path, count: int) -> None:
    """Print the seconds for pictures of 1632 x 1224 pixels, two of three as JPEG."""
    for number in range(min(count, 24)):
        image = scene(number, (1632, 1224))
        for again in range(number, count, 24):
            image.putpixel((again % 1632, 5), (again % 256, 0, 0))  # another file
            kind = "PNG" if again % 3 == 0 else "JPEG"
            (folder / f"{again:04}.{kind.lower()}").write_bytes(encoded(image, kind))
    cache = FactsCache(folder / ".facts")
    for what in ("first look", "second look"):
        begun, used = time.monotonic(), time.process_time()
        report = report_on(folder, cache)
        wall, processor = time.monotonic() - begun, time.process_time() - used
        print(f"{what}: {len(report.pictures)} pictures in {wall:.1f} s, {processor:.1f} s of processor time")


if __name__ == "__main__":
    main()
