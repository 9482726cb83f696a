"""The check of a set in a browser: it begins by itself, is worked by the keyboard, and its fixes go back."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from lora_studio.files import sha256
from tests.support.page import OpenPage, begin_anew, upload
from tests.support.serving import App
from tests.support.spoiled_pictures import Labels, write_good, write_spoiled


@pytest.fixture(scope="module")
def spoiled(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    labels = Labels(folder=tmp_path_factory.mktemp("spoiled"))
    write_good(labels, 3)
    write_spoiled(labels, 1)
    return sorted(labels.folder.iterdir())


def hashes(app: App) -> dict[str, str]:
    """Sums of all pictures and captions of all sets, as they came and as edits made them."""
    files = [path for path in (app.home / "datasets").rglob("*") if path.suffix in {".png", ".txt"}]
    return {str(path): sha256(path) for path in files}


def has_finding(page: Page, what: str) -> None:
    expect(page.locator("#upload-check h4", has_text=what)).to_have_count(1)


def test_a_set_is_checked_mended_and_put_back(app: App, open_page: OpenPage, spoiled: list[Path]) -> None:
    page = open_page()
    begin_anew(page)
    upload(page, spoiled)
    card = page.locator("#upload-check")
    expect(card.locator("[data-state=finished]")).to_be_visible()
    before, seen = hashes(app), card.inner_text()
    card.locator(".check-findings > summary").click()
    has_finding(page, "Border around the picture")

    card.locator('[data-key="show borders"]').click()
    expect(page.locator("#upload-pictures .tile img").first).to_have_attribute("alt", "borders-00.png")
    page.get_by_role("button", name="As they came", exact=True).click()
    expect(page.locator("#upload-pictures .tile img").first).not_to_have_attribute("alt", "borders-00.png")

    # All buttons of the findings are one stop, with arrows between them.
    stops = card.locator(".check-list :is(button, summary)")
    assert stops.count() > 10
    assert card.locator('.check-list :is(button, summary)[tabindex="0"]').count() == 1
    card.locator('.check-list [tabindex="0"]').focus()
    page.keyboard.press("End")
    expect(stops.last).to_be_focused()
    card.locator('[data-key="fix borders"]').focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    expect(card.locator('[data-key="why borders"]')).to_be_focused()
    page.keyboard.press("Enter")
    expect(card.locator("[data-fold=borders] figcaption").first).to_be_visible()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    expect(page.locator("#upload-edits")).to_contain_text("was cropped")
    expect(page.locator("#upload-check h4", has_text="Border around the picture")).to_have_count(0)
    expect(card.locator(".check-list")).to_be_visible()  # what was folded open stays so

    card.get_by_role("button", name="Fix all safe ones", exact=True).click()
    expect(page.locator("#upload-edits")).to_contain_text("edits were made")
    for what in ("There twice", "Looks like a thumbnail", "Caption of several lines"):
        expect(page.locator("#upload-check h4", has_text=what)).to_have_count(0)
    undo = page.locator("#upload-edits").get_by_role("button", name="Undo", exact=True)
    undo.click()
    has_finding(page, "There twice")
    undo.click()
    expect(undo).to_have_count(0)
    has_finding(page, "Border around the picture")
    card.locator(".check-findings > summary").click()
    assert card.inner_text() == seen
    assert hashes(app) == before
    with page.expect_download() as report:
        card.get_by_role("button", name="JSON", exact=True).click()
    assert report.value.suggested_filename.endswith("-report.json")


def test_on_a_phone_it_stands_whole_and_all_is_large_enough(open_page: OpenPage, spoiled: list[Path]) -> None:
    page = open_page()
    page.set_viewport_size({"width": 390, "height": 844})
    begin_anew(page)
    upload(page, spoiled)
    card = page.locator("#upload-check")
    expect(card.locator("[data-state=finished]")).to_be_visible()
    card.locator(".check-findings > summary").click()
    has_finding(page, "Border around the picture")
    card.locator('[data-key="fix borders"]').click()
    undo = card.get_by_role("button", name="Undo", exact=True)
    undo.click()
    expect(undo).to_have_count(0)
    has_finding(page, "Border around the picture")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    for button in card.locator(":is(button, summary)").all():
        box = button.bounding_box()
        assert box
        assert box["height"] >= 44
        assert box["width"] >= 24
