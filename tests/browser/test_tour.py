"""The empty page under axe-core and a ruler, then the whole job with real clicks: from pictures to a LoRA to
pictures of one's own."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from tests.support.page import (
    OpenPage,
    box,
    fill_training,
    go_to,
    is_accessible,
    pictures_are_drawn,
    tab,
    upload,
    write,
)
from tests.support.page_faults import DESK, PHONE, PageFaults, Scheme
from tests.support.page_states import empty_states
from tests.support.serving import CHECKOUT

STEPS = 24
FEW_VIEWS: tuple[tuple[int, Scheme], ...] = ((DESK, "light"), (PHONE, "dark"))


def test_the_empty_page_has_no_fault(open_page: OpenPage) -> None:
    """Each state in one of two views; test_accessibility has it in all that there are."""
    page, found = open_page(), PageFaults()
    for place, state in enumerate(empty_states(page)):
        found.examine(page, state, views=(FEW_VIEWS[place % 2],))
    assert "\n".join((*found.axe, *found.small, *found.wide, *found.moving)) == ""


def test_from_pictures_to_pictures_of_ones_own(open_page: OpenPage) -> None:
    page = open_page()
    is_accessible(page)
    upload(page, sorted((CHECKOUT / "examples" / "ink").iterdir()))
    pictures_are_drawn(page, "#upload-pictures .tile", 10)
    expect(page.locator("#picture-count")).to_have_text("10 pictures, 10 with a caption")
    fill_training(page, kind="Style", name="My ink", steps=STEPS, previews_every=STEPS)
    expect(page.locator("#summary")).to_contain_text(f"My ink · style · 10 pictures · {STEPS} steps")
    is_accessible(page)
    page.locator("#upload-train").click()

    # The Train tab opens by itself and follows the run.
    expect(tab(page, "Train")).to_have_attribute("aria-selected", "true")
    expect(page.locator("#train-card .pill")).to_have_text("running")
    expect(page.locator("#train-card h2")).to_have_text("My ink")
    expect(page.locator("#strip-stop")).to_be_visible()

    # Reloaded in mid-training, and in a second window: everything is back.
    page.reload(wait_until="domcontentloaded")
    second = open_page()
    for window in (page, second):
        expect(window.locator("#strip .pill")).to_have_text("running")
        go_to(window, "Train")
        expect(window.locator("#train-card h2")).to_have_text("My ink")
        expect(window.locator("#train-card .bar.big")).to_have_attribute("role", "progressbar")
    second.close()

    # The pair of base and LoRA appears by itself.
    expect(page.locator("#train-card .pill")).to_have_text("finished", timeout=600_000)
    expect(page.locator("#train-card .phases")).to_contain_text(f"{STEPS} / {STEPS}")
    expect(page.locator("#train-card .phases .done")).to_have_count(5)
    pictures_are_drawn(page, f"#train-previews [data-step='{STEPS}']", 6)
    go_to(page, "Numbers and log")
    expect(page.locator("#train-chart [data-losses] .smooth")).to_have_attribute("points", re.compile(r"\d"))
    expect(page.locator("#strip-stop")).to_be_hidden()
    expect(page.locator("#train-log textarea")).to_have_value(re.compile(r"Finished after"))
    is_accessible(page)

    # Three pictures with it come by themselves, and stay. One click to draw more.
    pictures_are_drawn(page, "#train-ready", 3)
    page.reload(wait_until="domcontentloaded")
    go_to(page, "Train")
    pictures_are_drawn(page, "#train-ready", 3)
    expect(page.locator("#train-use")).to_have_text("Draw with it")
    page.locator("#train-use").click()
    expect(tab(page, "Generate")).to_have_attribute("aria-selected", "true")
    expect(page.locator("#generate-loras")).to_contain_text("My ink")
    expect(page.locator("#generate-weight-0")).to_contain_text("Weight of My ink")
    page.locator("#generate-compare input").check()
    write(page, "generate-count", "1")
    page.locator("#generate-go").click()
    pictures_are_drawn(page, "#generate-results", 2)
    expect(page.locator("#generate-infotext")).to_contain_text("<lora:my-ink:1>")
    border = page.get_by_role("slider", name=re.compile("Base at the left, LoRA at the right"))
    border.focus()
    border.press("ArrowLeft")
    expect(border).to_have_attribute("aria-valuetext", "49 % base, 51 % LoRA")
    expect(page.locator("#generate-results .slider")).to_have_attribute("style", re.compile("49%"))
    expect(page.locator("#generate-stop")).to_be_hidden()
    page.get_by_role("button", name=re.compile("Use seed")).click()
    expect(box(page, "generate-seed")).to_have_value(re.compile(r"^\d+$"))
    is_accessible(page)


def test_the_gallery_keeps_it_all(open_page: OpenPage) -> None:
    """After the tour: details, another name, deleting with a way back, the same settings again."""
    page = open_page()
    go_to(page, "Gallery")
    card = page.locator("#gallery-lora-grid button")
    expect(card).to_have_count(1)
    card.click()
    expect(page.locator("#gallery-lora-details .facts")).to_contain_text("network_dim")
    is_accessible(page)
    write(page, "gallery-lora-title", "Ink of mine")
    page.locator("#gallery-lora-rename").click()
    expect(card.locator("b")).to_have_text("Ink of mine")

    page.locator("#gallery-lora-delete").click()
    expect(card).to_have_count(0)
    expect(page.locator("#gallery-lora-undo-text")).to_contain_text("“Ink of mine” was deleted.")
    page.locator("#gallery-lora-undo").click()
    expect(card).to_have_count(1)

    write(page, "gallery-lora-search", "no such thing")
    expect(page.locator("#gallery-lora-grid")).to_contain_text("No LoRA is found by “no such thing”")

    go_to(page, "Pictures")
    pictures_are_drawn(page, "#gallery-image-grid", 5)
    page.locator("#gallery-image-grid button").last.click()
    expect(page.locator("#gallery-image-details .infotext")).to_contain_text("Steps: 12")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download PNG").click()
    assert download.value.suggested_filename.endswith(".png")
    page.locator("#gallery-image-use").click()
    expect(tab(page, "Generate")).to_have_attribute("aria-selected", "true")
    expect(page.locator("#generate-prompt textarea")).to_have_value(re.compile("style"))
    expect(page.locator("#generate-loras")).to_contain_text("Ink of mine")
