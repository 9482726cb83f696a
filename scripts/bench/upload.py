"""Many pictures uploaded: python -m scripts.bench.upload [--pictures N] [--side N] [--json]

One app.py in a process of its own, pictures chosen in Chromium: when they are transferred, when the first
count is to be seen, how soon Stop ends the reading and what it leaves; then, once more, when the set is to be
seen, what the server computes for each picture, and whether all of them can be reached. CPU seconds are the
server's; wall times on a shared machine are upper limits.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from scripts.bench.page import Server
from scripts.bench.startup import TAB_IS_SEEN, running_app, wait_for_page
from tests.support.chromium import find_chromium

PATIENCE = 240_000
UPLOAD = "/gradio_api/upload?"
COUNT = "/\\d+ of \\d+ files? read/.test(document.querySelector('#upload-left').innerText)"
TILES = "document.querySelectorAll('#upload-pictures [data-action=delete]').length"
"""Tiles of pictures, by the button that each has."""


def make_pictures(folder: Path, count: int, side: int) -> list[Path]:
    """JPEGs of smooth colours with a little noise, as a camera's."""
    folder.mkdir()
    noise = numpy.random.default_rng(1)
    paths = []
    for number in range(count):
        small = noise.integers(0, 255, (8, 8, 3), dtype=numpy.uint8)
        path = folder / f"{number:04}.jpg"
        Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC).save(path, quality=90)
        paths.append(path)
    return paths


def measure_stop(page: Page, paths: list[Path]) -> dict[str, float]:
    """The figures of an upload that is stopped as soon as it is counted."""
    begun = time.perf_counter()
    with page.expect_request_finished(lambda request: UPLOAD in request.url, timeout=PATIENCE):
        page.locator("#upload-files input[type=file]").set_input_files(paths)
    found = {"transferred after, s": time.perf_counter() - begun}
    page.wait_for_function(COUNT, polling=50, timeout=PATIENCE)
    found["a count is seen after, s"] = time.perf_counter() - begun
    begun = time.perf_counter()
    page.locator("#upload-stop").click()
    page.locator("#upload-stop").wait_for(state="hidden", timeout=PATIENCE)
    found["Stop ends the reading after, s"] = time.perf_counter() - begun
    return {**found, "tiles after Stop": page.evaluate(TILES)}


def measure(page: Page, server: Server, paths: list[Path]) -> dict[str, float]:
    """The figures of one upload."""
    found = measure_stop(page, paths)
    before, begun = server.cpu(), time.perf_counter()
    page.locator("#upload-files input[type=file]").set_input_files(paths)
    page.wait_for_function(f"{TILES} > 0", polling=100, timeout=PATIENCE)
    found["the set is seen after, s"] = time.perf_counter() - begun
    found["CPU ms a picture"] = 1000 * (server.cpu() - before) / len(paths)
    found["tiles at first"] = page.evaluate(TILES)
    while (button := page.locator("#upload-pictures [data-key=more]")).count():
        shown = page.evaluate(TILES)
        button.click()
        page.wait_for_function(f"{TILES} > {shown}", polling=100, timeout=PATIENCE)
    return {**found, "tiles in the end": page.evaluate(TILES)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=500)
    parser.add_argument("--side", type=int, default=512, help="pixels (default: 512)")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as top, sync_playwright() as playwright:
        paths = make_pictures(Path(top) / "pictures", given.pictures, given.side)
        with running_app(Path(top) / "home") as (process, address, _):
            wait_for_page(address, process)
            browser = playwright.chromium.launch(executable_path=find_chromium())
            page = browser.new_page(viewport={"width": 1440, "height": 900})
            page.goto(address, wait_until="domcontentloaded")
            page.wait_for_function(TAB_IS_SEEN, polling="raf", timeout=PATIENCE)
            page.wait_for_timeout(3000)
            found = measure(page, Server(process.pid), paths)
            browser.close()
    shown = {name: round(value, 2) for name, value in found.items()}
    print(json.dumps(shown, indent=2) if given.json else "\n".join(f"{k}: {v}" for k, v in shown.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
