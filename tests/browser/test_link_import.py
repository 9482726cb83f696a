"""A LoRA by its link, in a page whose internet is a server of the test."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import expect

from lora_studio.studio import open_studio
from lora_studio.ui.serving.login import Access
from lora_studio.ui.serving.server import open_page as serve
from tests.support.file_server import Answer, FileServer, serve_files
from tests.support.page import OpenPage, box, go_to
from tests.support.serving import free_port
from tests.support.strange_loras import strange_lora


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FileServer]:
    body = strange_lora(tmp_path_factory.mktemp("files") / "ink.safetensors").read_bytes()
    with serve_files() as server:
        server.answers["/ink.safetensors"] = Answer(body=(body,))
        server.answers["/ada/ink/resolve/main/v2/ink.safetensors"] = Answer(body=(body,))
        listed = [{"rfilename": "other.safetensors"}, {"rfilename": "v2/ink.safetensors", "size": 1500}]
        listing = json.dumps({"siblings": listed}).encode().ljust(80)
        server.answers["/api/models/ada/ink?blobs=true"] = Answer(body=(listing,))
        server.answers["/page"] = Answer(body=(b"<html>" + b" " * 100,))
        server.answers["/slow"] = Answer(body=(body[:100], body[100:]), hold=threading.Event())
        yield server


@dataclass
class Served:
    address: str


@pytest.fixture(scope="module")
def app(files: FileServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    top = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LORA_STUDIO_HOME", str(top / "home"))
        patch.setenv("LORA_STUDIO_MODELS", str(top / "models"))
        patch.setenv("GRADIO_TEMP_DIR", str(Path(top / "home" / "uploads")))
        with closing(open_studio()) as studio:
            reached = replace(studio, links=replace(studio.links, web=files.web(), hub=files.url("")))
            opened = serve(reached, host="127.0.0.1", port=free_port(), access=Access())
            yield Served(opened.address)
            opened.close()


def test_a_lora_comes_by_its_link(open_page: OpenPage, files: FileServer) -> None:
    page = open_page()
    go_to(page, "Gallery")
    box(page, "gallery-lora-link").fill(files.url("/page"))
    page.locator("#gallery-lora-link-go").click()
    expect(page.get_by_text("leads to a web page")).to_be_visible()
    box(page, "gallery-lora-link").fill(files.url("/slow"))
    page.locator("#gallery-lora-link-go").click()
    page.locator("#gallery-lora-link-stop").click()
    expect(page.get_by_text("The download was stopped")).to_be_visible()
    expect(page.locator("#gallery-lora-link-stop")).to_be_hidden()
    box(page, "gallery-lora-link").fill(files.url("/ink.safetensors"))
    box(page, "gallery-lora-link").press("Enter")
    expect(page.locator("#gallery-lora-details")).to_contain_text("ink")
    expect(box(page, "gallery-lora-link")).to_have_value("")
    expect(page.locator("#gallery-lora-grid")).to_contain_text("ink")


def test_of_a_model_on_the_hub_one_file_is_chosen(open_page: OpenPage) -> None:
    page = open_page()
    go_to(page, "Gallery")
    box(page, "gallery-lora-link").fill("ada/ink")
    page.locator("#gallery-lora-link-go").click()
    files = page.locator("#gallery-lora-link-files")
    expect(files).to_contain_text("ada/ink has 2 files")
    files.get_by_text("v2/ink.safetensors").click()
    page.locator("#gallery-lora-link-go").click()
    expect(page.locator("#gallery-lora-details h2")).to_have_text("ink")
    expect(files).to_be_hidden()


def test_the_api_takes_links(app: Served, files: FileServer) -> None:
    with httpx.Client(base_url=app.address, trust_env=False, timeout=300) as client:
        answer = client.post(
            "gradio_api/run/import_lora_link", json={"data": [files.url("/ink.safetensors")]}
        )
        assert answer.json()["data"][0]["slug"] == "ink", answer.text
        answer = client.post("gradio_api/run/import_lora_link", json={"data": [app.address]})
        assert answer.status_code == 500
        assert client.post("gradio_api/run/stop_import", json={"data": []}).json()["data"] == [False]
