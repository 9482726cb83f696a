"""A person's own quotas as the page shows them."""

from __future__ import annotations

import gradio as gr
import pytest

from lora_studio.access.quotas import Use
from lora_studio.access.roles import Role
from lora_studio.access.visitor import NOBODY, STUDIO, acting
from lora_studio.store.people.visitors import Visitors
from lora_studio.studio import Studio
from lora_studio.ui.people.usage_panel import usage

PASSWORD = "battery staple"


@pytest.fixture
def visitors(studio: Studio) -> Visitors:
    made = Visitors.over(studio.database, studio.settings, admin="studio", is_open=False)
    for name, role in (("ada", Role.TRAINER), ("chief", Role.ADMIN)):
        made.people.add(name, role, PASSWORD)
    return made


def test_a_person_sees_how_much_is_used(studio: Studio, visitors: Visitors) -> None:
    visitors.people.set_limits("ada", {Use.IMAGES: 12})
    visitors.of("ada").spends(Use.IMAGES, 5)
    with acting(visitors.of("ada")):
        said = usage(studio, visitors)
    assert "ada, trainer" in said
    assert "<b>5</b> of 12" in said
    assert "used up" not in said
    visitors.of("ada").spends(Use.IMAGES, 7)
    with acting(visitors.of("ada")):
        assert "used up" in usage(studio, visitors)
    for present in (visitors.of("chief"), visitors.of("studio"), STUDIO, NOBODY):
        with acting(present):
            assert usage(studio, visitors) == ""


def test_only_a_page_that_asks_follows_them(page: gr.Blocks, locked_page: gr.Blocks) -> None:
    for shown, count in ((page, 0), (locked_page, 2)):
        assert [str(one.name) for one in shown.fns.values()].count("look_at_usage") == count
