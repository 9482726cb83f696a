from __future__ import annotations

import pytest

from lora_studio.generation.prompts import with_triggers


@pytest.mark.parametrize(
    ("prompt", "triggers", "expected"),
    [
        ("a cat", ["zwcat"], "zwcat, a cat"),
        ("a ZWCAT on a mat", ["zwcat"], "a ZWCAT on a mat"),
        ("(zwcat:1.2) running", ["zwcat"], "(zwcat:1.2) running"),
        ("two zwcats", ["zwcat"], "zwcat, two zwcats"),
        ("zw_cat", ["zw"], "zw, zw_cat"),
        ("a cat", ["one", "two"], "one, two, a cat"),
        ("a cat, two", ["one", "two", "three"], "one, three, a cat, two"),
        ("a cat", ["one", "ONE", " one "], "one, a cat"),
        ("a cat", ["red zw", "zw"], "red zw, a cat"),
        ("", ["zw"], "zw"),
        ("a cat", ["", "  "], "a cat"),
        ("", [], ""),
        ("grün", ["grü"], "grü, grün"),
        ("c++ code", ["c++"], "c++ code"),
        ("axb", ["a.b"], "a.b, axb"),
    ],
)
def test_missing_triggers_go_in_front_each_once(prompt: str, triggers: list[str], expected: str) -> None:
    assert with_triggers(prompt, triggers) == expected


def test_a_prompt_that_lacks_nothing_stays_as_typed() -> None:
    assert with_triggers("  zw, two\n lines ", ["zw"]) == "  zw, two\n lines "
