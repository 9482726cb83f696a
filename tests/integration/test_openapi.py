"""The API's description, as scripts of other people rely on it: names, order, types, defaults, answers."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from scripts.freeze_api import RENEW, described, frozen, today
from tests.support.gradio_leftovers import IGNORE, sweep

pytestmark = IGNORE


@pytest.fixture(scope="module")
def api() -> dict[str, Any]:
    described_now = today()
    sweep()
    return described_now


def differences(before: Any, after: Any, where: str = "") -> Iterator[str]:
    """Where two descriptions differ, for the eye."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for name in sorted({*before, *after}):
            place = f"{where}/{name}"
            if name not in before or name not in after:
                yield f"{'+' if name in after else '-'} {place}"
            else:
                yield from differences(before[name], after[name], place)
        if set(before) == set(after) and list(before) != list(after):
            yield f"~ {where}: the order was {list(before)}, is {list(after)}"
    elif before != after:
        yield f"~ {where}: was {before!r}, is {after!r}"


def test_the_api_is_the_one_that_was_frozen(api: dict[str, Any]) -> None:
    changes = list(differences(frozen(), api))
    assert not changes, "\n".join([RENEW, *changes])


def test_the_frozen_file_is_as_the_script_writes_it(api: dict[str, Any]) -> None:
    assert json.dumps(frozen(), indent=1) == json.dumps(api, indent=1), RENEW


def test_all_of_it_is_described(api: dict[str, Any]) -> None:
    for name, facts in api.items():
        assert facts["description"].endswith("."), name
        assert len(facts["gives"]) == 1, name
        assert facts["gives"][0], name
        for parameter, about in facts["takes"].items():
            assert about["type"], (name, parameter)


def test_every_kind_of_change_is_seen(api: dict[str, Any]) -> None:
    """A parameter that went, moved, lost its default or has another type; an endpoint, an answer."""

    def changed(act: Any) -> list[str]:
        other = copy.deepcopy(api)
        act(other)
        return list(differences(api, other))

    generate = "generate"
    takes = api[generate]["takes"]
    assert changed(lambda other: other.pop("grid")) == ["- /grid"]
    assert changed(lambda other: other[generate]["takes"].pop("seed")) == ["- /generate/takes/seed"]
    assert changed(lambda other: other[generate]["takes"]["count"].pop("default"))
    assert changed(lambda other: other[generate]["takes"]["count"].update(type={"type": "string"}))
    assert changed(lambda other: other[generate].update(gives=[{"type": "string"}]))
    moved = dict(reversed(takes.items()))
    assert "order" in changed(lambda other: other[generate].update(takes=moved))[0]
    assert changed(lambda other: None) == []


def test_what_is_gradios_own_is_left_out() -> None:
    post = {"requestBody": {"content": {"application/json": {"schema": {"properties": {}}}}}}
    openapi = {
        "info": {"version": "9.9"},
        "paths": {"/gradio_api/upload": {}, "/gradio_api/call/v2/x": {"post": post}},
    }
    info = {"named_endpoints": {"/x": {"description": "X.", "parameters": [], "returns": []}}}
    assert described(openapi, info) == {"x": {"description": "X.", "takes": {}, "gives": []}}
