"""The sample prompts: forty, the trigger word once in each, nothing that the embedded base doesn't know."""

from __future__ import annotations

import re

from tests.support.markdown import rows
from tests.support.serving import CHECKOUT

PAGE = CHECKOUT / "docs" / "sample-prompts.md"
TRIGGER = "**zwx**"
SMALL_WORDS = {"a", "on", "background", "style", "zwx", "3d"}


def numbered() -> list[list[str]]:
    return [cells for cells in rows(PAGE) if cells[0].isdecimal()]


def test_forty_prompts_have_the_trigger_word_once() -> None:
    prompts = [cells for cells in numbered() if len(cells) == 4]
    assert [int(cells[0]) for cells in prompts] == list(range(1, 41))
    assert [cells[2] for cells in prompts if cells[2].count(TRIGGER) != 1 or TRIGGER in cells[3]] == []
    assert len({cells[2] for cells in prompts}) == 40


def test_the_embedded_base_knows_the_words_of_its_prompts() -> None:
    known = set(
        re.findall(r"\w+", (CHECKOUT / "models" / "starter" / "README.md").read_text("utf-8").lower())
    )
    prompts = [cells[2] for cells in numbered() if len(cells) == 3]
    assert len(prompts) == 12
    words = {word for prompt in prompts for word in re.findall(r"\w+", prompt.lower())}
    assert words - SMALL_WORDS - known == set()
