"""Stop works from any tab and any window, and keeps what was learned."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from tests.support.page import (
    OpenPage,
    begin_anew,
    fill_training,
    go_to,
    open_settings,
    pictures_are_drawn,
    write,
)

NAME = "Ink <b>x</b> ${document.body.id='evaluated'}"
"""As a LoRA can be called: shown to others, so it must stay text."""


def test_a_training_is_stopped_from_another_tab_of_another_window(open_page: OpenPage) -> None:
    page = open_page()
    page.locator("#upload-example-alien").click()
    pictures_are_drawn(page, "#upload-pictures .tile", 10)
    expect(page.locator("#upload-kind label.selected")).to_contain_text("Object")
    fill_training(page, kind="Object", name=NAME.replace("/", ""), steps=20_000)
    page.locator("#upload-train").click()
    expect(page.locator("#train-card .phases")).to_contain_text(re.compile(r"[1-9]\d* / 20000"))

    other = open_page()
    go_to(other, "Generate")
    expect(other.locator("#strip b")).to_have_text(NAME.replace("/", ""))
    other.locator("#strip-stop").click()
    expect(other.locator("#strip-stop")).to_be_hidden()

    expect(page.locator("#train-card .pill")).to_have_text("stopped")
    expect(page.locator("#train-card .sentence")).to_contain_text(re.compile(r"Stopped at step \d+, kept\."))
    expect(page.locator("#train-use")).to_be_visible()
    expect(page.locator("#train-again")).to_be_visible()
    expect(page.locator("#train-history li")).to_have_count(1)
    # Above the tabs of each window stands the way back.
    for window in (page, other):
        expect(window.locator("#paused")).to_contain_text(re.compile(r"Stopped at step \d+, kept\."))
    other.get_by_role("button", name=re.compile("Undo the stop of")).click()
    expect(page.locator("#train-card .pill")).to_have_text("running")
    expect(other.locator("#paused li")).to_have_count(0)
    other.locator("#strip-stop").click()
    expect(page.locator("#train-card .pill")).to_have_text("stopped")
    for window in (page, other):
        assert window.evaluate("document.body.id") != "evaluated"
    assert page.locator("#train-card b b, #train-history b b").count() == 0


def test_pause_and_resume_keep_the_keyboard_s_place(open_page: OpenPage) -> None:
    page = open_page()
    page.locator("#upload-example-ink").click()
    pictures_are_drawn(page, "#upload-pictures .tile", 10)
    fill_training(page, kind="Style", name="Paused", steps=20_000)
    page.locator("#upload-train").click()
    expect(page.locator("#train-card .phases")).to_contain_text(re.compile(r"[1-9]\d* / 20000"))
    pause, resume = page.locator("#train-pause"), page.locator("#train-resume")
    pause.focus()
    page.keyboard.press("Enter")
    expect(resume).to_be_focused()
    page.keyboard.press("Enter")
    expect(pause).to_be_focused()
    page.locator("#strip-stop").click()
    expect(page.locator("#train-card .pill")).to_have_text("stopped")


def test_those_that_wait_are_moved_and_taken_out_of_the_line(open_page: OpenPage) -> None:
    page = open_page()
    line, history = page.locator("#train-line"), page.locator("#train-history")
    for name in ("First", "Second", "Third"):
        begin_anew(page)
        page.locator("#upload-example-ink").click()
        pictures_are_drawn(page, "#upload-pictures .tile", 10)
        fill_training(page, kind="Style", name=name, steps=20_000)
        page.locator("#upload-train").click()
        expect(line).to_contain_text(name)
        go_to(page, "Upload")
    go_to(page, "Train")
    waiting = line.locator("ol b")
    expect(waiting).to_have_text(["Second", "Third"])
    up = page.get_by_role("button", name="Move Third up")
    up.focus()
    page.keyboard.press("Enter")
    expect(waiting).to_have_text(["Third", "Second"])
    page.get_by_role("button", name="Take Third out of the line").click()
    expect(waiting).to_have_text(["Second"])
    expect(history).to_contain_text("Third")
    history.get_by_role("button", name="Show the training Third").click()
    expect(page.locator("#train-card h2")).to_have_text("Third")
    expect(page.locator("#train-card .sentence")).to_contain_text("Stopped before it began.")
    write(page, "train-history-search", "no such thing")
    expect(history).to_contain_text("No training is found by “no such thing”")
    write(page, "train-history-search", "")
    page.get_by_role("checkbox", name="Choose the training Third").check()
    page.get_by_role("button", name="Remove", exact=True).click()
    expect(page.locator("#train-removed")).to_contain_text("1 training was removed.")
    expect(history).not_to_contain_text("Third")
    page.locator("#train-removed").get_by_role("button", name="Undo").click()
    expect(history).to_contain_text("Third")
    page.get_by_role("button", name="Take Second out of the line").click()
    page.locator("#strip-stop").click()
    expect(page.locator("#strip-stop")).to_be_hidden()


def test_a_generation_is_stopped(open_page: OpenPage) -> None:
    page = open_page()
    go_to(page, "Generate")
    write(page, "generate-prompt", "a dog")
    write(page, "generate-count", "16")
    open_settings(page)
    write(page, "generate-num_inference_steps", "200")
    page.locator("#generate-go").click()
    expect(page.locator("#generate-progress [role=progressbar]")).to_be_visible()
    page.locator("#generate-stop").click()
    expect(page.locator("#generate-results .card")).to_contain_text("Stopped")
    expect(page.locator("#generate-stop")).to_be_hidden()
    expect(page.locator("#generate-go")).to_be_enabled()
