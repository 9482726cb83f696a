"""The Gallery with more than a page of LoRAs, its trash, and a page that only looks."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from lora_studio.request import LoraUse
from lora_studio.settings import Settings
from tests.support.library_entries import draw, write_lora
from tests.support.page import PATIENCE, RESTORED, OpenPage, box, go_to, tab
from tests.support.serving import App, running_app

LORAS, PAGE = 70, 60
IN_SIGHT = """(box) => {
  const {top, bottom} = box.getBoundingClientRect();
  return top < innerHeight && bottom > 0;
}"""


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    folder = tmp_path_factory.mktemp("gallery")
    settings = Settings(home=folder / "home", models=folder / "models")
    for number in range(LORAS):
        slug = f"many-{number:02}"
        title = {"modelspec.title": f"Many {number}"}
        write_lora(settings.loras / slug / f"{slug}.safetensors", number + 1.0, **title)
    for seed in range(3):
        draw(settings, "a picked fox", seed, (LoraUse(slug="many-07"),))
    with running_app(folder) as running:
        yield running


def test_tiles_are_reached_by_keys_and_details_stand_beside_them(open_page: OpenPage) -> None:
    page = open_page()
    go_to(page, "Gallery")
    tiles, side = page.locator("#gallery-lora-grid .tile-button"), page.locator("#gallery-lora-side")
    expect(tiles).to_have_count(PAGE)
    expect(page.locator("#gallery-lora-grid [tabindex='0']")).to_have_count(1)
    tiles.last.click()
    expect(side.locator(".facts")).to_be_visible()
    assert side.evaluate(IN_SIGHT)
    expect(tiles.last).to_be_focused()
    page.keyboard.press("Home")
    expect(tiles.first).to_be_focused()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    expect(tiles.nth(1)).to_have_attribute("aria-pressed", "true")
    expect(tiles.last).to_have_attribute("aria-pressed", "false")
    expect(side.locator("#gallery-lora-details h2")).to_have_text(tiles.nth(1).locator("b").inner_text())

    page.get_by_role("button", name="Next", exact=True).click()
    expect(page.locator("#gallery-lora-grid .pages")).to_contain_text(f"61–{LORAS} of {LORAS}")
    expect(tiles).to_have_count(LORAS - PAGE)
    expect(tiles.first).to_be_focused()
    box(page, "gallery-lora-search").fill("many-07")
    expect(tiles).to_have_count(1)
    box(page, "gallery-lora-search").fill("no such thing")
    expect(side.locator(".facts")).to_have_count(0)
    page.get_by_role("button", name="Show all LoRAs").click()
    expect(tiles).to_have_count(PAGE)
    expect(box(page, "gallery-lora-search")).to_have_value("")


def test_a_lora_is_described_and_found_by_it(open_page: OpenPage) -> None:
    page = open_page()
    go_to(page, "Gallery")
    tiles, details = page.locator("#gallery-lora-grid .tile-button"), page.locator("#gallery-lora-details")
    page.locator("select[data-name=order]").select_option("used")
    expect(tiles.first).to_contain_text("Many 7")
    tiles.first.click()
    expect(details.locator(".uses img")).to_have_count(3)
    details.get_by_role("button", name="Favourite").click()
    expect(details.get_by_role("button", name="Favourite")).to_have_attribute("aria-pressed", "true")
    page.locator("#gallery-lora-description > button").click()
    box(page, "gallery-lora-tags").fill("poster, ink")
    page.locator("#gallery-lora-save").click()
    details.locator("[data-tag=poster]").click()
    expect(tiles).to_have_count(1)
    expect(page.locator("select[data-name=only]")).to_have_value("tag=poster")
    page.locator("select[data-name=only]").select_option("favourite")
    expect(tiles).to_have_count(1)
    details.locator("[data-action=pictures]").click()
    expect(page.locator("#gallery-image-grid .tile-button")).to_have_count(3)


def test_pictures_are_picked_packed_and_put_back(open_page: OpenPage) -> None:
    page = open_page()
    go_to(page, "Gallery")
    go_to(page, "Pictures")
    tiles = page.locator("#gallery-image-grid .tile-button")
    expect(tiles).to_have_count(3)
    page.get_by_role("button", name="Select", exact=True).click()
    tiles.nth(0).click()
    tiles.nth(2).click()
    expect(page.locator(".selection .picked")).to_have_text("2 selected")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download as ZIP").click()
    assert download.value.suggested_filename == "pictures.zip"
    page.locator("[data-pick=delete]").click()
    expect(tiles).to_have_count(1)
    expect(page.locator("[data-testid=toast-body]")).to_have_count(0)

    go_to(page, "Trash")
    rows = page.locator("#gallery-trash li")
    expect(rows).to_have_count(2)
    rows.first.get_by_role("button", name=re.compile("back")).click()
    expect(rows).to_have_count(1)
    for_good = rows.first.get_by_role("button", name=re.compile("for good"))
    for_good.click()
    expect(rows).to_have_count(1)
    for_good.click()
    expect(rows).to_have_count(0)
    go_to(page, "Pictures")
    expect(tiles).to_have_count(2)


def test_the_address_names_what_is_looked_at(open_page: OpenPage, app: App) -> None:
    page = open_page()
    page.goto(f"{app.address}?tab=gallery&lora=many-05", wait_until="domcontentloaded")
    title, facts = page.locator("#gallery-lora-details h2"), page.locator("details[data-section=metadata]")
    expect(title).to_have_text("Many 5")
    facts.locator("summary").click()
    expect(facts).to_contain_text("ss_network_dim")
    # Which LoRAs are the first sixty depends on the second in which each was written.
    other = page.locator("#gallery-lora-grid .tile-button:not([data-slug=many-05])").first
    slug = other.get_attribute("data-slug")
    other.click()
    expect(facts.locator(f"[data-lora={slug}]")).to_contain_text(f"Many {int(str(slug)[-2:])}")
    expect(page).to_have_url(re.compile(f"lora={slug}"))
    page.go_back()
    expect(title).to_have_text("Many 5")

    page.locator("#gallery-lora-use").click()
    expect(page).to_have_url(re.compile("tab=generate.*loras=many-05"))
    elsewhere = page.context.browser.new_page() if page.context.browser else page
    elsewhere.goto(page.url, wait_until="domcontentloaded")
    expect(elsewhere.locator("#generate-loras")).to_contain_text("Many 5", timeout=PATIENCE)
    elsewhere.wait_for_function(RESTORED, timeout=PATIENCE)
    elsewhere.goto(f"{app.address}?tab=gallery", wait_until="domcontentloaded")
    go_to(elsewhere, "Pictures")
    elsewhere.locator("#gallery-image-grid .tile-button").first.click(timeout=PATIENCE)
    expect(elsewhere).to_have_url(re.compile("image=[0-9a-f]{64}"), timeout=PATIENCE)
    elsewhere.reload(wait_until="domcontentloaded")
    expect(elsewhere.locator("#gallery-image-details .infotext")).to_be_visible(timeout=PATIENCE)
    elsewhere.close()


SLOW = """(path) => {
  const send = window.fetch;
  window.fetch = async (...asked) => {
    const isSlow = String(asked[0]?.url || asked[0]).includes(path);
    if (isSlow) await new Promise((next) => setTimeout(next, 3000));
    return send(...asked);
  };
}"""
"""Has what is sent to a path wait for three seconds."""
EVENTS, LOOKS = "gradio_api/queue/join", "gradio_api/run"
"""Paths of clicks, and of what makes the page follow them."""


def test_the_last_of_two_quick_clicks_counts(open_page: OpenPage) -> None:
    page = open_page()
    go_to(page, "Gallery")
    tiles = page.locator("#gallery-lora-grid .tile-button")
    expect(tiles.nth(1)).to_be_visible()
    first, last = (tiles.nth(place).get_attribute("data-slug") for place in (0, 1))
    page.evaluate(SLOW, EVENTS)
    tiles.nth(0).click()
    tiles.nth(1).click()
    facts = page.locator("details[data-section=metadata]")
    expect(facts.locator(f"[data-lora={last}]")).to_have_count(1)
    expect(facts.locator(f"[data-lora={first}]")).to_have_count(0)


def test_on_a_phone_details_are_a_sheet(app: App, browser: Browser) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844})
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    page.goto(f"{app.address}?tab=gallery", wait_until="domcontentloaded")
    expect(tab(page, "Gallery")).to_have_attribute("aria-selected", "true")
    page.evaluate(SLOW, LOOKS)
    page.locator("#gallery-lora-grid .tile-button").nth(20).click()
    side, close = page.locator("#gallery-lora-side"), page.get_by_role("button", name="Close the details")
    expect(close).to_be_focused()
    assert side.evaluate(IN_SIGHT)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    expect(page).to_have_url(re.compile("lora="))
    page.keyboard.press("Escape")
    expect(side.locator(".facts")).to_have_count(0)
    expect(page.locator("#gallery-lora-grid .tile-button").nth(20)).to_be_focused()
    expect(page).not_to_have_url(re.compile("lora="))  # the address follows a moment later
    page.keyboard.press("Enter")
    expect(close).to_be_focused()
    expect(page).to_have_url(re.compile("lora="))
    page.go_back()
    expect(side.locator(".facts")).to_have_count(0)
    context.close()


def asked_in(page: Page, seconds: float) -> list[str]:
    """The paths that a page asks for meanwhile, without query."""
    paths: list[str] = []
    page.on("request", lambda request: paths.append(request.url.rsplit("/", 1)[-1].partition("?")[0]))
    page.wait_for_timeout(1000 * seconds)
    return paths


def test_a_page_that_only_looks_asks_for_its_revision_alone(open_page: OpenPage) -> None:
    page = open_page()
    page.wait_for_timeout(5000)  # the looks of opening
    asked = asked_in(page, 5)
    assert set(asked) == {"revision"}
    assert len(asked) <= 6
