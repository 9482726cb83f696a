from __future__ import annotations

import dataclasses
import json

import pytest

from lora_studio import events
from lora_studio.events import EVENT_CLASSES, PreviewSaved, Started, StepDone, event_from_json, event_to_json

REQUIRED = {"str": "text", "int": 7, "float": 0.5, "tuple[str, ...]": ("load", "train")}
ALL = [
    cls(
        **{
            field.name: REQUIRED[str(field.type)]
            for field in dataclasses.fields(cls)
            if str(field.type) in REQUIRED
        }
    )
    for cls in EVENT_CLASSES.values()
]


@pytest.mark.parametrize("event", ALL, ids=lambda event: type(event).__name__)
def test_every_event_survives_json(event: events.Event) -> None:
    text = json.dumps(event_to_json(event), allow_nan=False)
    assert json.loads(text)["kind"] == type(event).__name__
    assert event_from_json(json.loads(text)) == event


def test_every_class_of_the_union_is_listed() -> None:
    assert set(EVENT_CLASSES.values()) == set(events.Event.__args__)


@pytest.mark.parametrize("cls", EVENT_CLASSES.values())
def test_events_are_frozen_and_by_keyword(cls: type) -> None:
    assert cls.__dataclass_params__.frozen
    assert all(field.kw_only for field in dataclasses.fields(cls))


def test_keys_of_a_later_version_are_ignored() -> None:
    data = {"kind": "Stopped", "step": 3, "mood": "fine"}
    assert event_from_json(data) == events.Stopped(step=3)


@pytest.mark.parametrize("data", [{}, {"kind": "Exploded"}, {"kind": "Emit"}])
def test_unknown_kinds_are_refused(data: dict) -> None:
    with pytest.raises(ValueError, match="unknown event kind"):
        event_from_json(data)


def test_tuples_come_back_as_tuples() -> None:
    event = Started(total_steps=1, phases=("load",), device="CPU", dtype="float32")
    assert event_from_json(json.loads(json.dumps(event_to_json(event)))).phases == ("load",)


def test_listeners_who_do_not_listen() -> None:
    step = StepDone(step=1, total_steps=1, loss=1, average_loss=1, learning_rate=1, seconds=1)
    assert events.ignore(step) is None
    assert events.never_stop() is False
    assert PreviewSaved(step=0, path="a", base_path="a", prompt="", seed=1) != step
