"""From the fields of the Generate tab to a request, and back."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from lora_studio.errors import ConfigError, ModelFileError, StoreError
from lora_studio.records import LoraRecord
from lora_studio.studio import Studio
from lora_studio.ui import generating
from lora_studio.ui.generating import SLOTS, build_request, defaults_of, ideas_for, slots
from lora_studio.ui.stops import Stops

FIELDS: dict[str, Any] = {
    "prompt": "a dog",
    "loras": [],
    "compare": False,
    "count": "",
    "seed": "",
    "negative": None,
    "base": "starter",
    "steps": "",
    "guidance": "",
    "width": "",
    "height": "",
    "sampler": "",
    "insert": True,
}


def put_lora(studio: Studio, slug: str) -> LoraRecord:
    """A row in the library, as a scan makes it."""
    record = LoraRecord(
        id=slug * 8,
        slug=slug,
        title=slug.upper(),
        path=f"/m/{slug}/{slug}.safetensors",
        family="",
        base="starter",
        trigger_word=f"t{slug}",
        kind="style",
    )
    return record


@pytest.fixture
def three(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> Studio:
    records = {slug: put_lora(studio, slug) for slug in ("one", "two", "three")}
    monkeypatch.setattr(studio.gallery, "lora", lambda slug: records[slug])
    monkeypatch.setattr(studio.gallery, "loras", lambda search="": list(records.values()))
    return studio


def test_empty_fields_leave_the_base_s_own_values(studio: Studio) -> None:
    request = build_request(FIELDS, [], studio)
    assert (request.prompt, request.count, request.base) == ("a dog", 1, "starter")
    assert (request.seed, request.width, request.guidance_scale, request.sampler) == (None, None, None, "")


def test_what_is_typed_is_taken(three: Studio) -> None:
    typed = {**FIELDS, "loras": ["two", "one"], "count": "3", "seed": " 7 ", "guidance": "2,5", "steps": "9"}
    request = build_request(typed, [0.5, None, 1, 1], three)
    assert [(use.slug, use.weight) for use in request.loras] == [("two", 0.5), ("one", 1.0)]
    assert (request.count, request.seed, request.guidance_scale, request.num_inference_steps) == (
        3,
        7,
        2.5,
        9,
    )


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"count": "0"}, ConfigError, "count"),
        ({"width": "65"}, ConfigError, "width"),
        ({"steps": "1.5"}, ConfigError, "steps"),
        ({"guidance": "much"}, ConfigError, "guidance"),
        ({"base": "/etc"}, ModelFileError, "/etc"),
        ({"base": None}, ModelFileError, "base"),
        ({"loras": ["../x"]}, StoreError, "LoRA"),
        ({"loras": ["missing"]}, StoreError, "missing"),
        ({"prompt": "x" * 3000}, ConfigError, "prompt"),
    ],
)
def test_what_is_wrong_is_named(studio: Studio, changes: dict[str, Any], error: type, said: str) -> None:
    with pytest.raises(error, match=said):
        build_request({**FIELDS, **changes}, [], studio)


def test_a_weight_stays_with_its_lora(three: Studio) -> None:
    *sliders, order, chips = slots(three, ["three", "one"], ["one", "two"], [0.3, 0.7])
    assert order == ["three", "one"]
    assert [(slider["label"], slider["value"]) for slider in sliders[:2]] == [
        ("Weight of THREE", 1),
        ("Weight of ONE", 0.3),
    ]
    assert [slider["visible"] for slider in sliders] == [True] * 2 + [False] * (SLOTS - 2)
    assert "tthree" in chips
    assert "ttwo" not in chips


def test_using_a_lora_fills_in_a_prompt_about_it(three: Studio) -> None:
    prompt, _, loras, _, base, *rest = generating.use_lora(three, "two")
    assert "ttwo" in prompt
    assert loras["value"] == ["two"]
    assert base == "starter"
    assert len(rest) == 6 + SLOTS


def test_ideas_and_defaults_follow_the_base() -> None:
    assert defaults_of("starter")["width"] == "64"
    assert set(defaults_of("someone/else").values()) == {"automatic"}
    assert all("dog" in idea for idea in ideas_for("starter"))
    assert all("lighthouse" in idea for idea in ideas_for("someone/else"))


def test_a_stop_reaches_the_tab_that_asked() -> None:
    stops = Stops()
    assert stops.ask("nobody") is False
    with stops.watch("a") as a, stops.watch("b") as b:
        assert stops.ask("a") is True
        assert (a(), b()) == (True, False)
        with stops.watch("b") as later:
            asking = threading.Thread(target=stops.ask, args=("b",))
            asking.start()
            asking.join()
            assert (b(), later()) == (False, True)
    assert stops.ask("a") is False
