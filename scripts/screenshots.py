"""Pictures of the page: python -m scripts.screenshots [--out DIR] [--steps N | --all]

For the documentation, a real run on the embedded base model: the ink example is uploaded, trained and used
with real clicks, and each tab is photographed at 1440 and at 390 pixels. With --all, for the eyes of whoever
changes the page: each tab in each state (tests/support/page_states.py), at both widths, light and dark, with
nothing trained or drawn, in a few minutes. Needs Chromium (tests/support/chromium.py) and playwright.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

from scripts.bench.startup import running_app, wait_for_page
from tests.support.chromium import HOW_TO_GET_IT, find_chromium
from tests.support.furnished_home import furnished_home
from tests.support.page_states import all_states

CHECKOUT = Path(__file__).resolve().parent.parent
DOCUMENTED = CHECKOUT / "docs" / "img"
PATIENCE, TRAINING_PATIENCE = 60_000, 1_200_000
TALLEST = 1900
"""Pixels; what lies further down a page is left out of its picture."""
SETTLED = 700
"""Milliseconds for fonts and transitions, before a picture is taken."""
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"]
SIZES = {"1440": (1440, 900), "390": (390, 844)}
"""Windows by the name in a picture's file: width and height."""
SCHEMES = ("light", "dark")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=DOCUMENTED)
    parser.add_argument("--steps", type=int, help="train so many steps instead of what the preset plans")
    parser.add_argument("--all", action="store_true", help="each tab in each state; wants --out")
    options = parser.parse_args()
    if options.all and options.out == DOCUMENTED:
        parser.error(
            "--all makes far more pictures than the documentation shows: give it an --out of its own"
        )
    chromium = find_chromium()
    if chromium is None:
        sys.exit(HOW_TO_GET_IT)
    options.out.mkdir(parents=True, exist_ok=True)
    if options.all:
        take_states(chromium, options.out)
        return 0
    with tempfile.TemporaryDirectory() as folder, running_app(Path(folder)) as (process, address, _):
        wait_for_page(address, process)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
            take_all(browser, address, options.out, options.steps)
            browser.close()
    return 0


def take_states(chromium: Path, out: Path) -> None:
    """One page goes through all states, and is photographed in each at both widths, light and dark."""
    expect.set_options(timeout=PATIENCE)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        with furnished_home(Path(folder)) as home:
            page = browser.new_page(viewport={"width": 1440, "height": 900}, reduced_motion="reduce")
            page.goto(home.address, wait_until="domcontentloaded")
            for state in all_states(page, home):
                for name, (width, height) in SIZES.items():
                    page.set_viewport_size({"width": width, "height": height})
                    for scheme in SCHEMES:
                        page.emulate_media(color_scheme=scheme)
                        take(page, out / f"{state}-{name}-{scheme}.png")
                page.set_viewport_size({"width": 1440, "height": 900})
            browser.close()


def take_all(browser: Browser, address: str, out: Path, steps: int | None) -> None:
    expect.set_options(timeout=PATIENCE)
    desk = browser.new_page(viewport={"width": 1440, "height": 900})
    phone = browser.new_page(viewport={"width": 390, "height": 844}, device_scale_factor=1.5, is_mobile=True)
    pages = {"1440": desk, "390": phone}
    for page in pages.values():
        page.goto(address, wait_until="domcontentloaded")
    fill_upload(desk, steps)
    phone.reload(wait_until="domcontentloaded")  # takes up the pictures that wait for their training
    expect(phone.locator("#upload-pictures .tile img")).to_have_count(10)
    phone.locator("#upload-kind label").nth(1).click()
    phone.locator("#upload-name textarea, #upload-name input").fill("Ink drawings")
    on_all(pages, lambda page, width: take(page, out / f"upload-{width}.png"))
    desk.locator("#upload-train").click()
    learned = desk.locator("#train-previews section.newest:not([data-step='0'])")
    expect(learned).to_have_count(1, timeout=TRAINING_PATIENCE)
    open_tab(phone, "Train")
    on_all(pages, lambda page, width: take(page, out / f"train-{width}.png"))
    expect(desk.locator("#train-card .pill")).to_have_text("finished", timeout=TRAINING_PATIENCE)
    on_all(pages, lambda page, width: take_generate(page, out / f"generate-{width}.png"))
    on_all(pages, lambda page, width: take_gallery(page, out / f"gallery-{width}.png"))


def on_all(pages: dict[str, Page], action: Callable[[Page, str], None]) -> None:
    for width, page in pages.items():
        action(page, width)


def fill_upload(page: Page, steps: int | None) -> None:
    page.locator("#upload-example-ink").click()
    expect(page.locator("#upload-pictures .tile img")).to_have_count(10)
    expect(page.locator("#plan")).to_contain_text("steps")
    if steps:
        page.locator("#upload-settings > button").click()
        field = page.locator("#train-max_train_steps textarea, #train-max_train_steps input")
        field.fill(str(steps))
        field.press("Tab")
        page.locator("#upload-settings > button").click()


def take_generate(page: Page, path: Path) -> None:
    open_tab(page, "Train")
    page.locator("#train-use").click()
    expect(page.locator("#generate-weight-0")).to_contain_text("Weight of")
    page.locator("#generate-compare input").check()
    for name, value in (("count", "2"), ("seed", "7")):
        field = page.locator(f"#generate-{name} textarea, #generate-{name} input")
        field.fill(value)
        field.press("Tab")
    page.locator("#generate-go").click()
    stop = page.locator("#generate-stop")
    expect(stop).to_be_visible()  # the other window's pictures are here already
    expect(stop).to_be_hidden()
    expect(page.locator("#generate-results img")).to_have_count(4)
    take(page, path)


def take_gallery(page: Page, path: Path) -> None:
    open_tab(page, "Gallery")
    page.locator("#gallery-lora-grid button").first.click()
    expect(page.locator("#gallery-lora-details .facts")).to_be_visible()
    take(page, path)


def open_tab(page: Page, name: str) -> None:
    page.get_by_role("tab", name=name, exact=True).click()


def take(page: Page, path: Path) -> None:
    """The whole page from its top, with all its pictures loaded. The window is as high as the picture: what
    keeps to its lower edge would lie across the middle."""
    page.evaluate("[...document.images].forEach((image) => { image.loading = 'eager'; })")
    page.wait_for_function("[...document.images].every((image) => image.complete)")
    page.mouse.move(0, 0)
    page.evaluate("window.scrollTo(0, 0)")
    page.wait_for_timeout(SETTLED)
    height = page.evaluate("document.documentElement.scrollHeight")
    window = page.viewport_size or {"width": 1440, "height": 900}
    page.set_viewport_size({"width": window["width"], "height": min(height, TALLEST)})
    page.wait_for_timeout(SETTLED)
    shot = page.screenshot()
    page.set_viewport_size(window)
    with Image.open(io.BytesIO(shot)) as picture:
        picture.convert("RGB").save(path, optimize=path.parent == DOCUMENTED)


if __name__ == "__main__":
    sys.exit(main())
