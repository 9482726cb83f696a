from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from lora_studio.errors import ConfigError
from lora_studio.prompts.wildcards import LONGEST, choose, names

SEEDS = range(400)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    files = {
        "animals.txt": "cat\n\n# not this one\n  dog  \n3::fox\n",
        "scenes.txt": "a __animals__ in {rain|snow}\n",
        "deep colours_2.txt": "\ufeffred\n",
        "one.txt": "one\n",
        "round.txt": "__round__ and {more|__round__}\n",
        "twice.txt": "__twice__\n",
        "empty.txt": "\n# nothing\n",
        "growing.txt": "xxxxxxxxxx" * 200 + "\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9\n")
    (tmp_path.parent / "secret.txt").write_text("secret\n")
    return tmp_path


def outcomes(text: str, folder: Path) -> Counter[str]:
    return Counter(choose(text, seed, folder) for seed in SEEDS)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a {red|blue} cat", {"a red cat", "a blue cat"}),
        ("{a|b}{c|d}", {"ac", "ad", "bc", "bd"}),
        ("{a {b|c}|d}", {"a b", "a c", "d"}),
        ("x{|y}", {"x", "xy"}),
        ("{0::a|b}", {"b"}),
        (r"{a\|b|c}", {"a|b", "c"}),
        (r"\{a|b\}", {"{a|b}"}),
        ("{a}", {"{a}"}),
        ("{a {b|c}}", {"{a b}", "{a c}"}),
        ("} a {b|c} {", {"} a b {", "} a c {"}),
        ("{{a|b}", {"{a", "{b"}),
        (r"\(not\) {a|b}", {r"\(not\) a", r"\(not\) b"}),
        ("a __animals__", {"a cat", "a dog", "a fox"}),
        (
            "__scenes__",
            {f"a {animal} in {weather}" for animal in ("cat", "dog", "fox") for weather in ("rain", "snow")},
        ),
        ("{__animals__|bird}", {"cat", "dog", "fox", "bird"}),
        ("__deep colours_2__", {"red"}),
        ("__one__ __one__", {"one one"}),
        ("snake_case, a __ b __ c, ___", {"snake_case, a __ b __ c, ___"}),
        ("a cat: (plain:1.2) [x]", {"a cat: (plain:1.2) [x]"}),
    ],
)
def test_choices(folder: Path, text: str, expected: set[str]) -> None:
    assert set(outcomes(text, folder)) == expected


def test_a_seed_always_chooses_alike_and_seeds_in_a_row_differ(folder: Path) -> None:
    text = "{a|b|c|d} {e|f|g|h} __animals__"
    assert [choose(text, seed, folder) for seed in SEEDS] == [choose(text, seed, folder) for seed in SEEDS]
    found = outcomes("{a|b}", folder)
    assert 150 < found["a"] < 250
    # Pinned: pictures made earlier must come again with their words.
    assert [choose("{a|b|c|d|e}", seed, folder) for seed in (0, 1, 7, 2**32 - 1)] == ["e", "e", "b", "a"]


def test_weights(folder: Path) -> None:
    found = outcomes("{3::a|b}", folder)
    assert 260 < found["a"] < 340
    found = outcomes("__animals__", folder)
    assert 200 < found["fox"] < 280


def test_a_choice_not_taken_draws_nothing(folder: Path) -> None:
    for seed in SEEDS:
        first = choose("{0::{x|y}|a} {b|c}", seed, folder)
        assert first == choose("{0::x|a} {b|c}", seed, folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("__birds__", "no wildcard file birds.txt"),
        ("__../secret__", "is no wildcard's name"),
        ("__/etc/passwd__", "is no wildcard's name"),
        ("__a\\b__", "is no wildcard's name"),
        ("__.hidden__", "is no wildcard's name"),
        ("__empty__", "empty.txt is empty"),
        ("__latin__", "latin.txt can't be read"),
        ("__round__", "circle|longer"),
        ("__twice__", "circle"),
        ("{0::a|0::b}", "weight 0"),
        ("__growing__" * 10, f"longer than {LONGEST}"),
    ],
)
def test_what_cannot_be_filled_in_is_told(folder: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        choose(text, 1, folder)
    assert caught.value.field == "prompt"
    assert caught.value.hint


def test_a_missing_file_names_those_that_are_there(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        choose("__birds__", 1, folder)
    assert "animals, " in caught.value.hint
    assert names(folder)[0] == "animals"
    with pytest.raises(ConfigError) as caught:
        choose("__birds__", 1, tmp_path / "none")
    assert "empty" in caught.value.hint


@pytest.mark.parametrize("text", ["{" * 1000 + "}" * 1000, "{0::a|" * 300 + "b" + "}" * 300])
def test_braces_in_braces_without_end_are_told(folder: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="more than 20 deep"):
        choose(text, 0, folder)


def test_a_file_is_read_again_once_it_has_changed(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("one")
    assert choose("__a__ __a__", 0, tmp_path) == "one one"
    file.write_text("another")
    assert choose("__a__", 0, tmp_path) == "another"
