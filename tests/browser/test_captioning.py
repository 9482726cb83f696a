"""Captions by a model on Upload: their cost, a tagger's options, one picture anew, never over a hand."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import expect

from tests.support.page import OpenPage, begin_anew, upload
from tests.support.serving import DRAWN


def test_captions_are_priced_written_and_written_anew(open_page: OpenPage, tmp_path: Path) -> None:
    caption = tmp_path / "02.txt"
    caption.write_text("mine", "utf-8")
    page = open_page()
    begin_anew(page)
    upload(page, [DRAWN / "01.png", DRAWN / "02.png", caption])
    page.get_by_role("button", name="Captions of all pictures").click()
    cost, card = page.locator("#upload-captioning-cost"), page.locator("#upload-captioning")
    expect(cost).to_contain_text("1 picture without a caption.")
    expect(cost).to_contain_text("fetches nothing")
    page.get_by_role("radio", name="WD14 tagger").check()
    expect(page.get_by_label("Tags to leave out")).to_be_visible()
    expect(cost).to_contain_text("hf download SmilingWolf/wd-vit-tagger-v3 model.onnx selected_tags.csv")
    page.get_by_role("radio", name="Starter").check()
    expect(page.get_by_label("Tags to leave out")).to_be_hidden()
    page.get_by_role("button", name="Write the missing captions").click()
    expect(card).to_contain_text("Captions written: 1 of 1.")
    expect(cost).to_contain_text("No picture lacks a caption.")
    mine = page.get_by_role("textbox", name="Caption of 02.png")
    retry = page.get_by_role("button", name="Caption 02.png by the model")
    retry.click()
    expect(card.get_by_role("alert")).to_contain_text("The caption of 02.png was written by hand.")
    card.get_by_role("button", name="Keep it: 02.png").click()
    expect(card).to_contain_text("Captions written: 1 of 1.")
    expect(mine).to_have_value("mine")
    retry.click()
    card.get_by_role("button", name="Write over it: 02.png").click()
    expect(mine).to_have_value("cherries, 3d style")
    page.locator("#upload-edits").get_by_role("button", name="Undo").click()
    expect(mine).to_have_value("mine")
