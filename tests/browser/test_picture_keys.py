"""The pictures of a set by keyboard alone, and the frame of a crop, with what the training sees of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, expect

from lora_studio.data.buckets import Bucketing
from tests.support.drawn_scenes import scene
from tests.support.page import OpenPage, begin_anew, upload


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three pictures, the second one wide with all that it shows at its right."""
    folder = tmp_path_factory.mktemp("keys")
    wide = Image.new("RGB", (900, 200), (200, 210, 220))
    wide.paste(scene(3, (200, 200)), (700, 0))
    for name, image in (("a", scene(1, (200, 300))), ("b", wide), ("c", scene(2, (256, 256)))):
        image.save(folder / f"{name}.png")
    return sorted(folder.iterdir())


def shown(page: Page, files: list[Path]) -> None:
    begin_anew(page)
    upload(page, files)
    expect(page.locator("#picture-count")).to_contain_text("3 pictures")


def caption(page: Page, name: str) -> Locator:
    return page.get_by_role("textbox", name=f"Caption of {name}")


def button(page: Page, what: str) -> Locator:
    return page.get_by_role("button", name=what, exact=True)


def test_all_pictures_are_one_stop_and_keys_do_all_that_buttons_do(
    open_page: OpenPage, files: list[Path]
) -> None:
    page = open_page()
    shown(page, files)
    edits = page.locator("#upload-edits")
    assert page.locator('.pictures [role=toolbar] button[tabindex="0"]').count() == 1
    assert page.locator('.pictures textarea[tabindex="0"]').count() == 1
    button(page, "Remove a.png").focus()
    page.keyboard.press("ArrowDown")
    expect(button(page, "Remove b.png")).to_be_focused()
    page.keyboard.press("Tab")
    expect(caption(page, "b.png")).to_be_focused()
    page.keyboard.type("a kettle")
    page.keyboard.press("PageDown")
    expect(caption(page, "c.png")).to_be_focused()
    expect(edits).to_contain_text("The caption of “b.png” was changed.")
    page.keyboard.type("r")  # in a caption it is a letter
    page.keyboard.press("PageUp")
    expect(edits).to_contain_text("The caption of “c.png” was changed.")
    page.keyboard.press("Shift+Tab")
    expect(button(page, "Remove b.png")).to_be_focused()
    page.keyboard.press("R")  # as with Caps Lock
    expect(edits).to_contain_text("“b.png” was rotated.")
    page.locator(":focus").dispatch_event("keydown", {"key": "\u0430", "code": "KeyF"})  # a Cyrillic layout
    expect(edits).to_contain_text("“b.png” was flipped.")
    page.keyboard.press("c")
    expect(page.get_by_role("dialog", name="Crop")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("End")
    expect(button(page, "Remove c.png")).to_be_focused()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowDown")  # there is no further one
    page.keyboard.press("Home")
    expect(page.locator(":focus")).to_have_attribute("data-file", "a.png")
    page.keyboard.down("Delete")
    expect(page.locator("#picture-count")).to_contain_text("2 pictures")
    expect(page.locator(":focus")).to_have_attribute("data-file", "b.png")
    page.keyboard.down("Delete")  # held, it removes no further one
    page.keyboard.up("Delete")
    page.keyboard.press("f")
    expect(edits).to_contain_text("“b.png” was flipped.")
    expect(page.locator("#picture-count")).to_contain_text("2 pictures")
    assert page.locator('.pictures textarea[tabindex="0"]').count() == 1


def box_of(crop: Locator) -> list[int]:
    return [int(crop.get_by_label(side).input_value()) for side in ("Left", "Top", "Right", "Bottom")]


def test_the_frame_of_a_crop_shows_what_is_cut_off_and_fits_exactly(
    open_page: OpenPage, files: list[Path]
) -> None:
    page = open_page()
    shown(page, files)
    button(page, "Crop b.png").click()
    crop = page.get_by_role("dialog", name="Crop")
    expect(crop.locator(".crop-bucket")).to_contain_text("of it is cut off")
    buckets = json.loads(page.locator("#upload-buckets [data-buckets]").get_attribute("data-buckets") or "")
    bucketing = Bucketing(area=0, step=8, buckets=tuple((wide, high) for wide, high in buckets))
    placement = bucketing.place((900, 200))
    expect(crop.locator(".crop-bucket")).to_contain_text("Trained at {} × {}".format(*placement.bucket))
    crop.get_by_role("button", name="Fit exactly", exact=True).click()
    expect(crop.locator(".crop-bucket")).to_contain_text("nothing is cut off")
    left, top, right, bottom = box_of(crop)
    assert (top, bottom) == (0, 200)
    assert 896 <= right <= 900  # where all of it is to be seen, as far as a thumbnail tells
    fitting = bucketing.place((right - left, bottom - top))
    assert fitting.resized == fitting.bucket == placement.bucket

    # The frame is moved by keys, and carried by the mouse.
    frame = crop.get_by_role("group", name="Frame of the crop")
    frame.focus()
    page.keyboard.press("ArrowLeft")
    assert box_of(crop) == [left - 9, 0, right - 9, 200]
    page.keyboard.press("Shift+ArrowLeft")
    assert box_of(crop) == [left - 9, 0, right - 18, 200]
    area = frame.bounding_box()
    assert area
    y, x = area["y"] + area["height"] / 2, area["x"] + area["width"] * 0.9
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x - area["width"] / 25, y, steps=3)
    page.mouse.up()
    moved = box_of(crop)
    assert moved[2] - moved[0] == right - left - 9
    assert abs(moved[0] - (left - 9 - 36)) <= 2
    crop.get_by_role("button", name="Crop", exact=True).click()
    expect(page.locator("#upload-edits")).to_contain_text("“b.png” was cropped.")
    page.locator("#upload-edits").get_by_role("button", name="Undo", exact=True).click()
    expect(button(page, "Crop b.png")).to_have_attribute("data-width", "900")
