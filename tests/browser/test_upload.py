"""The Upload tab in a browser: its file list, its examples, the sets of pictures from before."""

from __future__ import annotations

from playwright.sync_api import Page, Route, expect

from tests.support.page import OpenPage, box, go_to, tab, upload, write
from tests.support.serving import CHECKOUT

INK = sorted((CHECKOUT / "examples" / "ink").glob("*.png"))[:4]
OVERLAPS = """() => {
  const boxes = (selector) => [...document.querySelectorAll(`#upload-files ${selector}`)]
    .map((one) => one.getBoundingClientRect());
  const meet = (a, b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
  const over = boxes('.icon-button-wrapper > button'), rows = boxes('tr.file > td');
  return {over: over.length, rows: rows.length, met: over.some((a) => rows.some((b) => meet(a, b)))};
}"""
LAID_OUT = '{"over":2,"rows":12,"met":false}'


LIES_ABOVE = """([above, below]) => {
  const [upper, lower] = [above, below].map((one) => document.querySelector(one)?.getBoundingClientRect());
  return upper?.height > 0 && lower?.height > 0 && upper.top < lower.top;
}"""


def lies_above(page: Page, above: str, below: str) -> None:
    """Both are seen in this order, once the page is laid out."""
    page.wait_for_function(LIES_ABOVE, arg=[above, below])


def test_on_a_phone_the_hint_stays_at_the_drop_zone_and_pictures_come_last(open_page: OpenPage) -> None:
    """First in this file: of sets from before, the newest would be shown in the place of the hint."""
    page = open_page()
    page.set_viewport_size({"width": 390, "height": 844})
    lies_above(page, "#upload-pictures .quiet", "#upload-kind")
    for name in ("Help", "API", "Settings"):
        expect(page.get_by_role("button", name=name, exact=True)).to_be_visible()
    upload(page, INK)
    lies_above(page, "#upload-train", "#picture-count")


def test_buttons_of_the_file_list_have_words_and_cover_nothing(open_page: OpenPage) -> None:
    page = open_page()
    upload(page, INK)
    expect(page.locator("#picture-count")).to_have_text("4 pictures, 0 with a caption")
    for width in (1440, 390):
        page.set_viewport_size({"width": width, "height": 900})
        page.wait_for_function(f"() => JSON.stringify(({OVERLAPS})()) === '{LAID_OUT}'")
    expect(page.get_by_role("button", name=f"Remove {INK[0].name}", exact=True)).to_be_visible()
    expect(page.get_by_role("button", name="Add more pictures", exact=True)).to_be_visible()
    page.get_by_role("button", name="Remove all pictures", exact=True).click()
    expect(page.locator("#picture-count")).to_have_count(0)


def kind(page: Page) -> str:
    return page.locator("#upload-kind label.selected").inner_text().splitlines()[0]


def test_examples_leave_what_was_typed(open_page: OpenPage) -> None:
    page = open_page()
    page.locator("#upload-example-ink").click()
    expect(box(page, "upload-name")).to_have_value("Ink drawings")
    assert kind(page) == "Style"
    page.locator("#upload-example-alien").click()
    expect(box(page, "upload-name")).to_have_value("Alien")
    assert kind(page) == "Object"
    write(page, "upload-name", "Our own")
    page.locator("#upload-example-ink").click()
    expect(page.locator("#upload-kind label.selected")).to_contain_text("Style")
    expect(box(page, "upload-name")).to_have_value("Our own")


def test_an_example_that_comes_late_leaves_what_was_typed_since(open_page: OpenPage) -> None:
    page = open_page()
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    page.route("**/gradio_api/queue/data*", hold)
    with page.expect_request("**/gradio_api/queue/data*"):
        page.locator("#upload-example-alien").click()
    write(page, "upload-name", "Typed since")
    page.locator("#upload-kind label").nth(0).click()
    page.unroute("**/gradio_api/queue/data*")  # lets go of what was held
    expect(page.locator("#picture-count")).to_be_visible()
    expect(page.locator("#upload-plan")).to_contain_text("pictures")
    expect(box(page, "upload-name")).to_have_value("Typed since")
    expect(page.locator("#upload-kind label.selected")).to_contain_text("Person")


def test_escape_among_earlier_pictures_changes_nothing(open_page: OpenPage) -> None:
    page = open_page()
    upload(page, INK)
    expect(page.locator("#picture-count")).to_be_visible()
    page.reload(wait_until="domcontentloaded")
    expect(tab(page, "Train")).to_be_visible()
    page.locator("#upload-more > button").click()
    earlier = page.locator("#upload-earlier input")
    earlier.click()
    page.keyboard.press("Escape")
    earlier.fill("no such set")
    page.keyboard.press("Escape")
    earlier.blur()
    go_to(page, "Train")
    go_to(page, "Upload")
    expect(page.locator("#picture-count")).to_be_visible()
    expect(page.get_by_test_id("toast-body")).to_have_count(0)
