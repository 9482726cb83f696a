"""What strangers say, made plain."""

from __future__ import annotations

import pytest

from lora_studio.parsing.plain_text import number, plain_lines, plain_table, plain_text, plain_words


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("My Cat", "My Cat"),
        ("  a\n\tb\r\nc ", "a b c"),
        ("a\x00b\x1bc\x85d", "a b c d"),
        ("a\ud800b", "a?b"),
        ("猫の絵", "猫の絵"),
        ("c\u0301", "ć"),
        ("abc\u202etxt.exe\u202c", "abctxt.exe"),
        ("\ufeffa\u200bb", "ab"),
        ("👩\u200d🎨", "👩\u200d🎨"),
        ("\n\x00", ""),
        (None, ""),
        (7, ""),
        ({"a": 1}, ""),
        ("x" * 500, "x" * 20),
        ("x" * 19 + " y", "x" * 19),
    ],
)
def test_a_title_is_one_line_without_tricks(given: object, shown: str) -> None:
    assert plain_text(given, 20) == shown


def test_five_million_characters_cost_no_more_than_those_that_are_kept() -> None:
    assert plain_text("ab " * 1_700_000, 120) == ("ab " * 40).strip()
    assert plain_words("ab, " * 1_300_000, 300) == ("ab, " * 75).strip(", ")
    assert plain_words("x" * 5_000_000, 300) == "x" * 300


@pytest.mark.parametrize(
    ("given", "value"),
    [
        ("200", 200.0),
        (" 4.0 ", 4.0),
        ("1e-4", 1e-4),
        ("2e3", 2000.0),
        *[(odd, 0.0) for odd in ("9" * 5000, "1e30", "1e999", "nan", "inf", "-inf", "-1", "Dynamic", "")],
        *[(odd, 0.0) for odd in (None, 7, "1_000", "0x10", "1 2", "1" * 63 + "x")],
    ],
)
def test_a_number_is_within_its_bounds_or_none(given: object, value: float) -> None:
    assert number(given, most=1e6) == value


def test_a_table_keeps_what_is_short_and_the_shortest_of_all() -> None:
    said = {"tags": "x" * 1001, "a": "1", "b\x00": "one\r\ntwo\x00", "long": "y" * 900, "other": "z" * 800}
    assert plain_table(said, value=1000, whole=1000) == {"a": "1", "b": "one\ntwo", "other": "z" * 800}
    assert len(plain_table({str(number): "" for number in range(5000)})) == 1000
    assert plain_table({"k" * 300: "v"}) == {}


def test_lines_stay_lines() -> None:
    assert plain_lines("a\r\nb\rc\td\x07\ud800") == "a\nb\nc\td?"
