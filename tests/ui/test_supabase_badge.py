"""The mirror's badge and the team's LoRAs, as HTML and on the page."""

from __future__ import annotations

import pytest

from lora_studio.jobs.supabase.shared_loras import SharedLora
from lora_studio.jobs.supabase.sync import MirrorState
from lora_studio.studio import Studio
from lora_studio.ui.blocks import build
from lora_studio.ui.page import Page
from lora_studio.ui.supabase_badge import badge, team


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (MirrorState(state="synced"), "Supabase: synced"),
        (MirrorState(state="waiting", waiting=7), "Supabase: 7 waiting"),
        (MirrorState(state="waiting", reason="No answer."), "Supabase: not reached"),
        (MirrorState(state="paused", waiting=7, reason="Wrong key."), "Supabase: paused, 7 waiting"),
        (MirrorState(state="synced", refused=2), "Supabase: synced, 2 refused"),
    ],
)
def test_the_badge_in_words(state: MirrorState, words: str) -> None:
    shown = badge(state)
    assert f">{words}<" in shown
    assert f"mirror-badge {state.state}" in shown


def test_why_is_in_the_tooltip_and_a_pause_is_spelt_out() -> None:
    waiting = badge(MirrorState(state="waiting", waiting=1, reason="No answer."))
    paused = badge(MirrorState(state="paused", reason="Wrong key."))
    assert 'title="No answer."' in waiting
    assert "<small" not in waiting
    assert ">Wrong key.<" in paused


def test_who_has_set_up_no_project_sees_nothing_of_it() -> None:
    assert badge(MirrorState(state="off")) == ""


def test_what_the_team_has() -> None:
    assert team(()) == ""
    lora = SharedLora(
        id="5b0f7c53-6d4e-4d38-9a57-0f3f5a6f3f10",
        name="<b>Cat</b>",
        slug="cat",
        family="x",
        base="starter",
        trigger_word="zwx",
        network_dim=8,
        size_bytes=3_000_000,
        created_at=0.0,
    )
    shown = team([lora])
    assert "&lt;b&gt;Cat" in shown
    assert "starter · trigger zwx · 3 MB" in shown
    assert f'data-id="{lora.id}"' in shown
    assert "1 LoRA of your team" in shown


def ids(page: Page) -> set[str]:
    return {part["props"].get("elem_id") for part in page.get_config_file()["components"]}


def test_without_a_project_nothing_is_asked_for(page: Page) -> None:
    found = ids(page)
    assert "mirror-badge" in found
    assert "mirror-painted" not in found


def test_with_a_project_the_page_follows_the_mirror(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(studio.mirror), "is_on", property(lambda _: True))
    assert {"mirror-badge", "mirror-painted", "mirror-team"} <= ids(build(studio))
