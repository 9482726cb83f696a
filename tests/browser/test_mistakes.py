"""Bad input: one clear sentence in the page, and nothing lost."""

from __future__ import annotations

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


def says(page: Page, text: str) -> None:
    """A toast with this sentence; it is closed afterwards."""
    toast = page.get_by_test_id("toast-body").filter(has_text=text)
    expect(toast.first).to_be_visible()
    toast.first.get_by_test_id("toast-close").click()
    expect(toast).to_have_count(0)


def test_each_mistake_has_its_sentence(open_page: OpenPage, bad_files: list[Path]) -> None:
    page = open_page()
    train = page.locator("#upload-train")
    train.click()
    says(page, "There are no pictures yet. Drop some in, or take the example pictures.")

    upload(page, bad_files[:1])
    expect(page.locator("#upload-notices").get_by_role("alert")).to_contain_text("text.png")
    expect(page.get_by_test_id("status-tracker").locator(".error:visible")).to_have_count(0)
    upload(page, [FOX, *bad_files])
    for sentence in ("text.png", "cut.jpg", "huge.png"):
        expect(page.locator("#upload-notices .refused")).to_contain_text(sentence)
    expect(page.locator("#picture-count")).to_contain_text("picture")

    train.click()
    says(page, "Say what the pictures show")
    page.locator("#upload-kind label").nth(2).click()
    train.click()
    says(page, "The name is empty.")
    write(page, "upload-name", "../../etc")
    train.click()
    says(page, "contains a slash")
    write(page, "upload-name", "Fox")

    for typed in ("0", "many"):
        set_up(page, "max_train_steps", typed)
        train.click()
        says(page, "Steps: a whole number from 1")
    set_up(page, "max_train_steps", "")

    base = page.locator("#upload-base input")
    base.fill("nowhere")
    base.press("Enter")
    train.click()
    says(page, "There is no base model 'nowhere' here.")

    # Nothing was lost meanwhile.
    expect(box(page, "upload-name")).to_have_value("Fox")
    expect(page.locator("#upload-kind label.selected")).to_contain_text("Object")
    expect(page.locator("#upload-pictures img").first).to_be_visible()
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
    pictures_are_drawn(page, "#upload-pictures", 1)
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
    page.locator("#generate-go").click()
    says(page, "There is no base model 'nowhere' here.")


def test_wrong_numbers_for_a_picture_are_named(open_page: OpenPage) -> None:
    page = open_page()
    go_to(page, "Generate")
    write(page, "generate-count", "99")
    page.locator("#generate-go").click()
    says(page, "Pictures: a whole number from 1 to 16 is needed (got 99).")
    expect(page.locator("#generate-go")).to_be_enabled()
    write(page, "generate-count", "1")
    write(page, "generate-seed", "abc")
    page.locator("#generate-go").click()
    says(page, "Seed: a whole number from 0 to 9,223,372,036,854,775,807 is needed (got 'abc').")
