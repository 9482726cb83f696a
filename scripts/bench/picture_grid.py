"""The cost of a large set's pictures in a browser: python -m scripts.bench.picture_grid [--pictures N]

Small PNGs in one set, shown on Upload by Chromium: how long until the first are painted, how many nodes and
how much memory the page has then, after each click on "Show more" until it holds all it may, and at the last
ones; and how long a key takes that leads to the next picture. Wall times on a shared machine are upper
limits.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from lora_studio.settings import Settings
from scripts.bench.page import Server
from scripts.bench.parts.big_set import make_set
from scripts.bench.startup import TAB_IS_SEEN, running_app, wait_for_page
from tests.support.chromium import find_chromium

PATIENCE = 240_000
SIDE = 96
TILES = "document.querySelectorAll('#upload-pictures .tile').length"
FIRST = "document.querySelector('#upload-pictures .tile img')?.alt"
LAST_PAINTED = """() => {
  const image = [...document.querySelectorAll('#upload-pictures .tile img')].at(-1);
  image?.scrollIntoView();
  return image?.complete && image.naturalWidth > 0;
}"""
KEYS = 50


def figures(page: Page) -> str:
    """Nodes and memory of the page, after a collection."""
    session = page.context.new_cdp_session(page)
    session.send("HeapProfiler.collectGarbage")
    session.send("Performance.enable")
    found = {one["name"]: one["value"] for one in session.send("Performance.getMetrics")["metrics"]}
    session.detach()
    height = page.evaluate("document.documentElement.scrollHeight")
    tiles, nodes, megabytes = page.evaluate(TILES), found["Nodes"], found["JSHeapUsedSize"] / 1e6
    return f"{tiles} tiles, {nodes:.0f} nodes, {megabytes:.1f} MB of JavaScript, {height} px high"


def click(page: Page, server: Server, key: str) -> str:
    """The figures after a click on one of the buttons below the pictures."""
    before, spent, begun = page.evaluate(f"`${{{TILES}}} ${{{FIRST}}}`"), server.cpu(), time.perf_counter()
    page.locator(f"#upload-pictures [data-key={key}]").click()
    page.wait_for_function(f"`${{{TILES}}} ${{{FIRST}}}` !== {before!r}", polling="raf", timeout=PATIENCE)
    painted = time.perf_counter() - begun
    page.wait_for_function(LAST_PAINTED, polling="raf", timeout=PATIENCE)
    whole, spent = time.perf_counter() - begun, server.cpu() - spent
    return f"{painted:.2f} s, last picture {whole:.2f} s, server {spent:.2f} CPU s; {figures(page)}"


def measure(page: Page, server: Server, address: str) -> None:
    """Print all figures."""
    begun, spent = time.perf_counter(), server.cpu()
    page.goto(address, wait_until="domcontentloaded")
    page.wait_for_function(TAB_IS_SEEN, polling="raf", timeout=PATIENCE)
    page.wait_for_function(f"{TILES} > 0", polling="raf", timeout=PATIENCE)
    seen = time.perf_counter() - begun
    page.wait_for_timeout(2000)
    print(f"first pictures after {seen:.2f} s, server {server.cpu() - spent:.2f} CPU s; {figures(page)}")
    while page.locator("#upload-pictures [data-key=earlier]").count() == 0:
        if page.locator("#upload-pictures [data-key=more]").count() == 0:
            break
        print("more:", click(page, server, "more"))
    if page.locator("#upload-pictures [data-key=last]").count():
        print("last:", click(page, server, "last"))
    page.locator("#upload-pictures .tile [tabindex='0']").first.focus()
    begun = time.perf_counter()
    for _ in range(KEYS):
        page.keyboard.press("ArrowDown")
    print(f"to the next picture by a key: {1000 * (time.perf_counter() - begun) / KEYS:.1f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=10_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as top, sync_playwright() as playwright:
        home = Path(top) / "home"
        make_set(Settings(home=home, models=home / "models"), given.pictures, (SIDE, SIDE))
        with running_app(home) as (process, address, _):
            wait_for_page(address, process)
            browser = playwright.chromium.launch(executable_path=find_chromium(), args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1440, "height": 900})
            measure(page, Server(process.pid), address)
            browser.close()


if __name__ == "__main__":
    main()
