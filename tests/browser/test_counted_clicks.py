"""How much a person has to give: counted by the browser, from an empty page to a training and its pair."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from tests.support.page import OpenPage, begin_anew, box, set_up, tab, write
from tests.support.serving import CHECKOUT

COUNT = """() => {
  window.clicks = [];
  document.addEventListener('pointerdown', (event) => {
    if (event.isTrusted) window.clicks.push(event.target.closest('[id]')?.id);
  }, true);
}"""
"""Counts what is pressed with a pointer; the click of a label comes once more, for its radio."""


def clicks(page: Page) -> list[str]:
    found: list[str] = page.evaluate("window.clicks")
    return found


def test_three_inputs_and_three_clicks_to_a_started_training(open_page: OpenPage) -> None:
    page = open_page()
    begin_anew(page)
    # A few steps instead of many, before anything is counted: nobody has to ask for the pair at their end.
    set_up(page, "max_train_steps", "8")
    page.locator("#train-advanced-preview > button").click()
    write(page, "train-sample_every_n_steps", "8")
    write(page, "train-max_preview_share", "0")
    page.locator("#upload-settings > button").click()
    page.evaluate(COUNT)
    with page.expect_file_chooser() as chooser:
        page.locator("#upload-files button").first.click()
    chooser.value.set_files(sorted((CHECKOUT / "examples" / "ink").iterdir()))
    expect(page.locator("#picture-count")).to_contain_text("10 pictures")
    page.locator("#upload-kind label", has_text="Style").click()
    box(page, "upload-name").click()
    page.keyboard.type("My ink")
    expect(page.locator("#summary")).to_contain_text("My ink · style · 10 pictures")
    page.keyboard.press("Enter")
    expect(tab(page, "Train")).to_have_attribute("aria-selected", "true")
    expect(page.locator("#train-card h2")).to_have_text("My ink")
    assert len(clicks(page)) <= 3, clicks(page)

    # The pair of base and LoRA is there without another click.
    pair = page.locator("#train-previews .round:not([data-step='0']) .pair").first
    expect(pair.locator("img")).to_have_count(2)
    assert len(clicks(page)) <= 3, clicks(page)
