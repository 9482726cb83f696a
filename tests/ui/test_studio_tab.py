"""The Studio tab: what it shows of a check-up, and to whom."""

from __future__ import annotations

import gradio as gr

from lora_studio.access.roles import Role
from lora_studio.access.visitor import NOBODY, Visitor, acting
from lora_studio.operations.check_up import CheckUpState
from lora_studio.operations.findings import Finding
from lora_studio.operations.storage_use import KINDS, StorageUse
from lora_studio.studio import Studio
from lora_studio.ui.operations.studio_tab import report_view, storage_view, views
from tests.support.html import parse

FINDINGS = (
    Finding(what="python", said="3.11 on <Linux>"),
    Finding(what="torch", said="2.11", is_package=True),
    Finding(what="peft", said="not installed", advice="Install it.", is_package=True),
    Finding(what="supabase", said="off: no <key>", advice="See there.", off=True),
    Finding(what="disk", said="1 GB free", advice="Free some space."),
)
CHECKPOINTS = next(kind for kind in KINDS if kind.name == "checkpoints")


def words(html: str) -> str:
    return " ".join("".join(parse(html).itertext()).split())


def test_problems_come_first_and_packages_that_fit_are_folded() -> None:
    html = report_view(CheckUpState(findings=FINDINGS, at=1.0))
    root = parse(html)
    listed = [row.findtext("b") for row in root.iter("li") if row.get("class")]
    assert listed == ["peft", "disk", "python", "supabase"]
    assert "2 things need you." in words(html)
    assert "3.11 on <Linux>" in words(html)
    assert "1 package, of versions that fit" in words(html)


def test_while_it_looks_it_says_so_and_takes_no_second_order() -> None:
    root = parse(report_view(CheckUpState(findings=FINDINGS[:1], running=True)))
    (button,) = [one for one in root.iter("button") if one.get("data-action") == "again"]
    assert button.get("disabled") is not None
    assert "Looking" in "".join(root.itertext())
    assert report_view(CheckUpState()) == storage_view(CheckUpState(), 1) == ""


def test_a_clean_up_says_what_and_how_much_and_asks_once() -> None:
    use = StorageUse(kind=CHECKPOINTS, bytes=3_000_000, files=30, freed_bytes=2_000_000, freed_files=20)
    none = StorageUse(kind=KINDS[0], bytes=10, files=1)
    html = storage_view(CheckUpState(storage=(none, use), at=1.0), 5_000_000_000)
    (button,) = list(parse(html).iter("button"))
    assert (button.get("data-id"), button.text) == ("checkpoints", "Clean up 2 MB")
    assert button.get("data-sure") == "Remove 20 files for good?"
    assert CHECKPOINTS.cleaned in words(html)
    assert "3 MB in all · 5 GB free on the disk" in words(html)


def test_nobody_but_an_admin_is_shown_anything(studio: Studio) -> None:
    for present in (NOBODY, Visitor(name="ada", role=Role.TRAINER)):
        with acting(present):
            assert views(studio) == ["", ""]


def test_the_tab_is_there_for_who_needs_no_role(page: gr.Blocks, locked_page: gr.Blocks) -> None:
    for shown, is_open in ((page, True), (locked_page, False)):
        (tab,) = [one for one in shown.blocks.values() if isinstance(one, gr.Tab) and one.id == "studio"]
        assert tab.visible is is_open
