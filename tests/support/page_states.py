"""The states of the page, one after the other: each tab empty and full, with its drawers open, its errors
said, a training that runs, waits, rests or has ended, a generation, and what lies over the page."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from playwright.sync_api import Page, expect

from lora_studio.errors import ConfigError
from lora_studio.records import JobStatus
from lora_studio.ui.serving.login_form import Entry, login_page
from tests.support.furnished_home import ALIEN, INK, NAME, PASSWORD, FurnishedHome
from tests.support.page import box, choose_mode, go_to, open_settings, tab, upload, write

States = Iterator[str]
"""Names of states, each as soon as the page is in it."""
KOHYA = b'network_dim = 16\nlearning_rate = 2e-4\nxformers = true\nnetwork_module = "networks.other"\n'
"""Settings of sd-scripts, some of which are taken otherwise here."""
UNFOLD = "(all) => { for (const one of document.querySelectorAll(all)) one.open = true; }"
SECTIONS = 1500
"""Milliseconds until sections of details that were opened are read."""


def empty_states(page: Page) -> States:
    """Over a home that has nothing yet."""
    yield "upload-empty"
    go_to(page, "Train")
    yield "train-empty"
    go_to(page, "Gallery")
    yield "gallery-empty"
    go_to(page, "Pictures")
    yield "gallery-pictures-empty"
    go_to(page, "Trash")
    yield "gallery-trash-empty"
    go_to(page, "Generate")
    yield "generate-empty"
    page.get_by_role("button", name="Help", exact=True).click()
    expect(page.locator("#help")).to_be_visible()
    yield "help"
    page.keyboard.press("Escape")


def upload_states(page: Page, home: FurnishedHome) -> States:
    """The Upload tab, from its errors to pictures, settings and a plan."""
    go_to(page, "Upload")
    if (remove := page.get_by_role("button", name="Remove all", exact=True)).is_visible():
        remove.click()
    expect(page.locator("#picture-count")).to_have_count(0)
    page.locator("#upload-train").click()
    yield "upload-errors"
    home.begin_reading()
    upload(page, [*ALIEN, *INK])
    expect(page.locator("#upload-stop")).to_be_visible()
    yield "upload-reading"
    page.locator("#upload-stop").click()
    expect(page.locator("#upload-notices")).to_contain_text("Reading was stopped")
    upload(page, ALIEN)
    expect(page.locator("#picture-count")).to_contain_text("10 pictures")
    page.locator("#upload-kind label").nth(3).click()
    write(page, "upload-name", "Mimi")
    expect(page.locator("#summary")).to_contain_text("Mimi")
    yield "upload-pictures"
    expect(page.locator("#upload-check [data-state=finished]")).to_be_visible()
    page.locator("#upload-check .check-findings > summary").click()
    expect(page.locator("#upload-check .check-list")).to_be_visible()
    page.locator("#upload-check .check-list [data-key^='why ']").first.click()
    yield "upload-check"
    page.locator("#upload-check .check-findings > summary").click()
    page.locator("#upload-captions > button").click()
    expect(page.locator("#upload-captions [data-testid=accordion-content]")).to_be_visible()
    yield "upload-captions"
    page.locator("#upload-captions > button").click()
    page.locator("#train-plan-go").click()
    expect(page.locator("#train-plan .measured")).to_be_visible()
    yield "upload-plan"
    page.locator("#upload-settings > button").click()
    expect(box(page, "train-search")).to_be_visible()
    yield "upload-settings"
    box(page, "train-search").fill("learning rate")
    expect(page.locator("#train-found [data-setting]").first).to_be_visible()
    yield "upload-settings-search"
    box(page, "train-search").fill("")
    page.locator("#train-kept > button").click()
    with page.expect_file_chooser() as chooser:
        page.locator("#train-kept-open").click()
    chooser.value.set_files({"name": "kohya.toml", "mimeType": "text/plain", "buffer": KOHYA})
    expect(page.locator("#train-kept-report .settings-report")).to_be_visible()
    yield "upload-settings-file"
    page.locator("#upload-settings > button").click()
    broken = {"name": "broken.png", "mimeType": "image/png", "buffer": b"no picture"}
    page.locator("#upload-files input[type=file]").set_input_files(broken)
    expect(page.locator("#upload-notices")).to_contain_text("broken.png")
    yield "upload-unusable"


def train_states(page: Page) -> States:
    """The Train tab with each training that has ended or rests."""
    go_to(page, "Train")
    for status in (JobStatus.FAILED, JobStatus.INTERRUPTED, JobStatus.STOPPED, JobStatus.PAUSED):
        page.locator("#train-rail button.row", has_text=f"Mimi, {status}").click()
        expect(page.locator("#train-card")).to_contain_text(f"Mimi, {status}")
        yield f"train-{status}"
    page.locator("#train-history button.row").first.click()
    expect(page.locator("#train-card .pill")).to_have_text("finished")
    expect(page.locator("#train-board img").first).to_be_visible()
    yield "train-finished"
    go_to(page, "Numbers and log")
    expect(page.locator("#train-chart [data-losses] .smooth")).to_be_visible()
    yield "train-numbers"
    go_to(page, "Previews")
    page.locator("#train-board details.vote > summary").click()
    expect(page.locator("#train-board fieldset").first).to_be_visible()
    yield "train-vote"
    page.locator("#train-history input[data-pick]").first.check()
    page.get_by_role("button", name="Compare Mimi, stopped with").click()
    expect(page.locator(".comparison .both")).to_be_visible()
    yield "train-comparison"
    page.locator(".comparison [data-action=close]").click()


def gallery_states(page: Page) -> States:
    """The Gallery with LoRAs, pictures and a trash."""
    go_to(page, "Gallery")
    go_to(page, "LoRAs")
    tiles = page.locator("#gallery-lora-grid .tile-button")
    expect(tiles).to_have_count(3)
    yield "gallery"
    tiles.filter(has=page.get_by_text("Mimi", exact=True)).click()
    expect(page.locator("#gallery-lora-details .facts")).to_be_visible()
    yield "gallery-lora"
    page.evaluate(UNFOLD, "#gallery-lora-sections details[data-section]")
    page.wait_for_timeout(SECTIONS)
    page.locator("#gallery-lora-sections").scroll_into_view_if_needed()
    yield "gallery-lora-sections"
    page.locator("#gallery-lora-description > button").click()
    expect(box(page, "gallery-lora-note")).to_be_visible()
    yield "gallery-lora-description"
    close_details(page)
    box(page, "gallery-lora-search").fill("nothing like it")
    expect(page.locator("#gallery-lora-grid")).to_contain_text("No LoRA is found")
    yield "gallery-nothing-found"
    page.get_by_role("button", name="Show all LoRAs").click()
    go_to(page, "Pictures")
    pictures = page.locator("#gallery-image-grid .tile-button")
    expect(pictures).to_have_count(8)
    page.get_by_role("button", name="Select", exact=True).click()
    pictures.nth(1).click()
    yield "gallery-selection"
    page.get_by_role("button", name="Done selecting").click()
    pictures.first.click()
    expect(page.locator("#gallery-image-details .facts")).to_be_visible()
    yield "gallery-picture"
    close_details(page)
    go_to(page, "Trash")
    expect(page.locator("#gallery-trash li")).to_have_count(2)
    yield "gallery-trash"


def close_details(page: Page) -> None:
    """Close the sheet that details are on a phone, which lies over the tabs."""
    close = page.locator(".sheet-close:visible")
    if close.count():
        close.click()
        expect(close).to_have_count(0)


def generate_states(page: Page, home: FurnishedHome) -> States:
    """Generate in its modes, with its drawer, while it draws, and with what it brings."""
    go_to(page, "Generate")
    write(page, "generate-prompt", "a zwmm creature on the beach")
    page.locator("#generate-loras input").click()
    page.get_by_role("option", name="Mimi", exact=False).first.click()
    page.keyboard.press("Escape")
    expect(page.locator("#generate-weight-0")).to_contain_text("Weight of Mimi")
    yield "generate-lora"
    open_settings(page)
    expect(page.get_by_role("heading", name="Finer settings")).to_be_visible()
    yield "generate-settings"
    open_settings(page)
    choose_mode(page, "Redraw")
    page.locator("#generate-source-file input[type=file]").set_input_files(ALIEN[0])
    expect(page.locator("#generate-canvas canvas")).to_be_visible()
    yield "generate-redraw"
    page.get_by_role("button", name="Remove the picture").click()
    choose_mode(page, "Grid")
    write(page, "generate-grid-x-values", "1, 2")
    page.keyboard.press("Escape")  # the menu of the next axis
    yield "generate-grid"
    choose_mode(page, "Draw")
    home.begin_drawing()
    expect(page.locator("#generate-progress [role=progressbar]")).to_be_visible()
    yield "generate-drawing"
    home.end_drawing()
    expect(page.locator("#generate-results .tile")).to_have_count(4)
    yield "generate-results"
    home.end_drawing(beside=True)
    expect(page.locator("#generate-results .slider").first).to_be_visible()
    yield "generate-compared"
    home.end_drawing(error=ConfigError("“Mimi” was made for SDXL.", "Choose another base model."))
    expect(page.locator("#generate-results [role=alert]")).to_be_visible()
    yield "generate-failed"
    write(page, "generate-count", "99")
    page.locator("#generate-go").click()
    yield "generate-errors"
    write(page, "generate-count", "1")


def running_states(page: Page, home: FurnishedHome) -> States:
    """While a training runs and others wait."""
    home.train(JobStatus.RUNNING, name="Running one")
    for name in ("First in line", "Second in line"):
        home.train(JobStatus.QUEUED, name=name)
    expect(page.locator("#strip-stop")).to_be_visible()
    go_to(page, "Train")
    page.locator("#train-line button.row").filter(has_text="Running one").click()
    expect(page.locator("#train-card .pill")).to_have_text("running")
    yield "train-running"
    page.locator("#train-line button.row").filter(has_text="First in line").click()
    expect(page.locator("#train-card .pill")).to_have_text("queued")
    yield "train-queued"
    go_to(page, "Upload")
    yield "upload-running"
    go_to(page, "Generate")
    yield "generate-running"


def last_states(page: Page, home: FurnishedHome) -> States:
    """The check-up, people, a server that does not answer, and the pages in front of the page."""
    go_to(page, "Studio")
    expect(page.locator("#studio-storage table, #studio-storage li").first).to_be_visible()
    expect(page.locator("#studio-report")).not_to_contain_text("Looking")
    yield "studio"
    with home.open_to_people() as address:
        page.goto(address, wait_until="domcontentloaded")
        page.get_by_label("User name").fill(NAME)
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Log in").click()
        page.locator("#people > button").click()
        expect(page.locator("#people-invite")).to_be_visible()
        yield "people"
        page.goto(home.address, wait_until="domcontentloaded")
        expect(page.locator("#strip-stop")).to_be_visible()
    page.context.set_offline(True)
    expect(page.locator("#unanswered")).to_be_visible()
    yield "unanswered"
    page.goto("about:blank")  # what the page does once it is answered would replace what is shown next
    page.context.set_offline(False)
    for name, entry in (
        ("login", Entry()),
        ("login-refused", Entry(said="User name or password is wrong.")),
        ("login-invited", Entry(invite="token")),
    ):
        page.set_content(bytes(login_page("login", entry).body).decode())
        yield name


def all_states(page: Page, home: FurnishedHome) -> States:
    """All of them, over a home that is empty at first and is filled on the way."""
    expect(tab(page, "Train")).to_be_visible()
    yield from empty_states(page)
    home.furnish()
    expect(page.locator("#gallery-lora-grid .tile-button")).to_have_count(3)
    parts: tuple[Callable[[], States], ...] = (
        lambda: upload_states(page, home),
        lambda: train_states(page),
        lambda: gallery_states(page),
        lambda: generate_states(page, home),
        lambda: running_states(page, home),
        lambda: last_states(page, home),
    )
    for part in parts:
        yield from part()
