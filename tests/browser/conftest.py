"""Chromium against the real app. An error in a page, or its request to another host, fails the test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.support.chromium import find_chromium
from tests.support.gradio_leftovers import IGNORE
from tests.support.page import PATIENCE, OpenPage, tab
from tests.support.serving import App, running_app

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

HEARS = """() => performance.getEntriesByType('resource').some(
  (one) => /gradio_api\\/(run|queue)/.test(one.name) && one.responseEnd)"""
"""Gradio has had an answer to an event of opening the page: what is clicked before it listens is lost."""
FIRST_TIER = {"test_tour.py"}
"""What runs at each change, the empty page and the whole job; the others are slow."""


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave files that the first tier has nothing of unread; those that are named are read all the same."""
    is_slow = collection_path.name.startswith("test_") and collection_path.name not in FIRST_TIER
    return True if is_slow and "not slow" in config.getoption("markexpr") else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.nodeid.startswith("tests/browser/"):
            item.add_marker(IGNORE)
            item.add_marker(pytest.mark.browser)
            if item.path.name not in FIRST_TIER:
                item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Ends with its module: while Playwright runs, no test of this process can run an event loop."""
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=find_chromium(), args=ARGUMENTS)
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    with running_app(tmp_path_factory.mktemp("app"), LORA_STUDIO_RESULT_PICTURES="1") as running:
        yield running


@pytest.fixture
def open_page(app: App, browser: Browser) -> Iterator[OpenPage]:
    """Opens the studio in one more window; all of them are judged in the end."""
    context = browser.new_context(viewport={"width": 1440, "height": 900}, reduced_motion="reduce")
    context.set_default_timeout(PATIENCE)
    errors: list[str] = []
    strangers: list[str] = []

    def watch(page: Page) -> None:
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("request", lambda request: note(request.url))

    def note(url: str) -> None:
        if not url.startswith((app.address, "data:", "blob:")):
            strangers.append(url)

    def open_one() -> Page:
        page = context.new_page()
        page.goto(app.address, wait_until="domcontentloaded")
        expect(tab(page, "Train")).to_be_visible()
        page.wait_for_function(HEARS)
        return page

    context.on("page", watch)
    yield open_one
    context.close()
    assert not errors
    assert not strangers
