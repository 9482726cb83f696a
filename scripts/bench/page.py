"""The page's cost with a large library: python -m scripts.bench.page [--loras N] [--images N] [--json]

One app.py in a process of its own over a new home: its first start, the page's HTML, the server's share of a
core while nobody and while one page looks, and in Chromium the Gallery's tiles, search, details and pictures,
and Train's history: whether all of it is listed and found, and what a look of it costs.
CPU seconds are the server's own; wall times on a shared machine are upper limits.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import time
import urllib.request
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
from playwright.sync_api import Page, sync_playwright

from lora_studio.settings import Settings
from lora_studio.store.database import Database
from scripts.bench.parts.big_library import make_library
from scripts.bench.startup import TAB_IS_SEEN, running_app, wait_for_page
from tests.support.chromium import find_chromium

LOOK_SECONDS, SETTLE_SECONDS = 15.0, 4.0
PATIENCE = 120_000
ROWS, OLDEST = "document.querySelectorAll('#train-history li').length", "training-0000"
TILES = "[...document.querySelectorAll('#gallery-{}-grid .tile-button')]"
IN_SIGHT = """(id) => {
  const {top, bottom} = document.querySelector(id).getBoundingClientRect();
  return top > innerHeight ? Math.round(top - innerHeight) : Math.max(0, Math.round(-bottom));
}"""
"""Pixels between a part of the page and the window; 0 in sight."""


class Server:
    """The server's process as seen from outside."""

    def __init__(self, number: int) -> None:
        self._process = psutil.Process(number)

    def cpu(self) -> float:
        """CPU seconds of the process so far."""
        spent = self._process.cpu_times()
        return float(spent.user + spent.system)

    def share(self, seconds: float = LOOK_SECONDS) -> float:
        """The share of a core, in percent, while nothing happens."""
        before, begun = self.cpu(), time.perf_counter()
        time.sleep(seconds)
        return 100 * (self.cpu() - before) / (time.perf_counter() - begun)


class Traffic:
    """Bytes and number of the requests of a page."""

    def __init__(self, page: Page) -> None:
        self.sent = self.received = self.requests = 0
        page.on("requestfinished", self._count)

    def _count(self, request: Any) -> None:
        sizes = request.sizes()
        self.requests += 1
        self.sent += sizes["requestHeadersSize"] + sizes["requestBodySize"]
        self.received += sizes["responseHeadersSize"] + sizes["responseBodySize"]


def measure_first_start(server: Server, settings: Settings, begun: float, wanted: int) -> dict[str, float]:
    """The time from the start until the page answers, and until all of the library is listed."""
    found = {"page answers, s": time.perf_counter() - begun, "page answers, CPU s": server.cpu()}
    with closing(Database(settings.database)) as database:
        sql = "SELECT (SELECT count(*) FROM loras) + (SELECT count(*) FROM images) AS entries"
        while database.read(sql)[0]["entries"] < wanted:
            time.sleep(0.1)
    return {**found, "all is listed, s": time.perf_counter() - begun, "all is listed, CPU s": server.cpu()}


def measure_html(address: str) -> dict[str, int]:
    """Bytes of the page's HTML, for clients that take no compression and for those that do."""
    found = {}
    for name, encoding in (("HTML, bytes", "identity"), ("HTML with gzip, bytes", "gzip")):
        request = urllib.request.Request(address, headers={"accept-encoding": encoding})
        with urllib.request.urlopen(request) as answer:
            found[name] = len(answer.read())
    return found


def measure_look(page: Page, server: Server) -> dict[str, float]:
    """One page that only looks: share of a core, bytes a second."""
    traffic = Traffic(page)
    before, begun = server.cpu(), time.perf_counter()
    page.wait_for_timeout(1000 * LOOK_SECONDS)
    seconds, spent = time.perf_counter() - begun, server.cpu() - before
    return {
        "one page looks, % of a core": 100 * spent / seconds,
        "requests a second": traffic.requests / seconds,
        "CPU ms a request": 1000 * spent / max(1, traffic.requests),
        "bytes sent a second": traffic.sent / seconds,
        "bytes received a second": traffic.received / seconds,
    }


