"""All captions at once on the Upload tab: counted, a change looked at, made, taken back; the set as a ZIP."""

from __future__ import annotations

import zipfile
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.support.page import OpenPage, begin_anew, upload
from tests.support.serving import CHECKOUT

INK = sorted((CHECKOUT / "examples" / "ink").glob("*.png"))[:3]


def unfold(page: Page, name: str) -> None:
    page.get_by_role("button", name=name).click()


def test_captions_are_changed_at_once_and_taken_back(open_page: OpenPage, tmp_path: Path) -> None:
    texts = [tmp_path / INK[0].with_suffix(".txt").name, tmp_path / INK[1].with_suffix(".txt").name]
    for place, caption in zip(texts, ("zwx, kitty, sofa", "zwx, Kitty, tree"), strict=True):
        place.write_text(caption, "utf-8")
    page = open_page()
    begin_anew(page)
    expect(page.get_by_role("button", name="Captions of all pictures")).to_be_hidden()
    upload(page, [*INK, *texts])
    unfold(page, "Captions of all pictures")
    expect(page.locator(".caption-words")).to_contain_text("kitty 2")
    page.get_by_role("radio", name="Replace").check()
    page.get_by_label("Tag or words").fill("kitty")
    page.get_by_label("What they become").fill("cat")
    page.get_by_label("Only in captions with").fill("sofa")
    page.get_by_role("button", name="Show what would change").click()
    expect(page.locator("#upload-captions-result")).to_contain_text("1 of 1 captions would change.")
    expect(page.locator("#upload-captions-result ins")).to_have_text("zwx, cat, sofa")
    page.get_by_label("Only in captions with").fill("")
    page.get_by_role("button", name="Change the captions").click()
    expect(page.locator("#upload-captions-result")).to_contain_text("2 of 3 captions changed.")
    expect(page.locator(".caption-words")).to_contain_text("cat 2")
    captions = page.get_by_role("textbox", name=f"Caption of {INK[0].name}")
    expect(captions).to_have_value("zwx, cat, sofa")
    unfold(page, "Download these pictures")
    with page.expect_download() as download:
        page.get_by_role("button", name="Make the ZIP").click()
    expect(page.locator("#upload-pack-stop")).to_be_hidden()
    expect(page.get_by_role("button", name="Make the ZIP")).to_be_enabled()
    with zipfile.ZipFile(download.value.path()) as archive:
        written = [archive.read(name) for name in sorted(archive.namelist()) if name.endswith(".txt")]
    assert b"zwx, cat, sofa\n" in written
    page.locator("#upload-edits").get_by_role("button", name="Undo").click()
    expect(captions).to_have_value("zwx, kitty, sofa")


def test_a_model_writes_the_missing_captions(open_page: OpenPage, tmp_path: Path) -> None:
    drawn = CHECKOUT / "models" / "starter" / "regularisation" / "1_things"
    caption = tmp_path / "02.txt"
    caption.write_text("mine", "utf-8")
    page = open_page()
    begin_anew(page)
    upload(page, [drawn / "01.png", drawn / "02.png", caption])
    unfold(page, "Captions of all pictures")
    page.get_by_role("button", name="Write the missing captions").click()
    expect(page.locator("#upload-captioning")).to_contain_text("Captions written: 1 of 1.")
    expect(page.get_by_role("textbox", name="Caption of 01.png")).to_have_value("lemon, 3d style")
    expect(page.get_by_role("textbox", name="Caption of 02.png")).to_have_value("mine")
    expect(page.locator(".caption-words")).to_contain_text("lemon 1")
    page.get_by_role("radio", name="BLIP").check()
    page.locator("#upload-edits").get_by_role("button", name="Undo").click()
    expect(page.get_by_role("textbox", name="Caption of 01.png")).to_have_value("")
    page.get_by_role("button", name="Write the missing captions").click()
    expect(page.locator("#upload-captioning [role=alert]")).to_contain_text("isn't on this machine")
