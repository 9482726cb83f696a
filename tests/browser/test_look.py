"""The page's language and theme: the browser's own at first, then what was chosen, each without a flash."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from lora_studio.ui.document import changed_module
from tests.support.page import PATIENCE, OpenPage, box
from tests.support.serving import App

TYPED = "Undo"
"""A prompt that is a word of the page as well."""


def menu(page: Page, name: str) -> Locator:
    return page.locator(f"#page-footer [data-look={name}]")


EVENTS_FOUND = """async (module) => {
  const { AppTree } = await import(new URL(module, document.baseURI));
  let looks = 0;
  const events = new Proxy([
    {targets: [[1, 'click'], [2, 'change'], [2, 'input']]}, {targets: []},
    {targets: [[1, 'select'], [3, null]]},
  ], {get: (all, name) => { looks += name !== 'length'; return all[name]; }});
  const found = [], seen = [];
  for (const id of [1, 2, 3, 4]) {
    const component = {id, props: {shared_props: {}}};
    if (AppTree.prototype.find_attached_events.call({}, component, events) !== component) throw Error(id);
    found.push(component.props.shared_props.attached_events);
    seen.push(looks);
  }
  return [found, seen.at(-1) - seen[0]];
}"""
"""Names of the events of four components, and the looks at all events for those after the first."""
STATES_HELD = """async (module) => {
  const parts = await import(new URL(module, document.baseURI));
  const { LoadingStatus } = Object.values(parts).find((one) => one.LoadingStatus);
  const states = new LoadingStatus();
  states.register(1, [10], [20, 21], 'full');
  states.update({fn_index: 1, status: 'complete', stream_state: 'closed'});
  return [Object.keys(states.current), states.fn_inputs[1].map(String)];
}"""
"""Components that get the state of an event which fills one and reads two; those that it reads."""


@pytest.fixture
def german(app: App, browser: Browser) -> Page:
    context = browser.new_context(locale="de-DE", color_scheme="light", reduced_motion="reduce")
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    page.goto(app.address, wait_until="domcontentloaded")
    page.wait_for_function("() => window.studio?.isSettled()")  # what is clicked before is lost
    return page


def test_a_german_browser_gets_german_and_says_so(german: Page) -> None:
    expect(german.get_by_role("tab", name="Trainieren", exact=True)).to_be_visible()
    expect(german.locator("html")).to_have_attribute("lang", "de")
    expect(german.locator("#upload-files")).to_contain_text("Datei hier ablegen")  # Gradio's own words
    german.get_by_role("tab", name="Galerie", exact=True).click()
    expect(german.locator("#gallery-lora-details")).to_contain_text("Wählen Sie")
    german.context.close()


def test_another_language_is_chosen_and_kept_with_what_was_typed(german: Page) -> None:
    german.get_by_role("tab", name="Generieren", exact=True).click()
    box(german, "generate-prompt").fill(TYPED)
    menu(german, "language").select_option("ja")
    expect(german.locator("html")).to_have_attribute("lang", "ja")
    expect(german.get_by_role("tab", name="生成", exact=True)).to_have_attribute("aria-selected", "true")
    expect(box(german, "generate-prompt")).to_have_value(TYPED)
    expect(menu(german, "language")).to_have_value("ja")
    other = german.context.new_page()
    other.goto(german.url.partition("?")[0], wait_until="domcontentloaded")
    expect(other.locator("html")).to_have_attribute("lang", "ja")
    german.context.close()


def test_the_theme_is_chosen_and_there_before_anything_is_painted(open_page: OpenPage) -> None:
    page = open_page()
    body = page.locator("body")
    page.emulate_media(color_scheme="light")
    expect(body).not_to_have_class(re.compile("dark"))
    menu(page, "theme").select_option("dark")
    expect(body).to_have_class(re.compile("dark"))
    page.add_init_script("""new MutationObserver(() => { if (document.body && !window.first) {
      window.first = getComputedStyle(document.body).backgroundColor;
    } }).observe(document, {childList: true, subtree: true})""")
    page.reload(wait_until="domcontentloaded")
    expect(menu(page, "theme")).to_have_value("dark")
    expect(body).to_have_class(re.compile("dark"))
    assert page.evaluate("first") == page.evaluate("getComputedStyle(document.body).backgroundColor")
    menu(page, "theme").select_option("")
    expect(body).not_to_have_class(re.compile("dark"))
    page.emulate_media(color_scheme="dark")
    expect(body).to_have_class(re.compile("dark"))


def test_a_state_of_an_event_goes_to_what_the_event_fills_alone(open_page: OpenPage) -> None:
    page = open_page()
    held = page.evaluate(STATES_HELD, f"./assets/{changed_module('event_states.js')}")
    assert held == [["10"], ["20", "21"]]


def test_all_events_are_looked_through_once_for_all_components(open_page: OpenPage) -> None:
    page = open_page()
    found, looks = page.evaluate(EVENTS_FOUND, f"./assets/{changed_module('attached_events.js')}")
    assert found == [["click", "select"], ["change"], [], []]
    assert looks == 0