def measure_gallery(page: Page, server: Server) -> dict[str, float]:
    """The tab's LoRAs, a search for one and back, the details of the last tile; then the pictures."""
    loras, images = TILES.format("lora"), TILES.format("image")
    found: dict[str, float] = {}

    def timed(name: str, is_done: str) -> None:
        traffic, before, begun = Traffic(page), server.cpu(), time.perf_counter()
        act()
        page.wait_for_function(is_done, polling="raf", timeout=PATIENCE)
        found[f"{name}, s"] = time.perf_counter() - begun
        page.wait_for_timeout(1000)
        found[f"{name}, CPU s"] = server.cpu() - before
        found[f"{name}, bytes received"] = traffic.received

    act = page.get_by_role("tab", name="Gallery", exact=True).click
    timed("Gallery is painted", f"{loras}.some((one) => one.checkVisibility())")
    found["tiles of LoRAs"] = page.evaluate(f"{loras}.length")
    found["height of the page, px"] = page.evaluate("document.documentElement.scrollHeight")
    search = page.locator("#gallery-lora-search").locator("input, textarea")
    all_tiles = found["tiles of LoRAs"]
    act = lambda: search.fill("wool cat")  # noqa: E731
    timed("search for LoRAs", f"{loras}.length && {loras}.every((one) => /wool cat/i.test(one.innerText))")
    act = lambda: search.fill("")  # noqa: E731
    timed("search cleared", f"{loras}.length === {all_tiles}")
    act = page.locator("#gallery-lora-grid .tile-button").last.click
    timed("details", "document.querySelector('#gallery-lora-details .facts')")
    found["details out of sight by, px"] = page.evaluate(IN_SIGHT, "#gallery-lora-details")
    page.keyboard.press("Escape")
    act = page.get_by_role("tab", name="Pictures", exact=True).click
    timed("pictures are painted", f"{images}.some((one) => one.checkVisibility())")
    search = page.locator("#gallery-image-search").locator("input, textarea")
    act = lambda: search.fill("tin robot")  # noqa: E731
    timed(
        "search for pictures", f"{images}.length && {images}.every((one) => /tin robot/.test(one.innerText))"
    )
    return found


def measure_history(page: Page, server: Server) -> dict[str, float]:
    """Train with its whole history listed, a search in it, and a page that only looks at it."""
    page.get_by_role("tab", name="Train", exact=True).click()
    rows = page.locator("#train-history li")
    rows.first.wait_for(timeout=PATIENCE)
    found: dict[str, float] = {"trainings listed at first": rows.count()}
    found["trainings in its heading"] = int(re.sub(r"\D", "", page.locator("#train-history h2").inner_text()))
    while (button := page.locator("#train-history [data-action=expand]")).count():
        shown = rows.count()
        button.click()
        page.wait_for_function(f"{ROWS} > {shown}", polling="raf", timeout=PATIENCE)
    found["trainings listed in the end"] = rows.count()
    found |= {f"all listed: {name}": value for name, value in measure_look(page, server).items()}
    begun = time.perf_counter()
    page.locator("#train-history-search").locator("input, textarea").fill(OLDEST)
    page.wait_for_function(f"{ROWS} === 1", polling="raf", timeout=PATIENCE)
    return {**found, "the oldest is found after, s": time.perf_counter() - begun}


def measure(settings: Settings, wanted: int) -> dict[str, float]:
    found: dict[str, float] = {}
    with running_app(settings.home) as (process, address, begun), sync_playwright() as playwright:
        server = Server(process.pid)
        wait_for_page(address, process)
        found |= measure_first_start(server, settings, begun, wanted)
        found |= measure_html(address)
        time.sleep(SETTLE_SECONDS)
        found["nobody looks, % of a core"] = server.share()
        browser = playwright.chromium.launch(executable_path=find_chromium())
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        begun = time.perf_counter()
        page.goto(address, wait_until="domcontentloaded")
        page.wait_for_function(TAB_IS_SEEN, polling="raf", timeout=PATIENCE)
        found["tabs are seen, s"] = time.perf_counter() - begun
        traffic, begun = Traffic(page), time.perf_counter()
        page.reload(wait_until="domcontentloaded")
        page.wait_for_function(TAB_IS_SEEN, polling="raf", timeout=PATIENCE)
        found["tabs are seen again, s"] = time.perf_counter() - begun
        page.wait_for_timeout(1000 * SETTLE_SECONDS)
        found["received on opening again, bytes"] = traffic.received
        page.wait_for_timeout(1000 * SETTLE_SECONDS)
        found |= measure_look(page, server)
        found |= measure_gallery(page, server)
        found |= measure_history(page, server)
        found["memory, MB"] = psutil.Process(process.pid).memory_info().rss / 1e6
        browser.close()
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("loras", 1000), ("images", 10_000), ("trainings", 301)):
        parser.add_argument(f"--{name}", type=int, default=default, help=f"{name} (default: {default})")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(home=Path(folder), models=Path(folder) / "models")
        make_library(settings, loras=given.loras, images=given.images, trainings=given.trainings)
        found = measure(settings, given.loras + given.images)
    shown = {name: round(value, 2) for name, value in found.items()}
    print(json.dumps(shown, indent=2) if given.json else "\n".join(f"{k}: {v}" for k, v in shown.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
