"""Text of strangers, of any kind and of the longest that is allowed: no exception but a StudioError, little
processor time (never wall time), and no recursion that the text decides."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lora_studio.config_groups import DatasetGroup
from lora_studio.config_groups.free_arguments import read_arguments, split_arguments
from lora_studio.data.captions import caption_for_use
from lora_studio.errors import ConfigError, StudioError
from lora_studio.families.encoders.clip_prompt import windows_of
from lora_studio.grids.axis_values import numbers, split_values
from lora_studio.grids.grid_cells import plan_grid
from lora_studio.grids.grid_request import GridRequest
from lora_studio.images.foreign_settings import read_foreign
from lora_studio.images.infotext import restore
from lora_studio.prompts.expand import unread, untagged, with_triggers
from lora_studio.prompts.prompt_weights import read_weights
from lora_studio.prompts.wildcards import choose
from lora_studio.request import LONGEST_PROMPT
from tests.support.pace import seconds_of, stretched

LIMIT = 0.5
"""Seconds of processor time for one text. What was mended took from 1 to 60; the patterns alone are held to
less in tests/test_patterns.py."""
N = LONGEST_PROMPT


def captions(text: str) -> None:
    caption_for_use(text, DatasetGroup(train_data_dir="x", enable_wildcard=True), 1)


def tags(text: str) -> None:
    untagged(text[:N], "", ())


def axis(text: str) -> None:
    grid = {"request": {"prompt": "a"}, "x": {"parameter": "seed", "values": text[:8000] or "1"}}
    plan_grid(GridRequest(**grid))


def foreign(text: str) -> None:
    for name in ("prompt", "parameters", "invokeai_metadata", "Comment", "XML:com.adobe.xmp"):
        read_foreign({name: text})


def wildcards(text: str) -> None:
    choose(text, 3, Path("nowhere"))


def arguments(text: str) -> None:
    with contextlib.suppress(ValueError):  # which the configuration makes a ConfigError of
        read_arguments("optimizer_args", split_arguments(text))


READERS: dict[str, Callable[[str], Any]] = {
    "weights": read_weights,
    "windows": lambda text: windows_of(lambda part: [1] * len(part.split()), text),
    "wildcards": wildcards,
    "captions": captions,
    "unread": unread,
    "tags": tags,
    "triggers": lambda text: with_triggers(text, ["zwx", text[:60]]),
    "axis": axis,
    "whole numbers": lambda text: numbers(text, whole=True),
    "numbers": lambda text: numbers(text, whole=False),
    "values": split_values,
    "infotext": restore,
    "foreign": foreign,
    "arguments": arguments,
}
MARKS = (
    *(
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        "|",
        ":",
        "\\",
        "<",
        ">",
        "__",
        "$$",
        "::",
        "-",
        ",",
        ";",
        '"',
        "'",
        "\n",
        " ",
    ),
    *(
        "1",
        "0",
        "1.",
        ".",
        "9" * 40,
        "1e999",
        "nan",
        "１",
        "a",
        "猫",
        "\ud800",
        "\x00",
        "=",
        "x=",
        "AND",
        "BREAK",
    ),
    *("<lora:x:", "<lora:x:1>", "<hypernet:x:1>", "__a__", "{a|b}", "{2$$a|b}", "(a:1.2)", "[a:b:0.5]"),
    *("Steps: 20", "Seed: ", "Size: 9x9", "Negative prompt:", "Denoising strength: ", "Civitai resources: ["),
    *("Hires resize: ", '{"', '":', "[[", "]]", "1-1", "1-9 (+1)", "1-9 [3]", "\t"),
)
TEXTS = st.one_of(
    st.lists(st.sampled_from(MARKS), max_size=40).map("".join),
    st.text(max_size=200),
    st.tuples(st.sampled_from(MARKS), st.integers(1, 400), st.sampled_from(MARKS)).map(
        lambda part: part[0] * part[1] + part[2]
    ),
)
WORST = {
    "brackets": "(" * N,
    "closed brackets": "(" * (N // 2) + ")" * (N // 2),
    "brackets with words": "(a" * (N // 4) + ")b" * (N // 4),
    "mixed brackets": "([" * (N // 4) + ")]" * (N // 4),
    "a weight": f"(a:{'1' * N}",
    "weights": "(a:1.1)" * (N // 7),
    "colons and digits": ":1" * (N // 2),
    "an open brace": "{" + "{a|b}" * (N // 5),
    "open braces": "{" * N,
    "choices": "{a|b}" * (N // 5),
    "bars": "{" + "|" * N + "}",
    "JSON in JSON": '{"a":' * (N // 5) + "1|2" + "}" * (N // 5),
    "file marks": "__a" * (N // 3),
    "tags": "<lora:a:1>" * (N // 10),
    "open tags": "<lora:" * (N // 6),
    "an argument": "a" + " " * 16_000,
    "words": "a " * N,
    "a range": "1" * 500 + "-" + "1" * 500 + "(" + "1" * 500 + "x",
    "many ranges": "1-120," * (N // 6),
    "a strength": f"x\nSteps: 2, Seed: 1, Model: m, Denoising strength: {'0' * 32_000}x",
    "5 MB": "ab, cd: ef, " * 400_000,
    "5 MB of settings": "Steps: 2, Seed: 1, Size: 9x9, " * 170_000,
    "5 MB of lines": "Steps: 2, Seed: 1\n" * 280_000,
    "a big size": f"x\nSteps: 2, Seed: 1, Size: {'9' * 400}x{'9' * 400}, Hires resize: {'9' * 400}x1",
    "JSON, deep": '{"a":[' * 50_000,
    "JSON, deep behind an endless number": f'{{"a":{"9" * 5000},"b":{"[" * 50_000}',
    "JSON, long": json.dumps({str(key): {"class_type": "KSampler", "inputs": {}} for key in range(15_000)}),
    "a graph of links": json.dumps(
        {
            str(key): {
                "class_type": "KSampler",
                "inputs": {f"{other}": [str(other), 0] for other in range(100)} | {"positive": ["1", 0]},
            }
            for key in range(300)
        }
    ),
    "a nest of optimizer arguments": f"x={'[' * 3000}",
    "minuses": f"x={'-' * 5000}1",
}


def is_quick(read: Callable[[str], Any], text: str, tries: int = 1) -> bool:
    def answer() -> None:
        with contextlib.suppress(StudioError):
            read(text)

    taken: list[float] = []
    while len(taken) < tries:
        taken.append(seconds_of(answer))
        if taken[-1] < LIMIT:
            return True
    return min(taken) < stretched(LIMIT)


@pytest.mark.parametrize("text", WORST)
@pytest.mark.parametrize("reader", READERS)
def test_the_longest_text_takes_little_time(reader: str, text: str) -> None:
    """Only what reads files gets more than a prompt's length."""
    long = reader in ("infotext", "foreign", "arguments")
    given_text = WORST[text] if long else WORST[text][:N]
    assert is_quick(READERS[reader], given_text, tries=2)


