"""Settings of a training kept under a name, and taken from files and written into them, with real clicks."""

from __future__ import annotations

import re
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.support.page import RESTORED, OpenPage, box, set_up, write

REPORT = "#train-kept-report"


def open_fold(page: Page, elem_id: str) -> None:
    head = page.locator(f"#{elem_id} > button").first
    if "open" not in (head.get_attribute("class") or "").split():
        head.click()


def open_kept(page: Page) -> None:
    for fold in ("upload-settings", "train-kept"):
        open_fold(page, fold)
    expect(page.locator("#train-saved-keep")).to_be_visible()


def open_file(page: Page, file: Path) -> None:
    with page.expect_file_chooser() as chooser:
        page.locator("#train-kept-open").click()
    chooser.value.set_files(file)


def test_settings_are_kept_filled_in_again_deleted_and_brought_back(open_page: OpenPage) -> None:
    page = open_page()
    open_kept(page)
    page.locator("#train-saved-keep").click()
    expect(page.locator("#train-saved-title .field-error")).to_contain_text("nothing to keep")
    set_up(page, "max_train_steps", "40")
    write(page, "train-saved-title", "Quick look")
    page.locator("#train-saved-keep").click()
    expect(page.locator(REPORT)).to_contain_text("“Quick look” is kept.")
    expect(page.locator("#tab-upload .field-error")).to_have_count(0)
    set_up(page, "max_train_steps", "77")

    other = open_page()  # a second window lists them by itself
    other.wait_for_function(RESTORED)
    open_kept(other)
    other.locator("#train-saved input").click()
    other.get_by_role("option", name="Quick look").click()
    expect(other.locator(REPORT)).to_contain_text("“Quick look” is filled in.")
    expect(box(other, "train-max_train_steps")).to_have_value("40")
    write(other, "train-max_train_steps", "41")
    for key in ("Tab", "Shift+Tab"):  # the list that is passed fills nothing in again
        other.locator("#train-saved input").focus()
        other.keyboard.press(key)
        expect(other.locator("#train-saved ul")).to_have_count(0)  # nor does it stay open
    write(other, "train-saved-title", "Quicker")
    other.locator("#train-saved-rename").click()
    expect(other.locator(REPORT)).to_contain_text("They are called “Quicker” now.")
    expect(box(other, "train-max_train_steps")).to_have_value("41")
    other.locator("#train-saved-delete").click()
    expect(other.locator(REPORT)).to_contain_text("“Quicker” is deleted.")
    other.locator(f"{REPORT} button", has_text="Undo").click()
    expect(other.locator(REPORT)).to_contain_text("“Quicker” is back.")
    expect(other.locator("#train-saved input")).to_have_value("Quicker")
    other.locator("#train-saved input").focus()  # chosen once more, with keys, it does
    other.keyboard.press("Enter")
    expect(box(other, "train-max_train_steps")).to_have_value("40")


def test_a_file_is_read_written_and_read_again(open_page: OpenPage, tmp_path: Path) -> None:
    page = open_page()
    open_kept(page)
    file = tmp_path / "run.toml"
    file.write_text('network_dim = 12\nmax_train_steps = 33\nvae = "other.safetensors"\nepochz = 3\n')
    open_file(page, file)
    expect(page.locator(REPORT)).to_contain_text("The settings of run.toml are filled in.")
    expect(page.locator(f"{REPORT} .warnings")).to_contain_text("vae")
    expect(box(page, "train-network_dim")).to_have_value("12")
    for button, ending in (("toml", "toml"), ("json", "json")):
        page.locator(f"#train-kept-{button}").click()
        link = page.locator(f"{REPORT} a[download$='.{ending}']").first
        expect(link).to_be_visible()
        with page.expect_download() as download:
            link.click()
        written = tmp_path / f"written.{ending}"
        download.value.save_as(written)
        set_up(page, "max_train_steps", "5")
        open_file(page, written)
        expect(page.locator(REPORT)).to_contain_text(
            re.compile(r"The settings of written\.\w+ are filled in")
        )
        expect(box(page, "train-max_train_steps")).to_have_value("33")


def test_a_base_is_chosen_by_its_card_with_the_keyboard(open_page: OpenPage) -> None:
    page = open_page()
    open_fold(page, "upload-compare")
    cards = page.locator(".base-card")
    expect(cards.first).to_be_visible()
    expect(page.locator(".base-card input:checked")).to_have_value("starter")
    page.locator(".base-card input:checked").focus()
    page.keyboard.press("ArrowDown")
    expect(page.locator("#upload-base input")).to_have_value(re.compile("^Starter Flow"))
    page.locator(".bases-search").fill("turbo")
    expect(page.locator(".base-card:visible")).to_have_count(1)
    expect(page.locator(".base-card:visible .distilled")).to_contain_text("Train on Z-Image")
    expect(page.locator(".base-card:visible input")).to_be_disabled()
    page.locator(".bases-search").fill("no such base")
    expect(page.locator(".none-found")).to_be_visible()
