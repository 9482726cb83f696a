"""The Upload tab in a browser: its pictures, its examples, the sets of pictures from before."""

from __future__ import annotations

import re
from pathlib import Path

from PIL import Image
from playwright.sync_api import Locator, Page, Route, expect

from tests.support.page import OpenPage, begin_anew, box, go_to, tab, upload, write
from tests.support.phone_folder import FILM
from tests.support.serving import CHECKOUT

INK = sorted((CHECKOUT / "examples" / "ink").glob("*.png"))[:4]
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
    for name in ("Help", "API"):
        expect(page.get_by_role("button", name=name, exact=True)).to_be_visible()
    for name in ("language", "theme"):
        expect(page.locator(f"#page-footer [data-look={name}]")).to_be_visible()
    upload(page, INK)
    lies_above(page, "#upload-train", "#picture-count")


def captions(page: Page) -> Locator:
    return page.get_by_role("textbox", name=re.compile("^Caption of"))


def test_pictures_are_added_and_removed_where_they_are_seen(open_page: OpenPage, tmp_path: Path) -> None:
    small = tmp_path / "small.png"
    Image.new("RGBA", (32, 32), (0, 0, 0, 0)).save(small)
    page = open_page()
    begin_anew(page)
    upload(page, INK)
    expect(page.locator("#picture-count")).to_have_text("4 pictures, 0 with a caption")
    caption = page.get_by_role("textbox", name=f"Caption of {INK[1].name}")
    caption.fill("a fox")
    with page.expect_response(lambda response: "queue/join" in response.url):
        caption.blur()
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Add more", exact=True).click()
    chooser.value.set_files(small)
    expect(page.locator("#picture-count")).to_have_text("5 pictures, 1 with a caption")
    expect(page.locator("#upload-pictures .tile", has=page.get_by_alt_text("small.png"))).to_contain_text(
        "was transparent"
    )
    remove = page.get_by_role("button", name=f"Remove {INK[0].name}", exact=True)
    remove.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#picture-count")).to_have_text("4 pictures, 1 with a caption")
    expect(page.get_by_role("button", name=f"Remove {INK[1].name}", exact=True)).to_be_focused()
    page.get_by_role("button", name="Undo", exact=True).click()
    expect(captions(page)).to_have_count(5)
    expect(page.get_by_role("textbox", name=f"Caption of {INK[1].name}")).to_have_value("a fox")
    page.get_by_role("button", name="Remove all", exact=True).click()
    expect(page.locator("#picture-count")).to_have_count(0)
    expect(page.locator("#summary")).to_contain_text("Still needed: pictures")


def test_pictures_are_turned_and_cropped_with_the_keyboard_and_undone(open_page: OpenPage) -> None:
    page = open_page()
    begin_anew(page)
    upload(page, INK[:2])
    name, edits = INK[0].name, page.locator("#upload-edits")
    turn = page.get_by_role("button", name=f"Rotate {name}", exact=True)
    page.get_by_role("button", name=f"Remove {name}", exact=True).focus()
    page.keyboard.press("Tab")
    expect(page.get_by_role("textbox", name=f"Caption of {name}")).to_be_focused()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("ArrowRight")
    expect(turn).to_be_focused()
    page.keyboard.press("Enter")
    expect(edits).to_contain_text(f"“{name}” was rotated.")
    expect(turn).to_be_focused()
    page.get_by_role("button", name=f"Crop {name}", exact=True).press("Enter")
    crop = page.get_by_role("dialog", name="Crop")
    crop.get_by_label("Right").fill("5000")
    crop.get_by_label("Bottom").fill("100")
    page.evaluate(
        "document.querySelector('#upload-buckets').append('')"
    )  # as the buckets do, when they come late
    expect(crop.get_by_label("Bottom")).to_have_value("100")
    crop.get_by_label("Bottom").press("Tab")
    size = crop.locator("output").inner_text()
    assert size.endswith(" × 100")
    assert not size.startswith("5000")
    crop.get_by_role("button", name="Crop", exact=True).press("Enter")
    expect(edits).to_contain_text(f"“{name}” was cropped.")
    caption = page.get_by_role("textbox", name=f"Caption of {name}")
    caption.fill("a fox")
    caption.blur()
    expect(edits).to_contain_text(f"The caption of “{name}” was changed.")
    for words in ("was cropped.", "was rotated."):
        edits.get_by_role("button", name="Undo").click()
        expect(edits).to_contain_text(words)
    expect(caption).to_have_value("")
    edits.get_by_role("button", name="Undo").click()
    expect(edits.get_by_role("button", name="Redo")).to_be_focused()
    expect(edits.get_by_role("button", name="Undo")).to_have_count(0)


def test_a_setting_is_found_and_reached(open_page: OpenPage) -> None:
    page = open_page()
    page.locator("#upload-settings > button").click()
    box(page, "train-search").fill("mirror pictures")
    page.locator("#train-found [data-setting=flip_aug]").click()
    expect(page.locator("#train-flip_aug input")).to_be_focused()
    page.get_by_role("button", name="Change the word").click()
    expect(box(page, "upload-trigger")).to_be_focused()


def kind(page: Page) -> str:
    return page.locator("#upload-kind label.selected").inner_text().splitlines()[0]


def test_examples_leave_what_was_typed(open_page: OpenPage) -> None:
    page = open_page()
    begin_anew(page)
    page.locator("#upload-example-ink").click()
    expect(box(page, "upload-name")).to_have_value("Ink drawings")
    assert kind(page) == "Style"
    page.get_by_role("button", name="Remove all", exact=True).click()
    page.locator("#upload-example-alien").click()
    expect(box(page, "upload-name")).to_have_value("Alien")
    assert kind(page) == "Object"
    write(page, "upload-name", "Our own")
    page.get_by_role("button", name="Remove all", exact=True).click()
    page.locator("#upload-example-ink").click()
    expect(page.locator("#upload-kind label.selected")).to_contain_text("Style")
    expect(box(page, "upload-name")).to_have_value("Our own")


def test_an_example_that_comes_late_leaves_what_was_typed_since(open_page: OpenPage) -> None:
    page = open_page()
    begin_anew(page)
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
    begin_anew(page)
    upload(page, INK)
    expect(page.locator("#picture-count")).to_be_visible()
    page.reload(wait_until="domcontentloaded")
    expect(tab(page, "Train")).to_be_visible()
    page.get_by_role("button", name="Remove all", exact=True).click()
    earlier = page.locator("#upload-earlier input")
    earlier.click()
    page.keyboard.press("Escape")
    earlier.fill("no such set")
    page.keyboard.press("Escape")
    earlier.blur()
    go_to(page, "Train")
    go_to(page, "Upload")
    expect(page.locator("#picture-count")).to_have_count(0)
    expect(page.get_by_test_id("toast-body")).to_have_count(0)


def test_what_can_not_be_uploaded_is_named_and_the_pictures_are_taken(
    open_page: OpenPage, tmp_path: Path
) -> None:
    (film := tmp_path / "IMG_2042.MOV").write_bytes(FILM)
    page = open_page()
    begin_anew(page)
    upload(page, [*INK[:2], film])
    expect(page.get_by_test_id("toast-body")).to_contain_text(
        "Left out, since no picture can be read from them: IMG_2042.MOV."
    )
    expect(page.locator("#picture-count")).to_contain_text("2 pictures")
