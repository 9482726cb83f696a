"""Several pictures of a set chosen on Upload and removed at once, and its versions, by mouse and keyboard."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import expect

from tests.support.api_caller import write_picture
from tests.support.page import OpenPage, begin_anew, upload


def test_pictures_are_selected_removed_at_once_and_put_back(open_page: OpenPage, tmp_path: Path) -> None:
    colours = ("teal", "brown", "pink", "olive", "navy")
    files = [write_picture(tmp_path / f"{number}.png", colour) for number, colour in enumerate(colours)]
    page = open_page()
    begin_anew(page)
    upload(page, files)
    expect(page.locator("#picture-count")).to_contain_text("5 pictures")
    bar = page.locator("#upload-pictures .picked-bar")
    expect(bar).to_be_hidden()
    boxes = [page.get_by_role("checkbox", name=f"Select {file.name}", exact=True) for file in files]
    boxes[0].click()
    boxes[2].click(modifiers=["Shift"])
    expect(bar).to_contain_text("3 selected")
    for box in boxes[:3]:
        expect(box).to_be_checked()

    # A picture's buttons are one stop: its box is one arrow away, and Space takes it off again.
    page.get_by_role("button", name="Remove 1.png", exact=True).focus()
    page.keyboard.press("ArrowLeft")
    expect(boxes[1]).to_be_focused()
    page.keyboard.press("Space")
    expect(boxes[1]).not_to_be_checked()
    expect(bar).to_contain_text("2 selected")

    # What is selected stays so when the pictures are painted anew.
    page.get_by_role("button", name="Flip 4.png", exact=True).click()
    expect(page.locator("#upload-edits")).to_contain_text("was flipped")
    expect(boxes[0]).to_be_checked()
    bar.get_by_role("button", name="Remove selected", exact=True).click()
    expect(page.locator("#picture-count")).to_contain_text("3 pictures")
    expect(page.locator("#upload-edits")).to_contain_text("2 pictures were removed.")
    expect(bar).to_be_hidden()
    page.locator("#upload-edits").get_by_role("button", name="Undo", exact=True).click()
    expect(page.locator("#picture-count")).to_contain_text("5 pictures")
    boxes[3].click()
    bar.get_by_role("button", name="Select none", exact=True).click()
    expect(bar).to_be_hidden()

    # Another set, as a training that is repeated brings it, has pictures of the same names.
    boxes[3].click()
    expect(bar).to_contain_text("1 selected")
    page.locator("[data-set]").evaluate("tiles => Object.assign(tiles.dataset, {set: 'other', painted: '1'})")
    expect(bar).to_be_hidden()
    expect(boxes[3]).not_to_be_checked()


def test_a_version_is_named_and_gone_to_with_the_keyboard(open_page: OpenPage, tmp_path: Path) -> None:
    colours = ("teal", "brown", "pink")
    files = [write_picture(tmp_path / f"v{number}.png", colour) for number, colour in enumerate(colours)]
    page = open_page()
    begin_anew(page)
    upload(page, files)
    edits, versions = page.locator("#upload-edits"), page.locator("#upload-edits .version-list")
    page.get_by_role("button", name="Remove v0.png", exact=True).click()
    edits.get_by_text("Versions", exact=True).click()
    edits.get_by_role("textbox", name="Name").fill("without <b>")
    page.keyboard.press("Enter")
    kept = versions.get_by_role("button", name="without <b>", exact=True)
    expect(kept).to_have_attribute("aria-pressed", "true")
    versions.get_by_role("button", name="As they came", exact=True).focus()
    page.keyboard.press("Enter")
    expect(page.locator("#picture-count")).to_contain_text("3 pictures")
    expect(kept).to_have_attribute("aria-pressed", "false")
    expect(versions.get_by_role("button", name="As they came", exact=True)).to_be_focused()
    page.keyboard.press("ArrowRight")
    expect(kept).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#picture-count")).to_contain_text("2 pictures")
    expect(versions).to_be_visible()  # what was folded open stays so
