"""What a page of somebody else can do to the studio in its owner's browser: nothing.

It comes from a name of this machine that isn't the studio's (browsers let every *.localhost point here, as an
attacker's own name may), from another port, and from the studio's own port under a foreign name.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Request, Response, expect

from tests.support.page import PATIENCE, tab
from tests.support.serving import App, running_app

USER, PASSWORD = "studio", "correct horse"
PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJ"
    "RU5ErkJggg=="
)
INSIDE = ("upload_dataset", '"components"', '"data"', "event_id", "Drop File Here", "success")
"""What only somebody sees who has come in."""
REFUSED = re.compile(r"4[0-9][0-9]|This studio does not answer|.*Not authenticated")
"""What a page reads that is of one origin with the studio, for the browser."""
FRAMES = 4
"""Three forms and the page itself."""

ATTACK, FORMS = (Path(__file__).with_name(f"foreign_{name}.js").read_text() for name in ("attack", "forms"))


class _Foreign(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>foreign</title><body>")

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def foreign_port() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Foreign) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@pytest.fixture(scope="module", params=["", PASSWORD], ids=["open", "password"])
def guarded_app(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    with running_app(tmp_path_factory.mktemp("app"), LORA_STUDIO_PASSWORD=request.param) as running:
        yield running


@pytest.fixture(scope="module")
def opened_browser(guarded_app: App, browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context()
    context.set_default_timeout(PATIENCE)
    for host in ("127.0.0.1", "localhost"):
        page = context.new_page()
        page.goto(address_of(guarded_app, host), wait_until="domcontentloaded")
        if page.locator("input[type=password]").count():
            page.get_by_label("User name").fill(USER)
            page.get_by_label("Password").fill(PASSWORD)
            page.get_by_role("button", name="Log in").click()
        expect(tab(page, "Train")).to_be_visible()
        page.close()
    yield context
    context.close()


@pytest.fixture
def owner(opened_browser: BrowserContext, guarded_app: App) -> BrowserContext:
    """A browser in which the studio is open, whatever the pages before have tried."""
    for page in opened_browser.pages:
        page.close()
    for host in ("127.0.0.1", "localhost"):
        assert opened_browser.request.get(f"{address_of(guarded_app, host)}config").ok
    return opened_browser


def address_of(app: App, host: str) -> str:
    return f"http://{host}:{urlsplit(app.address).port}/"


def kept(app: App) -> dict[str, Any]:
    """What a stranger could have left: files and rows, not answers."""
    folders = ("uploads", "datasets", "jobs", "images", "inputs", "trash")
    files = {name: sorted(map(str, (app.home / name).rglob("*"))) for name in folders}
    with httpx.Client(base_url=app.address, timeout=PATIENCE / 1000, trust_env=False) as http:
        http.post("login", data={"username": USER, "password": PASSWORD})
        rows = {
            name: http.post(f"gradio_api/run/{name}", json={"data": []}).json()["data"]
            for name in ("list_trainings", "list_datasets", "list_loras", "list_images", "list_generations")
        }
    return {**files, **rows}


def attack(page: Page, target: str, dataset: str) -> list[Any]:
    """All that a page can try; what of it was seen by the page, or answered by the studio with success."""
    answered: list[Any] = []
    framed: list[str] = []

    def note(response: Response) -> None:
        if response.url.startswith(target) and response.status < 400:
            answered.append([response.url.removeprefix(target), f"{response.status}"])

    def ended(request: Request) -> None:
        if request.is_navigation_request():
            framed.append(request.url)

    page.on("response", note)
    page.on("requestfinished", ended)
    page.on("requestfailed", ended)
    given = {"target": target, "body": json.dumps({"data": [dataset, "Evil", "style"]}), "pixel": PIXEL}
    found = page.evaluate(ATTACK, given)
    page.evaluate(FORMS, given)
    deadline = time.monotonic() + PATIENCE / 1000
    while len(framed) < FRAMES:
        assert time.monotonic() < deadline, framed
        page.wait_for_timeout(100)
    return [*found, *answered]


@pytest.mark.parametrize("host", ["x.localhost", "localhost", "127.0.0.1"])
@pytest.mark.parametrize("target", ["127.0.0.1", "localhost"])
def test_a_foreign_page_reads_nothing_and_starts_nothing(
    guarded_app: App, owner: BrowserContext, foreign_port: int, host: str, target: str
) -> None:
    before = kept(guarded_app)
    page = owner.new_page()
    page.goto(f"http://{host}:{foreign_port}/")
    assert attack(page, address_of(guarded_app, target), "0" * 12) == []
    assert kept(guarded_app) == before


def test_a_name_bound_anew_reads_nothing_and_starts_nothing(guarded_app: App, owner: BrowserContext) -> None:
    """The attacker's page first, under a name that now points to the studio: one origin to a browser."""
    before = kept(guarded_app)
    address = address_of(guarded_app, "x.localhost")
    page = owner.new_page()
    html = "<!doctype html><title>foreign</title><body>"
    page.route(f"{address}evil", lambda route: route.fulfill(body=html, content_type="text/html"))
    page.goto(f"{address}evil")
    assert page.evaluate("document.title") == "foreign"
    found = attack(page, address, "0" * 12)
    public = {"", "read ", "favicon.ico", "img favicon.ico"}  # with a password: the question for it
    assert [one for one in found if one[0] not in public and not REFUSED.match(one[1])] == []
    assert [one for one in found if any(word in one[1] for word in INSIDE)] == []
    assert kept(guarded_app) == before


def test_a_link_from_elsewhere_opens_the_studio(
    guarded_app: App, owner: BrowserContext, foreign_port: int
) -> None:
    page = owner.new_page()
    page.goto(f"http://x.localhost:{foreign_port}/")
    target = address_of(guarded_app, "127.0.0.1")
    page.evaluate("target => { location.href = target; }", target)
    page.wait_for_url(target)
    expect(tab(page, "Train")).to_be_visible()


def test_the_question_for_the_password(guarded_app: App, browser: Browser) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(guarded_app.address)
    if page.locator("input[type=password]").count():
        page.get_by_label("User name").fill(USER)
        page.get_by_label("Password").fill("wrong")
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_contain_text("wrong")
        page.get_by_label("User name").fill(USER)
        page.get_by_label("Password").fill(PASSWORD)
        page.keyboard.press("Enter")
    expect(tab(page, "Train")).to_be_visible()
    assert page.evaluate("document.cookie") == ""
    context.close()
