"""What the page's description leaves out of the page, and what programs still find in it."""

from __future__ import annotations

from typing import Any

import gradio as gr
from fastapi.testclient import TestClient

from lora_studio.ui.page import Page
from lora_studio.ui.page_config import lighten


def small_config() -> dict[str, Any]:
    with gr.Blocks(analytics_enabled=False) as blocks:
        text, button = gr.Textbox(), gr.Button()
        button.click(str, text, text, show_progress="hidden", api_visibility="private")
        button.click(str, text, text, show_progress_on=button, api_visibility="private")

        def double(number: int) -> int:
            return 2 * number

        gr.api(double)
    return blocks.get_config_file()


def ids_of(config: dict[str, Any]) -> tuple[list[int], list[int]]:
    """Of its components, and of its events."""
    components, events = ([one["id"] for one in config[name]] for name in ("components", "dependencies"))
    return components, events


def test_a_state_that_nobody_sees_goes_to_no_component() -> None:
    config = small_config()
    shown = config["dependencies"][1]["show_progress_on"]
    lighten(config)
    assert [event["show_progress_on"] for event in config["dependencies"][:2]] == [[], shown]
    assert shown


def test_endpoints_leave_the_page_and_stay_in_the_config() -> None:
    config = small_config()
    whole = ids_of(config)
    (before,) = config["page"].values()
    assert (before["components"], before["dependencies"]) == whole
    lighten(config)
    (page,) = config["page"].values()
    types = {one["id"]: one["type"] for one in config["components"]}
    assert [types[one] for one in page["components"]] == ["textbox", "button", "form"]
    assert page["dependencies"] == whole[1][:2]
    assert ids_of(config) == whole
    assert "api" in types.values()
    assert all(types.get(one["id"]) != "api" for one in page["layout"]["children"])


def test_the_page_is_sent_without_its_endpoints_and_programs_read_them(page: Page) -> None:
    endpoints = {fn._id for fn in page.fns.values() if fn.api_visibility == "public"}
    assert len(endpoints) > 50
    client = TestClient(page.without_server())
    config = client.get("/config").json()
    assert endpoints <= {one["id"] for one in config["dependencies"]}
    of_the_page = client.get("/config", params={"page": ""}).json()
    assert not endpoints & {one["id"] for one in of_the_page["dependencies"]}
    assert "api" not in {one["type"] for one in of_the_page["components"]}
    assert len(of_the_page["components"]) > 400
