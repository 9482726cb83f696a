from __future__ import annotations

from pathlib import Path

import pytest

from lora_studio.errors import ConfigError
from lora_studio.prompts.expand import Untagged, expand, unread, untagged, with_triggers
from lora_studio.prompts.lora_tags import read_tag, write_tag
from lora_studio.request import LoraUse

INK = LoraUse(slug="ink")


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


@pytest.mark.parametrize(
    ("inside", "use"),
    [
        ("ink", {"slug": "ink"}),
        ("ink:0.8", {"slug": "ink", "weight": 0.8}),
        ("ink:-.5", {"slug": "ink", "weight": -0.5}),
        ("ink:0.5:0.8", {"slug": "ink", "weight": 0.8, "text_encoder_weight": 0.5}),
        ("ink:1:1", {"slug": "ink", "weight": 1, "text_encoder_weight": 1}),
        ("ink:0.8:te=0.3", {"slug": "ink", "weight": 0.3, "text_encoder_weight": 0.3}),
        ("ink:te=0.3:unet=0.9", {"slug": "ink", "weight": 0.9, "text_encoder_weight": 0.3}),
        ("ink:unet=0.9", {"slug": "ink", "weight": 0.9, "text_encoder_weight": 1}),
        ("ink:0.8:step=120", {"slug": "ink", "weight": 0.8, "checkpoint": 120}),
        (" ink : 0.8 ", {"slug": "ink", "weight": 0.8}),
        ("My_Style v2:0.7", {"slug": "my-style-v2", "weight": 0.7}),
    ],
)
def test_a_tag_is_a_lora(inside: str, use: dict[str, object]) -> None:
    assert read_tag(inside) == LoraUse.model_validate(use)
    written = write_tag(read_tag(inside))
    assert read_tag(written.removeprefix("<lora:").removesuffix(">")) == read_tag(inside)


@pytest.mark.parametrize(
    "inside", ["", ":1", "!?", "ink:x", "ink:9", "ink:nan", "ink:1e999", "ink:te=" + "9" * 400, "ink:step=0"]
)
def test_a_tag_that_cannot_be_read_is_told(inside: str) -> None:
    with pytest.raises(ConfigError, match="The tag") as caught:
        read_tag(inside)
    assert caught.value.field == "prompt"


def test_tags_go_into_the_list_and_leave_the_words() -> None:
    first = LoraUse(slug="a", weight=0.3)
    found = untagged("<lora:b:0.5:1> a cat <lora:c>, sitting <lyco:d:2>", "a dog", [first])
    assert found.prompt == "a cat, sitting"
    assert [use.slug for use in found.loras] == ["a", "b", "c", "d"]
    assert found.loras[:2] == (first, LoraUse(slug="b", weight=1, text_encoder_weight=0.5))
    assert untagged(found.prompt, "a dog", found.loras) == found


@pytest.mark.parametrize("prompt", ["  a cat ", "a <b> c", "<hypernet:x:1>", "1 < 2, lora: x", ""])
def test_a_prompt_without_tags_stays_as_typed(prompt: str) -> None:
    assert untagged(prompt, "", [INK]) == Untagged(prompt=prompt, loras=(INK,))


@pytest.mark.parametrize(
    ("prompt", "message"),
    [("{<lora:b:1>|<lora:c:1>} a cat", "one of several choices"), ("<lora:b:high>", "can't be read")],
)
def test_tags_that_clash_are_told(prompt: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        untagged(prompt, "", [INK])


def test_a_tag_in_the_negative_prompt_is_told() -> None:
    with pytest.raises(ConfigError, match="negative prompt") as caught:
        untagged("", "<lora:b:1>", [])
    assert caught.value.field == "negative_prompt"


def test_choices_are_made_by_the_seed_and_bring_no_lora(tmp_path: Path) -> None:
    assert expand("a cat", 1, tmp_path) == "a cat"
    assert {expand("{a|b}", seed, tmp_path) for seed in range(20)} == {"a", "b"}
    (tmp_path / "styles.txt").write_text("<lora:ink:1>\n")
    with pytest.raises(ConfigError, match="one of several choices"):
        expand("a cat, __styles__", 1, tmp_path)


@pytest.mark.parametrize(
    ("prompt", "what"),
    [
        ("a [cat:dog:0.5]", "“[cat:dog:0.5]” (prompt editing)"),
        ("a [cat:12]", "prompt editing"),
        ("a [cat|dog]", "alternating"),
        ("a cat AND a dog", "“AND”"),
        ("x <hypernet:y:1>", "hypernetwork"),
    ],
)
def test_marks_that_only_a1111_reads_are_told(prompt: str, what: str) -> None:
    (said,) = unread(prompt)
    assert what in said


@pytest.mark.parametrize(
    "prompt", ["[cat], (dog:0.5)", r"\[a:b:1\]", "{a|b}, sand and ANDROID", "[a] | [b]", ""]
)
def test_what_is_read_is_not_told(prompt: str) -> None:
    assert unread(prompt) == []


def test_checkpoints_of_one_lora_may_stand_beside_each_other() -> None:
    prompt = "a cat <lora:ink:1:step=10> <lora:ink:0.5:step=20>"
    loras = untagged(prompt, "", [INK]).loras
    assert [(use.slug, use.checkpoint) for use in loras] == [("ink", None), ("ink", 10), ("ink", 20)]


@pytest.mark.parametrize(
    ("prompt", "weights", "remark"),
    [
        ("a cat <lora:ink:0.5>", [("ink", 1.5, None)], "“ink” is named 2 times; together that is 1.5."),
        ("<lora:b:1> <lora:b:0.5>", [("ink", 1, None), ("b", 1.5, None)], "“b” is named 2 times"),
        ("<lora:b:1> <lora:b:0.5:0.25>", [("ink", 1, None), ("b", 1.25, 1.5)], "together that is 1.25"),
        ("<lora:b:3> <lora:b:3>", [("ink", 1, None), ("b", 4, None)], "together that is 4."),
        ("<lora:b:0.8:lbw=MIDD:stop=20>", [("ink", 1, None), ("b", 0.8, None)], "“lbw=MIDD:stop=20”"),
        ("<lora:b:0.8:0.7:16>", [("ink", 1, None), ("b", 0.7, 0.8)], "“16” of the LoRA “b”"),
        ("<lora:b:0.8:MIDD>", [("ink", 1, None), ("b", 0.8, None)], "“MIDD”"),
        ("<lora:b:te=0.2:unet=0.5:dyn=8>", [("ink", 1, None), ("b", 0.5, 0.2)], "“dyn=8”"),
        ("<lora:b:1:step=5-10>", [("ink", 1, None), ("b", 1, None)], "“step=5-10”"),
        ("<lora:b:0.8>", [("ink", 1, None), ("b", 0.8, None)], ""),
    ],
)
def test_tags_are_used_as_far_as_they_mean_something_here(
    prompt: str, weights: list[tuple[str, float, float | None]], remark: str
) -> None:
    found = untagged(prompt, "", [INK])
    assert [(use.slug, use.weight, use.text_encoder_weight) for use in found.loras] == weights
    assert len(found.remarks) == bool(remark)
    assert all(remark in one for one in found.remarks)
