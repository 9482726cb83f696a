"""The whole job without a mouse: Tab, arrows, Enter and Space, from pictures to a LoRA that was deleted and
brought back. At each stop the focus can be seen, and no main button is far."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from tests.support.keyboard import Keyboard
from tests.support.page import OpenPage, begin_anew, box, pictures_are_drawn, tab
from tests.support.serving import CHECKOUT

INK = sorted((CHECKOUT / "examples" / "ink").iterdir())
STEPS = 4
NEAR = 3
"""Stops from the top of the page to the main button of a tab."""
TO_THE_TOP = """() => {
  document.body.tabIndex = -1;
  document.body.focus();
  document.body.removeAttribute('tabindex');
}"""
"""As after opening the page, or after its address was left: the next Tab leads to the first stop."""


def main_button(keys: Keyboard, page: Page, name: str) -> None:
    """To the main button of a tab, from the top of the page."""
    page.evaluate(TO_THE_TOP)
    skip = page.get_by_role("link", name="Skip to the main button")
    keys.go_to(skip, most=NEAR, key="Tab")
    keys.press("Enter")
    expect(page.get_by_role("button", name=name, exact=True)).to_be_focused()


def to_tab(keys: Keyboard, page: Page, name: str) -> None:
    """From where the focus is back to the tabs, and to one of them with the arrows."""
    keys.go_to(page.locator("#tabs > .tab-wrapper [role=tab][aria-selected=true]"), most=60, key="Shift+Tab")
    for _ in range(6):
        if tab(page, name).get_attribute("aria-selected") == "true":
            break
        keys.press("ArrowRight")
    expect(tab(page, name)).to_be_focused()
    expect(tab(page, name)).to_have_attribute("aria-selected", "true")


def test_the_whole_job_by_keyboard(open_page: OpenPage) -> None:
    page = open_page()
    begin_anew(page)  # a page that is being put together hears no key
    keys = Keyboard(page)
    keys.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    keys.press("Enter")
    keys.go_to(page.get_by_role("button", name="Choose pictures or a ZIP"), most=1)
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    chooser.value.set_files(INK)
    expect(page.locator("#picture-count")).to_have_text("10 pictures, 10 with a caption")

    # The questions: each one stop, however many answers it has.
    keys.go_to(page.locator("#upload-kind"), most=30)
    keys.press("ArrowDown", "ArrowDown", "ArrowUp")
    expect(page.locator("#upload-kind label.selected")).to_contain_text("Style")
    keys.go_to(box(page, "upload-name"), most=1)
    keys.type("My ink")
    keys.go_to(page.locator("#upload-settings > button"), most=8)
    keys.press("Enter")
    expect(box(page, "train-search")).to_be_visible()
    keys.go_to(box(page, "train-search"), most=6)
    keys.type("max_train_steps")
    found = page.locator("#train-found [data-setting=max_train_steps]")
    expect(found).to_be_visible()
    keys.go_to(found, most=2)
    keys.press("Enter")
    expect(box(page, "train-max_train_steps")).to_be_focused()
    keys.type(str(STEPS))
    keys.press("Tab")
    expect(page.locator("#summary")).to_contain_text(f"{STEPS} steps")
    main_button(keys, page, "Train my LoRA")
    keys.press("Enter")

    # Watching, and what has ended.
    expect(tab(page, "Train")).to_be_focused()
    expect(page.locator("#train-card .pill")).to_have_text("finished", timeout=600_000)
    main_button(keys, page, "Draw with it")
    keys.press("Enter")

    # Drawing, and keeping what was drawn.
    expect(tab(page, "Generate")).to_be_focused()
    mode = page.locator("#generate-mode")
    keys.go_to(mode, most=1)
    keys.press("ArrowRight", "ArrowLeft")
    expect(mode.locator("label.selected")).to_have_text("Draw")
    keys.go_to(box(page, "generate-prompt"), most=1)
    keys.type("a fox")
    keys.go_to(page.locator("#generate-go"), most=6)
    keys.press("Enter")
    save = page.get_by_role("link", name=re.compile("Download the picture"))
    expect(save).to_have_count(1)  # one that is shown before its generation has ended has no actions yet
    pictures_are_drawn(page, "#generate-results", 1)
    keys.go_to(save, most=40)
    with page.expect_download() as download:
        keys.press("Enter")
    assert download.value.suggested_filename.endswith(".png")

    # The gallery: details beside the tiles, deleting and the way back.
    to_tab(keys, page, "Gallery")
    tile = page.locator("#gallery-lora-grid .tile-button")
    keys.go_to(tile, most=8)
    keys.press("Enter")
    details = page.locator("#gallery-lora-details")
    expect(details.locator("h2")).to_have_text("My ink")
    expect(tile).to_be_focused()
    keys.go_to(page.locator("#gallery-lora-delete"), most=4)
    keys.press("Enter")
    expect(tile).to_have_count(0)
    expect(page.locator("#gallery-lora-undo")).to_be_focused()
    keys.press("Enter")
    expect(tile).to_have_count(1)
    expect(tile).to_be_focused()
    assert "\n".join(keys.unseen) == ""
