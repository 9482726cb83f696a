"""Drafts that a browser sends: what a field can hold is put back, and only for the person who typed it."""

from __future__ import annotations

from typing import Any

import gradio as gr
import pytest

from lora_studio.access.visitor import Visitor, acting
from lora_studio.request import LONGEST_PROMPT
from lora_studio.studio import Studio
from lora_studio.ui import drafts as draft
from lora_studio.ui.drafts import Drafts
from lora_studio.ui.generate import generate_tab
from lora_studio.ui.page_address import named_loras
from lora_studio.ui.upload import upload_tab
from tests.support.library_entries import write_result

SKIP = gr.skip()


@pytest.fixture
def drafts(studio: Studio) -> Drafts:
    with gr.Blocks():
        upload = upload_tab.render(studio.settings)
        return Drafts(
            upload=upload, form=upload.form, generate=generate_tab.render(studio), kept=draft.render()
        )


def put_back(drafts: Drafts, studio: Studio, sent: Any, name: str) -> Any:
    values = drafts.restored(sent, studio)
    assert len(values) == len(drafts.outputs)
    return values[drafts.outputs.index(drafts.generate.fields[name])]


def test_what_was_typed_comes_back(drafts: Drafts, studio: Studio) -> None:
    typed = {"generate": {"prompt": "a dog " * 500, "strength": 0.25, "seed": "7"}}
    for name, value in typed["generate"].items():
        assert put_back(drafts, studio, typed, name) == value


@pytest.mark.parametrize(
    "sent",
    [
        None,
        [],
        {"generate": 7},
        {"generate": {"prompt": ["a"], "strength": 99, "image": "../../etc/passwd", "loras": "x"}},
        {"generate": {"prompt": "x" * (LONGEST_PROMPT + 1), "strength": True}},
    ],
)
def test_what_no_field_holds_is_left_out(drafts: Drafts, studio: Studio, sent: Any) -> None:
    for name in ("prompt", "strength"):
        assert put_back(drafts, studio, sent, name) == SKIP
    assert put_back(drafts, studio, sent, "image") == ""


def test_a_draft_is_for_the_person_who_typed_it(drafts: Drafts, studio: Studio) -> None:
    sent = {"owner": "ann", "generate": {"prompt": "a secret"}}
    with acting(Visitor(name="ann")):
        assert put_back(drafts, studio, sent, "prompt") == "a secret"
        assert drafts.restored(sent, studio)[0] == {"owner": "ann"}
    for name in ("ben", ""):
        with acting(Visitor(name=name)):
            assert put_back(drafts, studio, sent, "prompt") == SKIP


def test_loras_of_an_address_come_with_their_weights_before_a_draft_s(drafts: Drafts, studio: Studio) -> None:
    for slug in ("sea", "sky"):
        write_result(studio.settings, slug)
    studio.gallery.scan()
    typed = {"owner": "ann", "generate": {"loras": ["sea"], "weight-0": 0.2, "prompt": "a secret"}}
    asked = {
        "loras": ["sky", "sea"],
        "weight-0": 0.4,
        "text-weight-0": "0.7",
        "weight-1": 1,
        "text-weight-1": "",
    }
    for name in ("ann", "ben"):  # an address is for everybody, a draft is not
        with acting(Visitor(name=name)):
            sent = {**typed, "addressed": "sky:0.7:0.4,gone:2,sea,sky:1.5"}
            found = {part: put_back(drafts, studio, sent, part) for part in asked}
            assert {**found, "loras": found["loras"]["value"]} == asked
            assert (put_back(drafts, studio, sent, "prompt") == "a secret") is (name == "ann")
    with acting(Visitor(name="ann")):
        assert put_back(drafts, studio, typed, "weight-0") == 0.2


@pytest.mark.parametrize(
    ("addressed", "named"),
    [
        ("sea:9,sky:inf,../:1,:0.5,ink:-0.5", ["ink"]),
        (",".join(f"lora-{number}" for number in range(20)), [f"lora-{number}" for number in range(8)]),
        ("x" * 1001, []),
        (["sea"], []),
    ],
)
def test_what_an_address_can_t_name_is_left_out(addressed: Any, named: list[str]) -> None:
    assert [use.slug for use in named_loras(addressed)] == named
