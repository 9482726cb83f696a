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
from lora_studio.ui.upload import upload_tab

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
