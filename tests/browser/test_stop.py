"""Stop works from any tab and any window, and keeps what was learned."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from tests.support.page import OpenPage, fill_training, go_to, pictures_are_drawn, write

NAME = "Ink <b>x</b> ${document.body.id='evaluated'}"
"""As a LoRA can be called: shown to others, so it must stay text."""


def test_a_training_is_stopped_from_another_tab_of_another_window(open_page: OpenPage) -> None:
    page = open_page()
    page.locator("#upload-example-alien").click()
    pictures_are_drawn(page, "#upload-pictures", 10)
    expect(page.locator("#upload-kind label.selected")).to_contain_text("Object")
    fill_training(page, kind="Object", name=NAME.replace("/", ""), steps=20_000)
    page.locator("#upload-train").click()
    expect(page.locator("#train-card .figures")).to_contain_text(re.compile(r"[1-9]\d* / 20000"))

    other = open_page()
    go_to(other, "Generate")
    expect(other.locator("#strip b")).to_have_text(NAME.replace("/", ""))
    other.locator("#strip-stop").click()
    expect(other.locator("#strip-stop")).to_be_hidden()

    expect(page.locator("#train-card .pill")).to_have_text("stopped")
    expect(page.locator("#train-card .sentence")).to_contain_text("What it had learned is kept.")
    expect(page.locator("#train-use")).to_be_visible()
    expect(page.locator("#train-again")).to_be_visible()
    expect(page.locator("#train-history li")).to_have_count(1)
    for window in (page, other):
        assert window.evaluate("document.body.id") != "evaluated"
    assert page.locator("#train-card b b, #train-history b b").count() == 0


def test_pause_and_resume_keep_the_keyboard_s_place(open_page: OpenPage) -> None:
    page = open_page()
    page.locator("#upload-example-ink").click()
    pictures_are_drawn(page, "#upload-pictures", 10)
    fill_training(page, kind="Style", name="Paused", steps=20_000)
    page.locator("#upload-train").click()
    expect(page.locator("#train-card .figures")).to_contain_text(re.compile(r"[1-9]\d* / 20000"))
    pause, resume = page.locator("#train-pause"), page.locator("#train-resume")
    pause.focus()
    page.keyboard.press("Enter")
    expect(resume).to_be_focused()
    page.keyboard.press("Enter")
    expect(pause).to_be_focused()
    page.locator("#strip-stop").click()
    expect(page.locator("#train-card .pill")).to_have_text("stopped")


def test_a_generation_is_stopped(open_page: OpenPage) -> None:
    page = open_page()
    go_to(page, "Generate")
    write(page, "generate-prompt", "a dog")
    write(page, "generate-count", "16")
    page.locator("#generate-more > button").click()
    write(page, "generate-num_inference_steps", "200")
    page.locator("#generate-go").click()
    expect(page.locator("#generate-progress [role=progressbar]")).to_be_visible()
    page.locator("#generate-stop").click()
    expect(page.locator("#generate-results .card")).to_contain_text("Stopped")
    expect(page.locator("#generate-stop")).to_be_hidden()
    expect(page.locator("#generate-go")).to_be_enabled()
