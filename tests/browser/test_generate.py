"""Making pictures: what is drawn goes on without the page, and settings are never lost."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from playwright.sync_api import Page, ViewportSize, expect

from tests.support.page import (
    OpenPage,
    box,
    choose_mode,
    go_to,
    is_accessible,
    open_settings,
    pictures_are_drawn,
    write,
)

PHONE = {"width": 390, "height": 844}
FROM_A1111 = (
    "a (rocket:1.2) <lora:space:0.7>\nNegative prompt: fog\nSteps: 4, Sampler: DPM++ 2M Karras, "
    "CFG scale: 2.5, Seed: 42, Size: 64x96, Model: deliberate_v2, Clip skip: 2, Version: v1.10.1"
)


@pytest.fixture
def page(open_page: OpenPage) -> Page:
    opened = open_page()
    go_to(opened, "Generate")
    return opened


@pytest.mark.slow  # the tour reloads and opens a second window in each change's run
def test_a_generation_is_there_after_a_reload_and_in_a_second_window(page: Page, open_page: OpenPage) -> None:
    write(page, "generate-prompt", "a dog")
    expect(page.locator("#generate-tokens")).to_have_text("2 of 75 tokens")
    write(page, "generate-count", "16")
    open_settings(page)
    write(page, "generate-num_inference_steps", "150")
    page.locator("#generate-go").click()
    expect(page.locator("#generate-progress .sentence")).to_contain_text(
        re.compile(r"Picture 1 of 16, step \d")
    )
    expect(page.locator("#generate-progress .live-preview")).to_be_visible()
    pictures = page.locator("#generate-results img")
    expect(pictures.first).to_be_visible()  # each as soon as it is done
    is_accessible(page)

    page.reload(wait_until="domcontentloaded")
    second = open_page()
    for window in (page, second):
        go_to(window, "Generate")
        expect(window.locator("#generate-progress [role=progressbar]")).to_be_visible()
        expect(window.locator("#generate-progress h2")).to_have_text("a dog")

    # Another one waits behind it, and is taken out of the queue again.
    write(second, "generate-prompt", "a cat")
    second.locator("#generate-go").click()
    expect(second.locator("#generate-progress .sentence")).to_have_text(
        "0 % Waiting: one generation comes first."
    )
    expect(page.locator("#generate-progress .queue")).to_contain_text("a cat")
    page.get_by_role("button", name="Stop the generation a cat").click()
    expect(second.locator("#generate-results")).to_contain_text("Stopped before the first picture was done.")

    page.locator("#generate-stop").click()
    expect(page.locator("#generate-stop")).to_be_hidden()
    expect(page.locator("#generate-results")).to_contain_text("Stopped in")
    assert 1 <= pictures.count() < 16
    expect(page.locator("#generate-spoken")).to_contain_text("Stopped in")


def test_pictures_lead_on(page: Page) -> None:
    """Use its seed, again, vary, and redraw a part of it."""
    expect(page.locator("#generate-tokens")).to_contain_text("Empty")
    write(page, "generate-seed", "5")
    box(page, "generate-prompt").fill("a cat")
    box(page, "generate-prompt").press("Control+Enter")
    result = page.locator("#generate-results")
    expect(page.get_by_alt_text("a cat, seed 5")).to_be_visible()
    pictures_are_drawn(page, "#generate-results", 1)
    result.get_by_role("button", name="Again with").click()
    expect(result.locator(".tile-actions")).not_to_contain_text(re.compile(r"seed 5\b"))
    result.get_by_role("button", name="Vary").click()
    pictures_are_drawn(page, "#generate-results", 4)
    expect(page.locator("#generate-infotext")).to_contain_text("Variation seed strength: 0.15")

    vary = re.compile(r"Vary the picture of seed \d+, variation \d+")
    expect(result.get_by_role("button", name=vary)).to_have_count(4)
    page.locator("#generate-recent").get_by_alt_text("Show seed 5: a cat").first.click()
    expect(page.get_by_alt_text("a cat, seed 5", exact=True)).to_be_visible()
    result.get_by_role("button", name="Redraw").first.click()
    expect(page.locator("#generate-mode label.selected")).to_have_text("Redraw")
    canvas = page.locator("#generate-canvas canvas")
    expect(canvas).to_be_visible()
    area = canvas.bounding_box()
    assert area
    canvas.hover(position={"x": area["width"] * 0.3, "y": area["height"] * 0.3})  # where it comes to rest
    page.mouse.down()
    canvas.hover(position={"x": area["width"] * 0.6, "y": area["height"] * 0.6})
    page.mouse.up()
    page.locator("#generate-go").click()  # at once: what was painted must not be lost
    expect(page.locator("#generate-infotext")).to_contain_text("Mask image")
    is_accessible(page)
    pictures_are_drawn(page, "#generate-results", 1)
    page.get_by_role("button", name="Remove the picture").click()
    expect(canvas).to_have_count(0)


def test_a_grid_is_drawn_on_one_sheet(page: Page) -> None:
    write(page, "generate-prompt", "a dog")
    choose_mode(page, "Grid")
    write(page, "generate-grid-x-values", "1, 2")
    page.locator("#generate-grid-y input").click()
    page.get_by_role("option", name="Steps", exact=True).click()
    expect(box(page, "generate-grid-y-values")).to_have_attribute("placeholder", "8, 12, 20")
    write(page, "generate-grid-y-values", "2, 4, 6")
    page.locator("#generate-go").click()
    expect(page.locator("#generate-results .sheet img")).to_be_visible()
    page.locator("#generate-results .cells summary").click()
    pictures_are_drawn(page, "#generate-results", 7)
    is_accessible(page)
    write(page, "generate-grid-x-values", "1-500")
    page.locator("#generate-go").click()
    expect(page.locator("#generate-grid-x-values .field-error")).to_contain_text("500 values")


@pytest.mark.slow
def test_a_style_fills_in_both_prompts_and_goes_again(page: Page) -> None:
    write(page, "generate-prompt", "a dog")
    open_settings(page)
    base = page.locator("#generate-base input")
    base.click()
    page.get_by_role("option", name="Stable Diffusion 1.5").click()
    style = page.locator("#generate-styles").get_by_role("button", name="Portrait")
    style.click()
    expect(style).to_have_attribute("aria-pressed", "true")
    expect(box(page, "generate-prompt")).to_have_value(re.compile("portrait of a dog, "))
    expect(box(page, "generate-negative_prompt")).to_have_value(re.compile("deformed"))
    expect(box(page, "generate-width")).not_to_have_value("")
    style.click()
    expect(box(page, "generate-prompt")).to_have_value("a dog")
    expect(box(page, "generate-negative_prompt")).to_have_value("")


def test_a_picture_that_is_dropped_brings_its_settings_back(page: Page, tmp_path: Path) -> None:
    dropped, info = tmp_path / "from a1111.png", PngInfo()
    info.add_text("parameters", FROM_A1111)
    Image.new("RGB", (64, 96), "navy").save(dropped, pnginfo=info)
    open_settings(page)
    page.locator("#generate-recall-file input[type=file]").set_input_files(dropped)
    said = page.locator("#generate-recalled")
    expect(said).to_contain_text("The LoRA “space” is not in your library")
    expect(said).to_contain_text("“deliberate_v2” is not here")
    expect(box(page, "generate-prompt")).to_have_value("a (rocket:1.2)")
    expect(box(page, "generate-seed")).to_have_value("42")
    for name, value in (
        ("num_inference_steps", "4"),
        ("guidance_scale", "2.5"),
        ("width", "64"),
        ("height", "96"),
        ("negative_prompt", "fog"),
    ):
        expect(box(page, f"generate-{name}")).to_have_value(value)
    expect(page.locator("#generate-sampler input")).to_have_value("DPM++ 2M Karras")
    page.locator("#generate-go").click()
    expect(page.locator("#generate-infotext")).to_contain_text("Seed: 42, Size: 64x96")
    pictures_are_drawn(page, "#generate-results", 1)

    Image.new("RGB", (64, 64)).save(dropped)
    page.locator("#generate-recall-file input[type=file]").set_input_files(dropped)
    expect(page.get_by_test_id("toast-body")).to_contain_text("has no settings in it")


@pytest.mark.slow
@pytest.mark.parametrize("size", [PHONE, {"width": 1440, "height": 900}])
def test_what_is_asked_for_stays_in_sight_beside_what_it_brings(page: Page, size: ViewportSize) -> None:
    page.set_viewport_size(size)
    open_settings(page)
    expect(page.get_by_role("heading", name="Finer settings")).to_be_visible()
    is_accessible(page)
    write(page, "generate-prompt", "a cat on a phone")
    page.locator("#generate-go").click()
    picture = page.locator("#generate-results").get_by_alt_text("a cat on a phone, seed")
    expect(picture).to_be_in_viewport(ratio=0.5)
    for part in ("generate-prompt", "generate-go"):
        expect(page.locator(f"#{part}")).to_be_in_viewport(ratio=1)
    page.set_viewport_size({"width": 320, "height": 800})
    is_accessible(page)
