"""Bad input: one clear sentence in the page, and nothing lost."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect
from safetensors.numpy import save_file

from tests.support.page import (
    OpenPage,
    begin_anew,
    box,
    go_to,
    open_settings,
    pictures_are_drawn,
    set_up,
    upload,
    write,
)
from tests.support.serving import CHECKOUT

FOX = CHECKOUT / "examples" / "ink" / "fox.png"


@pytest.fixture
def bad_files(tmp_path: Path) -> list[Path]:
    """A text called .png, a JPEG cut in half, 100 megapixels in a small file, a ZIP that climbs out."""
    text, cut, huge, climbing = (
        tmp_path / name for name in ("text.png", "cut.jpg", "huge.png", "climbing.zip")
    )
    text.write_text("this is no picture")
    Image.effect_noise((400, 400), 90).convert("RGB").save(cut, "JPEG")
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    Image.new("1", (10_000, 10_000)).save(huge)
    with zipfile.ZipFile(climbing, "w") as archive:
        archive.write(FOX, "../../climbed.png")
        archive.writestr("../note.md", "x")
    return [text, cut, huge, climbing]


def refused_at(page: Page, elem_id: str, text: str) -> None:
    """The field is in sight with this sentence below, which is said of its control, and there is no toast."""
    block = page.locator(f"#{elem_id}")
    expect(block.locator(".field-error")).to_contain_text(text)
    expect(block.locator(".field-error")).to_be_in_viewport()
    described = block.locator(f"[aria-describedby~={elem_id}-error]")
    expect(described.first).to_be_attached()
    expect(page.get_by_test_id("toast-body")).to_have_count(0)


def is_focused(page: Page, elem_id: str) -> None:
    expect(page.locator(f"#{elem_id} :focus")).to_have_count(1)


def test_all_mistakes_stand_at_their_fields_and_go_when_corrected(open_page: OpenPage) -> None:
    page = open_page()
    begin_anew(page)
    train = page.locator("#upload-train")
    set_up(page, "max_train_steps", "many")
    page.locator("#train-advanced-blocks > button").click()
    write(page, "train-block_lr_zero_threshold", "-1")
    page.locator("#train-advanced-blocks > button").click()
    page.locator("#upload-settings > button").click()  # folded: it opens by itself
    train.click()
    refused_at(page, "upload-files", "There are no pictures yet.")
    is_focused(page, "upload-files")
    expect(page.locator("#upload-refused")).to_contain_text("This needs another look:")
    for field in ("upload-kind", "upload-name", "train-max_train_steps", "train-block_lr_zero_threshold"):
        expect(page.locator(f"#{field} .field-error")).to_be_visible()
    steps = page.locator("#train-max_train_steps")
    expect(steps.locator(":is(input, textarea)")).to_have_attribute("aria-invalid", "true")
    expect(steps.locator(".field-error")).to_have_text(
        "Steps: a whole number from 1 to 1,000,000 is needed (got 'many')."
    )

    page.get_by_role("button", name="An alien (an object)").click()
    pictures_are_drawn(page, "#upload-pictures .tile", 10)
    for field in ("upload-files", "upload-kind", "upload-name"):  # the example fills in all three
        expect(page.locator(f"#{field} .field-error")).to_have_count(0)
    expect(page.locator("#upload-kind[aria-invalid], #upload-name [aria-invalid]")).to_have_count(0)
    page.locator("#upload-refused").get_by_role("button", name="Steps", exact=True).click()
    is_focused(page, "train-max_train_steps")
    box(page, "train-max_train_steps").fill("40")
    expect(steps.locator(".field-error")).to_have_count(0)
    expect(steps.locator(":is(input, textarea)")).not_to_have_attribute("aria-describedby", re.compile("."))
    page.locator("#upload-refused button").click()
    box(page, "train-block_lr_zero_threshold").fill("")
    expect(page.locator("#upload-refused .refused")).to_be_hidden()


def test_each_mistake_has_its_sentence(open_page: OpenPage, bad_files: list[Path]) -> None:
    page = open_page()
    begin_anew(page)
    train = page.locator("#upload-train")

    upload(page, bad_files[:1])
    expect(page.locator("#upload-notices").get_by_role("alert")).to_contain_text("text.png")
    expect(page.get_by_test_id("status-tracker").locator(".error:visible")).to_have_count(0)
    upload(page, [FOX, *bad_files])
    for sentence in ("text.png", "cut.jpg", "huge.png"):
        expect(page.locator("#upload-notices .refused")).to_contain_text(sentence)
    expect(page.locator("#picture-count")).to_contain_text("picture")

    write(page, "upload-name", "")
    train.click()
    refused_at(page, "upload-kind", "Say what the pictures show")
    page.locator("#upload-kind label").nth(2).click()
    train.click()
    refused_at(page, "upload-name", "The name is empty.")
    is_focused(page, "upload-name")
    write(page, "upload-name", "../../etc")
    train.click()
    refused_at(page, "upload-name", "contains a slash")
    write(page, "upload-name", "Fox")

    for typed in ("0", "many"):
        set_up(page, "max_train_steps", typed)
        train.click()
        refused_at(page, "train-max_train_steps", "Steps: a whole number from 1")
    set_up(page, "max_train_steps", "")

    base = page.locator("#upload-base input")
    base.fill("nowhere")
    base.press("Enter")
    train.click()
    refused_at(page, "upload-base", "There is no base model 'nowhere' here.")

    # Nothing was lost meanwhile.
    expect(box(page, "upload-name")).to_have_value("Fox")
    expect(page.locator("#upload-kind label.selected")).to_contain_text("Object")
    expect(page.locator("#upload-pictures .tile img").first).to_be_visible()
    expect(page.locator("#strip-stop")).to_be_hidden()


def test_one_picture_is_enough_and_said_to_be_few(open_page: OpenPage) -> None:
    page = open_page()
    begin_anew(page)
    upload(page, [FOX])
    expect(page.locator("#picture-count")).to_have_text("1 picture, 0 with a caption")
    expect(page.locator("#upload-notices .warnings")).to_be_visible()
    caption = page.get_by_role("textbox", name="Caption of fox.png")
    caption.fill("a fox")
    with page.expect_response(lambda response: "queue/join" in response.url):
        caption.blur()
    page.reload(wait_until="domcontentloaded")
    pictures_are_drawn(page, "#upload-pictures .tile", 1)
    expect(page.get_by_role("textbox", name="Caption of fox.png")).to_have_value("a fox")


def test_a_lora_of_another_family_and_a_missing_base_are_named(open_page: OpenPage, tmp_path: Path) -> None:
    file = tmp_path / "from-elsewhere.safetensors"
    layer = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"
    wide = {"lora_down.weight": (4, 1024), "lora_up.weight": (320, 4)}  # text states of the other family
    save_file({f"{layer}.{part}": np.ones(shape, np.float32) for part, shape in wide.items()}, file)
    page = open_page()
    go_to(page, "Gallery")
    with page.expect_file_chooser() as chooser:
        page.locator("#gallery-lora-add").click()
    chooser.value.set_files(file)
    expect(page.locator("#gallery-lora-details h2")).to_have_text("from-elsewhere")
    page.locator("#gallery-lora-use").click()
    expect(page.locator("#generate-weight-0")).to_contain_text("Weight of from-elsewhere")
    page.locator("#generate-go").click()
    expect(page.locator("#generate-results [role=alert]")).to_contain_text("“from-elsewhere” was made for")
    open_settings(page)
    page.locator("#generate-base input").fill("nowhere")
    page.locator("#generate-base input").press("Enter")
    page.locator("#generate-settings > button").click()
    page.locator("#generate-go").click()
    refused_at(page, "generate-base", "There is no base model 'nowhere' here.")
    is_focused(page, "generate-base")


def test_wrong_numbers_for_a_picture_are_named(open_page: OpenPage) -> None:
    page = open_page()
    go_to(page, "Generate")
    write(page, "generate-count", "99")
    write(page, "generate-seed", "abc")
    page.locator("#generate-go").click()
    refused_at(page, "generate-count", "Pictures: a whole number from 1 to 16 is needed (got 99).")
    seed = "Seed: a whole number from 0 to 9,223,372,036,854,775,807 is needed (got 'abc')."
    refused_at(page, "generate-seed", seed)
    is_focused(page, "generate-count")
    expect(page.locator("#generate-go")).to_be_enabled()
    write(page, "generate-count", "1")
    write(page, "generate-seed", "7")
    expect(page.locator("#tab-generate .field-error")).to_have_count(0)


COVERED = """() => {
  const toasts = [...document.querySelectorAll('.toast-item')].map((one) => one.getBoundingClientRect());
  return [...document.querySelectorAll('button, a[href], [role=tab]')]
    .filter((one) => !one.closest('.toast-wrap') && one.getClientRects().length)
    .filter((one) => {
      const box = one.getBoundingClientRect();
      return toasts.some((toast) => box.left < toast.right && box.right > toast.left
        && box.top < toast.bottom && box.bottom > toast.top);
    }).map((one) => one.outerHTML.slice(0, 120));
}"""
"""Buttons that lie under a toast."""


@pytest.mark.parametrize("width", [1440, 390])
def test_a_toast_covers_no_button_wherever_the_page_is_scrolled(open_page: OpenPage, width: int) -> None:
    page = open_page()
    page.set_viewport_size({"width": width, "height": 900})
    go_to(page, "Generate")
    open_settings(page)
    page.locator("#generate-recall-file input[type=file]").set_input_files(FOX)
    expect(page.get_by_test_id("toast-body")).to_contain_text("has no settings in it")
    for top in (0, 300, 900):
        page.evaluate("(top) => scrollTo(0, top)", top)
        page.wait_for_timeout(600)
        assert page.evaluate(COVERED) == []
