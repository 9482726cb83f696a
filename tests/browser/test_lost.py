"""The page when its server is gone, and what outlives a reload."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Error, Page, Route, expect

from tests.support.page import (
    PATIENCE,
    OpenPage,
    add_lora,
    box,
    go_to,
    lora_file,
    open_settings,
    set_up,
    tab,
    upload,
    write,
)
from tests.support.serving import CHECKOUT, App, running_app, start_again

INK = sorted((CHECKOUT / "examples" / "ink").glob("*.png"))[:3]
PASSWORD = "correct horse"
KEPT = """([group, name, value]) =>
  JSON.parse(localStorage.getItem('lora-studio-draft') || '{}')[group]?.[name] === value"""


SETTLED = "() => studio.isSettled()"


def is_kept(page: Page, group: str, name: str, value: str) -> None:
    page.wait_for_function(KEPT, arg=[group, name, value])


def test_what_was_typed_survives_a_reload(open_page: OpenPage) -> None:
    page = open_page()
    upload(page, INK)
    expect(page.locator("#picture-count")).to_be_visible()
    page.locator("#upload-kind label").nth(1).click()
    write(page, "upload-name", "Half a name")
    set_up(page, "max_train_steps", "33")
    go_to(page, "Generate")
    write(page, "generate-prompt", "a dog")
    open_settings(page)
    write(page, "generate-negative_prompt", "rain")
    is_kept(page, "generate", "negative_prompt", "rain")

    page.reload(wait_until="domcontentloaded")
    expect(tab(page, "Generate")).to_have_attribute("aria-selected", "true")
    expect(box(page, "generate-prompt")).to_have_value("a dog")
    open_settings(page)
    expect(box(page, "generate-negative_prompt")).to_have_value("rain")
    go_to(page, "Upload")
    page.locator("#upload-settings > button").click()
    expect(box(page, "train-max_train_steps")).to_have_value("33")
    expect(box(page, "upload-name")).to_have_value("Half a name")
    expect(page.locator("#upload-kind label.selected")).to_contain_text("Style")
    expect(page.locator("#picture-count")).to_have_text("3 pictures, 0 with a caption")

    page.locator("#upload-train").click()
    expect(tab(page, "Train")).to_have_attribute("aria-selected", "true")
    page.wait_for_function("() => !JSON.parse(localStorage.getItem('lora-studio-draft')).upload")
    page.reload(wait_until="domcontentloaded")
    go_to(page, "Upload")
    expect(page.locator("#picture-count")).to_have_count(0)
    expect(box(page, "upload-name")).to_have_value("")
    page.locator("#strip-stop").click()
    expect(page.locator("#strip-stop")).to_be_hidden()


def test_the_tab_is_in_the_address_and_the_title(open_page: OpenPage) -> None:
    page = open_page()
    for name in ("Train", "Gallery"):
        go_to(page, name)
        expect(page).to_have_title(f"{name} · LoRA Studio")
        assert page.url.endswith(f"?tab={name.lower()}")
    page.go_back()
    expect(tab(page, "Train")).to_have_attribute("aria-selected", "true")
    page.go_forward()
    expect(tab(page, "Gallery")).to_have_attribute("aria-selected", "true")


def test_a_lora_has_an_address(open_page: OpenPage, tmp_path: Path) -> None:
    page = open_page()
    for name in ("sea", "skies"):
        add_lora(page, lora_file(tmp_path / f"{name}.safetensors", len(name) / 10))
        page.wait_for_url(f"**/?tab=gallery&lora={name}")
    title = page.locator("#gallery-lora-details h2")
    page.go_back()
    expect(title).to_have_text("sea")
    page.reload(wait_until="domcontentloaded")
    expect(title).to_have_text("sea")
    go_to(page, "Train")
    page.wait_for_url("**/?tab=train")
    page.go_back()
    page.wait_for_url("**/?tab=gallery&lora=sea")
    expect(title).to_have_text("sea")


def test_loras_to_draw_with_and_their_weights_have_an_address(open_page: OpenPage, tmp_path: Path) -> None:
    page = open_page()
    for name, value in (("lake", 0.61), ("land", 0.62)):
        add_lora(page, lora_file(tmp_path / f"{name}.safetensors", value))
    page.locator("#gallery-lora-use").click()
    page.wait_for_url("**/?tab=generate&loras=land")
    page.locator("#generate-loras input").click()
    page.get_by_role("option", name="lake", exact=True).click()
    page.keyboard.press("Escape")
    weights = [page.locator(f"#generate-weight-{slot} input[type=number]") for slot in range(2)]
    for field, value in zip(weights, ("0.4", "1.5"), strict=True):
        field.fill(value)
        field.press("Tab")
    open_settings(page)
    write(page, "generate-text-weight-1", "0,5")
    address = "**/?tab=generate&loras=land:0.4,lake:0.5:1.5"
    page.wait_for_url(address)

    def is_as_it_was(one: Page, wanted: str) -> None:
        for slot, value in enumerate(("0.4", "1.5")):
            expect(one.locator(f"#generate-weight-{slot} input[type=number]")).to_have_value(value)
        expect(one.locator("#generate-in-force")).to_contain_text("land · 0.4")
        expect(one.locator("#generate-in-force")).to_contain_text("lake · 1.5")
        one.wait_for_timeout(1000)  # whatever would change them again
        one.wait_for_url(wanted)

    page.reload(wait_until="domcontentloaded")
    is_as_it_was(page, address)
    open_settings(page)
    expect(box(page, "generate-text-weight-1")).to_have_value("0.5")
    go_to(page, "Gallery")
    page.wait_for_url("**/?tab=gallery")
    page.go_back()
    is_as_it_was(page, address)
    assert page.context.browser
    stranger = page.context.browser.new_context(reduced_motion="reduce")  # a browser without a draft
    stranger.set_default_timeout(PATIENCE)
    elsewhere = stranger.new_page()
    elsewhere.goto(page.url, wait_until="domcontentloaded")
    is_as_it_was(elsewhere, address)
    stranger.close()


def test_the_keyboard_has_a_way_past_the_tabs_and_one_stop_for_each_question(open_page: OpenPage) -> None:
    page = open_page()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the main button")).to_be_focused()
    page.keyboard.press("Tab")
    while page.evaluate("!!document.activeElement.closest('#paused')"):  # an earlier test's training
        page.keyboard.press("Tab")
    expect(tab(page, "Upload")).to_be_focused()
    page.keyboard.press("ArrowLeft")
    expect(tab(page, "Studio")).to_have_attribute("aria-selected", "true")
    page.keyboard.press("Home")
    expect(tab(page, "Upload")).to_have_attribute("aria-selected", "true")
    expect(tab(page, "Upload")).to_be_focused()
    page.keyboard.press("Tab")
    assert page.evaluate("!document.activeElement.closest('[role=tablist]')")
    kinds = page.locator("#upload-kind")
    kinds.get_by_role("radio").first.focus()
    page.keyboard.press("ArrowDown")
    expect(kinds.locator("label.selected")).to_contain_text("Style")
    page.keyboard.press("Tab")
    assert page.evaluate("!document.activeElement.closest('#upload-kind')")
    page.get_by_role("button", name="Help").click()
    expect(page.get_by_role("dialog", name="Help")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog", name="Help")).to_be_hidden()


def test_a_gap_in_the_network_loses_nothing(open_page: OpenPage) -> None:
    page = open_page()
    go_to(page, "Generate")
    write(page, "generate-prompt", "a dog")
    is_kept(page, "generate", "prompt", "a dog")
    page.context.set_offline(True)
    said = page.locator("#unanswered[role=alert]")
    expect(said).to_contain_text("does not answer")
    write(page, "generate-prompt", "a dog in the rain")
    page.context.set_offline(False)
    expect(said).to_have_count(0)
    expect(tab(page, "Generate")).to_have_attribute("aria-selected", "true")
    expect(box(page, "generate-prompt")).to_have_value("a dog in the rain")


def test_what_is_too_much_for_the_browser_s_store_leaves_out_the_longest(open_page: OpenPage) -> None:
    page = open_page()
    kept = page.evaluate("""() => {
      const names = [...Array(9).keys()].map((at) => `field-${at}`);
      studio.settle({}, '');
      studio.keep('train', names, names.map((_, at) => 'x'.repeat(9991 + at)));
      studio.keep('generate', ['prompt', 'mask_image'], ['a dog', 'data:image/png;base64,xx']);
      return JSON.parse(sessionStorage.getItem('lora-studio-draft'));
    }""")
    assert kept["generate"] == {"prompt": "a dog"}
    assert list(kept["train"]) == [f"field-{at}" for at in range(5)]


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[App]:
    """A server of its own, to be ended."""
    with running_app(tmp_path) as running:
        yield running


def test_a_server_that_is_gone_is_said_and_swallows_no_click(mortal: App, browser: Browser) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844})
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    page.goto(mortal.address, wait_until="domcontentloaded")
    expect(tab(page, "Train")).to_be_visible()
    go_to(page, "Generate")
    write(page, "generate-prompt", "a dog")
    is_kept(page, "generate", "prompt", "a dog")
    mortal.process.kill()
    said = page.locator("#unanswered[role=alert]")
    expect(said).to_contain_text("does not answer")
    page.locator("#generate-go").click()
    expect(said).to_contain_text("“Generate” was not sent")
    write(page, "generate-prompt", "a dog in the snow")  # while nobody listens

    again = start_again(mortal)
    try:
        expect(said).to_have_count(0)
        expect(tab(page, "Generate")).to_have_attribute("aria-selected", "true")
        expect(box(page, "generate-prompt")).to_have_value("a dog in the snow")
    finally:
        again.kill()
        again.wait()
        context.close()


def test_what_is_typed_before_the_draft_comes_back_stays(open_page: OpenPage) -> None:
    page = open_page()
    go_to(page, "Generate")
    write(page, "generate-prompt", "an old dog")
    is_kept(page, "generate", "prompt", "an old dog")
    # The draft comes back through the server, whose answers wait here.
    held: list[Route] = []
    page.route(re.compile(r"/run/predict"), lambda route: held.append(route))
    page.reload(wait_until="domcontentloaded")
    expect(tab(page, "Generate")).to_have_attribute("aria-selected", "true")
    write(page, "generate-prompt", "a new cat")
    assert not page.evaluate(SETTLED)
    page.unroute_all(behavior="ignoreErrors")
    for route in held:
        with contextlib.suppress(Error):  # those that unroute_all has let go on
            route.continue_()
    page.wait_for_function(SETTLED)
    is_kept(page, "generate", "prompt", "a new cat")
    expect(box(page, "generate-prompt")).to_have_value("a new cat")


def test_who_was_logged_in_is_told_when_that_has_ended(tmp_path: Path, browser: Browser) -> None:
    context = browser.new_context()
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    with running_app(tmp_path, LORA_STUDIO_PASSWORD=PASSWORD) as locked:
        page.goto(locked.address, wait_until="domcontentloaded")
        log_in(page)
        go_to(page, "Generate")
        write(page, "generate-prompt", "a dog")
        is_kept(page, "generate", "prompt", "a dog")
        context.clear_cookies()
        said = page.locator("#unanswered[role=alert]")
        expect(said).to_contain_text("Your login has ended")
        page.locator("#generate-go").click()
        expect(said).to_contain_text("“Generate” was not sent")

        said.get_by_role("link").click()
        log_in(page)
        go_to(page, "Generate")
        expect(box(page, "generate-prompt")).to_have_value("a dog")
        expect(said).to_have_count(0)

        other = context.new_page()
        other.goto(locked.address, wait_until="domcontentloaded")
        go_to(other, "Generate")
        write(other, "generate-prompt", "a cat")
        is_kept(other, "generate", "prompt", "a cat")
        page.get_by_role("button", name="Log out").click()
        log_in(page)
        other.reload(wait_until="domcontentloaded")
        for window in (page, other):
            go_to(window, "Generate")
            window.wait_for_function(SETTLED)
            expect(box(window, "generate-prompt")).to_have_value("")
    context.close()


def log_in(page: Page) -> None:
    page.get_by_label("User name").fill("studio")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    expect(tab(page, "Train")).to_be_visible()
