"""No regular expression of the project can be made to hold the processor: each is tried with the texts that
are worst for it, as long as they may be where it is used."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from lora_studio.catalog import SIGNATURES
from lora_studio.data.captions import LETTER
from lora_studio.lora.file.identify import BELONGINGS
from lora_studio.lora.file.other_programs import PROGRAMS
from lora_studio.request import LONGEST_PROMPT
from tests.support.pace import stretched
from tests.support.patterns import LIMIT, METHODS, Pattern, patterns, slowest

USUAL = LONGEST_PROMPT
"""Characters; where a pattern is put to more, or can't take as many, its place says why below."""
BOUNDS = {
    # Of the model that is loaded, by the names in the program that built it.
    "lora_studio/training/result_folder.py:REPEATED": 300,
    "lora_studio/images/settings_line.py:PAIR": 30_000,
    # pip's whole output.
    "launch.py:explain": 100_000,
}
LOCAL = {
    "lora_studio/data/captions.py:word_spans": [
        *(rf"(?<!{LETTER}){re.escape(word)}(?!{LETTER})" for word in ("aa", "a a", "1")),
        re.escape("猫猫"),
    ],
    "lora_studio/families/base_files/hub.py:_weights": [
        re.escape("unet/model.fp16") + r"-\d+-of-\d+\.safetensors"
    ],
    "lora_studio/config_groups/network_group.py:_parts": [r"[;\n]", r"[,;\s]+", ","],
    "lora_studio/lora/file/architectures.py:family_of_paths": [pattern for pattern, _, _ in SIGNATURES],
    "lora_studio/lora/file/other_programs.py:_names": [
        *{pattern.pattern for program in PROGRAMS for pattern in program.names.values()}
    ],
    "lora_studio/lora/file/identify.py:what_else": [pattern for pattern, _, _ in BELONGINGS],
    # Constants of the project, matched with its own names, pip's output and its own answers.
    "lora_studio/ui/widgets/form_sections.py:sectioned_leaves": [],
    "launch.py:explain": [],
    "scripts/cases_table/expected.py:agrees": [],
}
"""What patterns that are put together when they are used look like then."""
STOOD = [
    (
        r"\s*([+-]?(?:\d+\.?\d*|\.\d+))\s*-\s*([+-]?(?:\d+\.?\d*|\.\d+))\s*(?:\(\s*([+-]?\d+\.?\d*)\s*\))?",
        1000,
    ),
    (r"\s*(?:(?P<name>[^|%]*?):\s*)?\d+%\|[^|]*\|\s*(?P<done>\d+)/(?P<total>\d+)\s\[", 2000),
    (r"\[[^\[\]]*:\s*(?:\d+\.?\d*|\.\d+)\s*\]", 10_000),
]
"""Slow ones that were in the program once, and the longest text that came to them."""


@pytest.fixture(scope="module")
def found() -> list[Pattern]:
    """All of them; to find them imports the whole project."""
    return patterns()


def test_every_pattern_was_found_and_can_be_tried(found: list[Pattern]) -> None:
    assert len(found) > 80
    unknown = {one.place for one in found if one.compiled is None} ^ set(LOCAL)
    assert not unknown, f"say in LOCAL what these look like, or take them out: {unknown}"
    assert {one.place for one in found} >= set(BOUNDS)


@pytest.mark.slow
def test_the_worst_text_takes_no_time(found: list[Pattern]) -> None:
    assert [told for one in found for told in too_slow(one)] == []


def too_slow(one: Pattern) -> Iterator[str]:
    written = [re.compile(text) for text in LOCAL[one.place]] if one.compiled is None else [one.compiled]
    for compiled in written:
        if isinstance(compiled.pattern, bytes):
            compiled = re.compile(compiled.pattern.decode("latin-1"), compiled.flags & ~re.ASCII)
        seconds, text = slowest(compiled, BOUNDS.get(one.place, USUAL), one.methods)
        if seconds > LIMIT and seconds > stretched(LIMIT):
            yield f"{one.place}:{one.line}: {seconds:.3f} s for {len(text)} characters, {text[:80]!r}"


@pytest.mark.parametrize(
    ("pattern", "longest"),
    [
        (r"(a+)+$", 100),
        (r"(\d+\.?\d*|\.\d+)::", 10_000),
        (r"0*\.?0*", 30_000),
        (r"\s+(?=\w+=)", 10_000),
        *(pytest.param(*row, marks=pytest.mark.slow) for row in STOOD),
    ],
)
def test_a_pattern_that_goes_back_too_often_is_found(pattern: str, longest: int) -> None:
    seconds, _ = slowest(re.compile(pattern), longest, METHODS)
    assert seconds > LIMIT