@pytest.mark.parametrize("reader", READERS)
@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(text=TEXTS)
def test_any_text_is_read_or_told(reader: str, text: str) -> None:
    assert is_quick(READERS[reader], text)


@pytest.mark.slow
@pytest.mark.parametrize("reader", READERS)
@settings(max_examples=200, deadline=None, database=None)
@given(text=TEXTS)
def test_any_text_at_length(reader: str, text: str) -> None:
    assert is_quick(READERS[reader], text)


@pytest.mark.parametrize(
    ("text", "weights"),
    [
        ("(cat:1.2)", [("cat", 1.2)]),
        ("(cat: 1.2)", [("cat", 1.2)]),
        ("(cat : 1.2 )", [("cat ", 1.2)]),
        ("(cat:1.2", [("cat:1.2", 1.1)]),
        (f"(cat:{'1' * 40})", [(f"cat:{'1' * 40}", 1.1)]),
    ],
)
def test_a_weight_may_have_blanks_around_it(text: str, weights: list[tuple[str, float]]) -> None:
    found = windows_of(lambda part: [1] if part.strip() else [], text)
    assert [weight for _, weight in found[0]][:1] == pytest.approx([weights[0][1]])


def test_brackets_deeper_than_anyone_writes_add_nothing() -> None:
    assert read_weights("(" * 200 + "a" + ")" * 200) == [("a", pytest.approx(1.1**32))]


@pytest.mark.parametrize("text", ["1e999", "nan", "inf", "9" * 400, "1_0", "--1", "1.2.3"])
def test_what_is_no_number_is_one_sentence(text: str) -> None:
    with pytest.raises(ConfigError, match="no number"):
        numbers(text, whole=False)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{2$$a|b}", {"a, b", "b, a"}),
        ("{2$$ and $$a|b|c}", {f"{x} and {y}" for x in "abc" for y in "abc" if x != y}),
        ("{1-2$$a|b}", {"a", "b", "a, b", "b, a"}),
        ("{-1$$a|b}", {"a", "b"}),
        ("{2-$$a|b}", {"a, b", "b, a"}),
        ("{9$$a|b}", {"a, b", "b, a"}),
        ("{2$$0::a|b|c}", {"b, c", "c, b"}),
        ('{"a": "x|y", "b": 1}', {'{"a": "x|y", "b": 1}'}),
        ('{a|"b"}', {"a", '"b"'}),
    ],
)
def test_several_of_the_choices(tmp_path: Path, text: str, expected: set[str]) -> None:
    assert {choose(text, seed, tmp_path) for seed in range(300)} == expected
