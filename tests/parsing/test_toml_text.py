"""TOML of strangers: whatever costs more than its size is refused before it is parsed, and nothing else."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_studio.errors import ConfigError
from lora_studio.parsing import toml_text
from lora_studio.parsing.toml_text import MOST_LEVELS, read_toml
from tests.support.properties import examples

DOTTED = ".".join(["a"] * (MOST_LEVELS + 1))
DEEP = {
    "a name": f"{DOTTED} = 1",
    "a name with blanks": f"{DOTTED.replace('.', ' . ')} = 1",
    "a name in quotes": ".".join(["'a.'", '"a"'] * MOST_LEVELS) + " = 1",
    "a name without an end": "a." * 200_000,
    "a table": f"[{DOTTED}]",
    "a list of tables": f"[[{DOTTED}]]",
    "a name in a table in a line": f"a = [\n1, {{b = 1, {DOTTED} = 1}}]",
    "lists": f"a = {'[' * 100_000}",
    "lists over lines": f"a = {'[ # ]' * 20}".replace("]", "]\n"),
    "tables in a line": f"a = {'{a = ' * 50_000}1{'}' * 50_000}",
}


def never(text: str) -> Any:
    raise AssertionError("was parsed")


@pytest.mark.parametrize("text", DEEP.values(), ids=DEEP)
def test_what_nests_deeply_is_refused_before_it_is_parsed(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toml_text.tomllib, "loads", never)
    with pytest.raises(ConfigError, match=r"x\.toml is not TOML that can be read"):
        read_toml(text, "x.toml")


@pytest.mark.parametrize(
    "text",
    [
        f"{DOTTED[2:]} = 1",
        f"[{DOTTED[2:]}]",
        f"a = {'[' * MOST_LEVELS}{']' * MOST_LEVELS}",
        f"a = [{'0.5, ' * 100}]",
        f"a = [{'{b = 0.5}, ' * 100}]",
        "[[a]]\n[[a.b]]\n" * 100,
        f"# {DOTTED} [[[\n'{DOTTED}' = 1",
    ],
)
def test_what_is_long_and_flat_is_read(text: str) -> None:
    assert read_toml(text, "") == tomllib.loads(text)


def written(text: str) -> str:
    """The text in one of TOML's four forms, if it has that one; else in the first."""
    for quote in ("'''", "'", '"""'):
        try:
            one = tomllib.loads(f"a = {quote}{text[1:]}{quote}")
        except tomllib.TOMLDecodeError:
            continue
        if text[:1] in quote and one:
            return f"{quote}{text[1:]}{quote}"
    return toml_text.write_value(text)


TEXTS = st.text("\"'\\.[]{}=,#\n a", max_size=12).map(lambda text: written(text * 3))


@examples(100)
@given(values=st.lists(TEXTS, max_size=4))
def test_what_stands_in_texts_is_no_level(values: list[str]) -> None:
    text = "".join(f"a{number} = {value} # ''' [\n" for number, value in enumerate(values))
    assert read_toml(text, "") == tomllib.loads(text)
    with pytest.raises(ConfigError, match="can be read"):
        read_toml(f"{text}{DOTTED} = 1", "")


def test_a_text_that_needs_more_memory_than_there_is_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(text: str) -> Any:
        raise MemoryError

    monkeypatch.setattr(toml_text.tomllib, "loads", exhausted)
    with pytest.raises(ConfigError, match="can be read"):
        read_toml("a = 1", "")
