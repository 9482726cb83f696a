"""Two trainings side by side: chosen in the rail, kept by the address, ended by Back and by its button."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from tests.support.page import OpenPage, begin_anew, fill_training, go_to, pictures_are_drawn


def train(page: Page, name: str) -> None:
    page.locator("#upload-example-ink").click()
    pictures_are_drawn(page, "#upload-pictures .tile", 10)
    fill_training(page, kind="Style", name=name, steps=2)
    page.locator("#upload-train").click()
    expect(page.locator("#train-card h2")).to_have_text(name)
    expect(page.locator("#train-card .pill")).to_have_text("finished")


def test_two_trainings_are_compared_and_the_address_keeps_it(open_page: OpenPage) -> None:
    page = open_page()
    train(page, "First one")
    go_to(page, "Upload")
    begin_anew(page)
    train(page, "Second one")
    page.get_by_role("button", name=re.compile("Compare First one with")).click()
    both = page.locator(".comparison .both h3")
    expect(both).to_have_text(["Second one", "First one"])
    expect(page.locator("#train-card")).to_be_hidden()
    expect(page).to_have_url(re.compile(r"training=\w+&with=\w+"))
    page.reload(wait_until="domcontentloaded")
    expect(both).to_have_text(["Second one", "First one"])
    page.locator(".comparison [data-action=close]").click()
    expect(page.locator("#train-card")).to_be_visible()
    expect(page).not_to_have_url(re.compile("with="))
    page.go_back()
    expect(both).to_have_text(["Second one", "First one"])
    page.get_by_role("button", name="Show it alone: First one").click()
    expect(page.locator("#train-card h2")).to_have_text("First one")
    expect(both).to_have_count(0)
