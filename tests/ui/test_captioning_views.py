"""Captionings as the page shows them: their wait, their cost, those of Train; the options of a tagger."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lora_studio.captioning.caption_template import CaptionTemplate
from lora_studio.captioning.captioner import ENGINES
from lora_studio.captioning.tagger_options import TaggerOptions
from lora_studio.errors import ConfigError, StudioError
from lora_studio.jobs.captioning.captioning_cost import CaptioningCost
from lora_studio.jobs.captioning.captioning_request import CaptioningRequest
from lora_studio.jobs.captioning.captioning_rows import CaptioningRows
from lora_studio.jobs.captioning.captioning_state import Captioning, CaptioningState
from lora_studio.studio import Studio
from lora_studio.ui.picture_sets import captioning_panel, tagger_controls
from lora_studio.ui.train import device_work
from tests.support.html import parse
from tests.support.serving import DRAWN

REQUEST = CaptioningRequest(
    dataset_id="set",
    engine=ENGINES["wd14"],
    template=CaptionTemplate(text="{caption} of {trigger}", trigger="zwx"),
    tagger=TaggerOptions(general_threshold=0.5, undesired_tags="solo"),
    again=True,
    run="1234",
    pictures=("a.png",),
    over_hand=True,
)
RUNNING = Captioning(request=REQUEST, done=1, total=3, note="about 4 s left")


def text_of(html: str) -> str:
    return " ".join("".join(parse(html).itertext()).split())


def test_a_captioning_is_the_same_after_the_store() -> None:
    ended = replace(
        RUNNING,
        state=CaptioningState.FAILED,
        note="",
        captioned=1,
        seconds=0.25,
        failed={"b.png": "dark"},
        error=StudioError("No.", "Yes."),
        rest=replace(RUNNING, state=CaptioningState.STOPPED, note=""),
    )
    again = Captioning.from_json(ended.to_json())
    assert replace(again, error=None) == replace(ended, error=None)
    assert str(again.error) == "No. Yes."


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        ({}, "1 of 3 pictures looked at. about 4 s left"),
        ({"waits_for": "training"}, "Waits for the training that has the device."),
        ({"waits_for": "captions"}, "Waits until the pictures of another set are captioned."),
        ({"waits_for": "generation"}, "Waits for other work that has the device."),
        ({"state": CaptioningState.INTERRUPTED}, "Interrupted at 1 of 3 pictures"),
        ({"state": CaptioningState.STOPPED}, "Go on"),
        (
            {"state": CaptioningState.FINISHED, "rest": replace(RUNNING, state=CaptioningState.STOPPED)},
            "An earlier captioning ended at 1 of 3 pictures. Go on",
        ),
        ({"state": CaptioningState.FAILED, "error": StudioError("<b>No</b>.")}, "<b>No</b>. Try again"),
        ({"state": CaptioningState.FINISHED, "failed": {"<i>": "dark"}}, "<i>: dark Try again"),
    ],
)
def test_the_card_says_how_it_stands(change: dict[str, Any], shown: str) -> None:
    assert shown in text_of(captioning_panel._card(replace(RUNNING, **change)))


@pytest.mark.parametrize(
    ("pictures", "seconds", "memory", "shown"),
    [
        (0, None, 1, "No picture lacks a caption."),
        (2, None, 0, "WD14 tagger isn’t here yet. Fetch it (380 MB) with: hf download SmilingWolf"),
        (2, None, 5_000_000, "How long WD14 tagger takes here is measured with the first pictures."),
        (1, 240.0, 5_000_000, "WD14 tagger takes about 4 min here"),
        (1, 240.0, 5_000_000, "1 picture without a caption."),
        (1, 240.0, 5_000_000, "It needs 5 MB of memory and fetches nothing."),
    ],
)
def test_the_cost_is_said(pictures: int, seconds: float | None, memory: int, shown: str) -> None:
    cost = CaptioningCost(engine=ENGINES["wd14"], pictures=pictures, seconds=seconds, memory_bytes=memory)
    assert shown in text_of(captioning_panel._cost(cost))


def test_train_lists_those_that_run_or_were_interrupted(studio: Studio) -> None:
    assert device_work.captionings(studio) == ""
    record = studio.datasets.create("<i>Things</i>", [DRAWN / "01.png"])
    job = replace(RUNNING, request=replace(REQUEST, dataset_id=record.id))
    CaptioningRows(studio.database).put(record.id, "", job.to_json())
    shown = text_of(device_work.captionings(studio))
    assert "interrupted <i>Things</i> 1 of 3 pictures looked at. Go on with them on Upload." in shown


def test_the_fields_of_a_tagger_are_its_options() -> None:
    told = tagger_controls.tagger_options("0,5", 1, "solo", False, True)
    assert told == TaggerOptions(
        general_threshold=0.5,
        character_threshold=1,
        undesired_tags="solo",
        remove_underscore=False,
        use_rating_tags=True,
    )
    assert tagger_controls.tagger_options(None, None, None, True, False) == TaggerOptions()
    with pytest.raises(ConfigError, match="general_threshold"):
        tagger_controls.tagger_options(7, 0.35, "", True, False)


def test_the_card_of_a_running_one_makes_room_for_no_question(studio: Studio, tmp_path: Path) -> None:
    caption = tmp_path / "01.txt"
    caption.write_text("mine", "utf-8")
    set_id = studio.datasets.create("Things", [DRAWN / "01.png", caption]).id
    assert captioning_panel._asks_first(studio, set_id, "01.png")
    job = replace(RUNNING, request=replace(REQUEST, dataset_id=set_id))
    CaptioningRows(studio.database).put(set_id, "far:1:1", job.to_json())
    assert not captioning_panel._asks_first(studio, set_id, "01.png")
