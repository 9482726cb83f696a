"""The sample prompts: twice forty, the trigger word once where it belongs, nothing that the embedded base
doesn't know, and sheets that were drawn from what the page says now."""

from __future__ import annotations

import re

import pytest

from scripts.guide_pictures.sample_prompts import GROUPS, prompts_in
from tests.support.markdown import rows
from tests.support.serving import CHECKOUT

PAGE = CHECKOUT / "docs" / "sample-prompts.md"
TRIGGER = "**zwx**"
SMALL_WORDS = {"a", "an", "on", "background", "style", "zwx", "3d", "creature"}


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
    assert len(set(prompts)) == 40
    assert [prompt for prompt in prompts if "zwx" in prompt.replace(TRIGGER, "", 1)] == []
    words = {word for prompt in prompts for word in re.findall(r"\w+", prompt.lower())}
    assert words - SMALL_WORDS - known == set()


@pytest.mark.parametrize("name", GROUPS)
def test_the_sheets_were_drawn_from_the_page_as_it_is(name: str) -> None:
    group = GROUPS[name]
    assert len(group.prompts) >= 10
    assert all(("zwx" in prompt) == bool(group.example) for prompt in group.prompts)
    assert prompts_in(group.sheet(name)) == group.prompts, (
        "run python -m scripts.guide_pictures.sample_prompts"
    )
    assert group.sheet(name).stat().st_size < 300_000


def test_every_prompt_of_the_embedded_base_is_on_a_sheet() -> None:
    drawn = [prompt for group in GROUPS.values() for prompt in group.prompts]
    assert drawn == [cells[2].replace("**", "") for cells in numbered() if len(cells) == 3]
