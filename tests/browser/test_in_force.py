"""What a person chose and can't see: settings in folded boxes, LoRAs that another window deletes, twins."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.support.page import (
    OpenPage,
    add_lora,
    box,
    choose_mode,
    go_to,
    is_accessible,
    lora_file,
    open_settings,
    write,
)
from tests.support.serving import CHECKOUT

FOX = CHECKOUT / "examples" / "ink" / "fox.png"


@pytest.fixture
def generate(open_page: OpenPage) -> Page:
    page = open_page()
    go_to(page, "Generate")
    return page


def test_what_lies_in_folded_boxes_is_said_and_taken_away(generate: Page) -> None:
    page, said = generate, generate.locator("#generate-in-force")
    choose_mode(page, "Redraw")
    page.locator("#generate-source-file input[type=file]").set_input_files(FOX)
    expect(said).to_contain_text("your picture is redrawn")
    expect(page.locator("#generate-canvas canvas")).to_be_visible()
    page.locator("#generate-canvas canvas").press(" ")
    expect(said).to_contain_text("only the painted part of it")
    choose_mode(page, "Draw")
    expect(said).not_to_contain_text("redrawn")
    choose_mode(page, "Grid")
    expect(said).to_contain_text("Grid: Seed")
    expect(said).to_contain_text("your picture is redrawn")
    said.get_by_role("button", name="Take away: Grid: Seed").click()
    expect(page.locator("#generate-mode label.selected")).to_have_text("Draw")  # else it comes over the next
    choose_mode(page, "Redraw")
    open_settings(page)
    write(page, "generate-negative_prompt", "rain")
    expect(said).to_contain_text("Negative prompt: rain")
    open_settings(page)
    for width in (1440, 390):
        page.set_viewport_size({"width": width, "height": 900})
        is_accessible(page)
    said.get_by_role("button", name="Take away: only the painted part of it").click()
    expect(said).not_to_contain_text("painted")
    said.get_by_role("button", name="Take away: your picture is redrawn").click()
    expect(said).not_to_contain_text("picture")
    expect(page.locator("#generate-mode label.selected")).to_have_text("Draw")
    said.get_by_role("button", name="Take away: Negative prompt: rain").click()
    expect(said).not_to_contain_text("rain")
    for size in ("Width (px)", "Height (px)"):  # they came with the picture
        said.get_by_role("button", name=f"Take away: {size}").click()
    expect(said.get_by_role("button")).to_have_count(0)


def test_a_lora_that_another_window_deletes_leaves_the_selection(open_page: OpenPage, tmp_path: Path) -> None:
    first, second = open_page(), open_page()
    add_lora(first, lora_file(tmp_path / "sea.safetensors", 0.1))
    first.locator("#gallery-lora-use").click()
    expect(first.locator("#generate-weight-0")).to_contain_text("Weight of sea")
    first.route("**/queue/join*", lambda route: None)  # what the window does meanwhile gets no answer
    go_to(second, "Gallery")
    second.locator("#gallery-lora-grid [data-slug=sea]").click()
    second.locator("#gallery-lora-delete").click()
    gone = first.locator("#generate-gone")
    expect(gone).to_contain_text("was deleted")
    expect(first.locator("#generate-weight-0")).to_be_hidden()
    first.unroute("**/queue/join*")
    go_to(first, "Gallery")
    expect(first.locator("#gallery-lora-details")).to_contain_text("was deleted")
    expect(first.locator("#gallery-lora-use")).to_be_hidden()
    go_to(first, "Generate")
    gone.get_by_role("button", name="Undo").click()
    expect(gone.get_by_role("button")).to_have_count(0)
    expect(second.locator("#gallery-lora-grid [data-slug=sea]")).to_be_visible()


def test_loras_of_one_name_can_be_told_apart(open_page: OpenPage, tmp_path: Path) -> None:
    page = open_page()
    add_lora(page, lora_file(tmp_path / "one.safetensors", 0.2))
    add_lora(page, lora_file(tmp_path / "two.safetensors", 0.3))
    box(page, "gallery-lora-title").fill("one")
    page.locator("#gallery-lora-rename").click()
    expect(page.get_by_test_id("toast-body")).to_contain_text("“two” is called “one” now. 1 other LoRA has")
    expect(page.locator("#gallery-lora-grid [data-slug=two]")).to_contain_text("two")
    go_to(page, "Generate")
    page.locator("#generate-loras input").click()
    for slug in ("one", "two"):
        told_apart = re.compile(rf"^one \({slug}, \d{{4}}-\d\d-\d\d \d\d:\d\d\)$")
        expect(page.get_by_role("option", name=told_apart)).to_be_visible()
