"""The admin's panel of people, and the buttons that share, as the page has them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr
import pytest

from lora_studio.access.quotas import Use
from lora_studio.access.roles import Role
from lora_studio.access.visitor import NOBODY, Kind, acting
from lora_studio.errors import ConfigError, NotAllowed, StoreError
from lora_studio.store.people import passwords
from lora_studio.store.people.visitors import LINK, Visitors
from lora_studio.studio import Studio
from lora_studio.ui.gallery import sharing
from lora_studio.ui.people.people_panel import Acts, seen
from tests.support.library_entries import write_lora

PASSWORD = "battery staple"
HERE = "https://studio.example/"


@pytest.fixture
def visitors(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> Visitors:
    monkeypatch.setattr(passwords, "COST", 2)  # what a try costs is no matter here
    made = Visitors.over(studio.database, studio.settings, admin="studio", is_open=False)
    for name, role in (("ada", Role.TRAINER), ("vic", Role.VIEWER), ("chief", Role.ADMIN)):
        made.people.add(name, role, PASSWORD)
    return made


@pytest.fixture
def acts(visitors: Visitors) -> Acts:
    return Acts(visitors)


EVERY_ACT: dict[str, Callable[[Acts], Any]] = {
    "choose": lambda acts: acts.choose("ada"),
    "set_role": lambda acts: acts.set_role("ada", "admin"),
    "set_limits": lambda acts: acts.set_limits("ada", "images=none"),
    "end_sessions": lambda acts: acts.end_sessions("ada"),
    "invite_somebody": lambda acts: acts.invite_somebody("admin", "72", "", HERE),
    "give_link": lambda acts: acts.give_link("24", "", HERE),
    "close_invite": lambda acts: acts.close_invite("x"),
    "end_all": lambda acts: acts.end_all(),
}


def test_every_act_is_tried() -> None:
    assert set(EVERY_ACT) == {name for name in vars(Acts) if not name.startswith("_")}


@pytest.mark.parametrize("act", EVERY_ACT)
def test_only_an_admin_may(act: str, acts: Acts, visitors: Visitors) -> None:
    before = (visitors.people.all(), visitors.invites.all(), visitors.people.sessions_from())
    for present in (visitors.of("ada"), visitors.of("vic"), visitors.of(f"{LINK}x"), NOBODY):
        with acting(present), pytest.raises(NotAllowed):
            EVERY_ACT[act](acts)
        with acting(present):
            assert "ada" not in str(seen(visitors))
    assert (visitors.people.all(), visitors.invites.all(), visitors.people.sessions_from()) == before


def test_an_admin_sees_and_changes_everybody(acts: Acts, visitors: Visitors) -> None:
    with acting(visitors.of("chief")):
        box, listed, people, _ = seen(visitors)
        assert box["visible"]
        assert people["choices"] == ["ada", "chief", "vic"]
        assert "<caption>" in listed
        assert acts.choose("ada")[1] == "trainer"
        acts.set_role("vic", "creator")
        acts.set_limits("ada", "images=7, disk=0.5")
        begun = 10**10
        acts.end_sessions("ada")
    assert visitors.of("vic").role is Role.CREATOR
    assert visitors.people.get("ada").limit(Use.IMAGES) == 7
    assert visitors.people.get("ada").limit(Use.DISK) == 500_000_000
    assert not visitors.is_valid("ada", visitors.people.get("ada").sessions_from)
    assert visitors.is_valid("ada", begun)


def test_an_invite_and_a_link_are_made_and_closed(acts: Acts, visitors: Visitors) -> None:
    with acting(visitors.of("studio")):
        invite = acts.invite_somebody("trainer", "2,5", "for Bob", HERE)[0]
        link, *look = acts.give_link("1", "", HERE)
        assert invite.startswith(f"{HERE}?invite=")
        assert link.startswith(f"{HERE}?view=")
        assert len(look[3]["choices"]) == 2
        found = visitors.invites.find(invite.partition("=")[2])
        assert found is not None
        assert found.role is Role.TRAINER
        look = acts.close_invite(found.id)
        assert len(look[3]["choices"]) == 1
    assert visitors.invites.find(invite.partition("=")[2]) is None
    assert visitors.invites.open_link(link.partition("=")[2]) is not None


def test_one_click_ends_it_all(acts: Acts, visitors: Visitors) -> None:
    with acting(visitors.of("studio")):
        link = acts.give_link("1", "", HERE)[0].partition("=")[2]
        opened = visitors.invites.open_link(link)
        assert opened is not None
        acts.end_all()
    now = visitors.people.sessions_from()
    assert not any(visitors.is_valid(name, now) for name in ("ada", "studio", f"{LINK}{opened.id}"))
    assert visitors.invites.open_link(link) is None
    assert visitors.of(f"{LINK}{opened.id}") is NOBODY


@pytest.mark.parametrize(
    "act",
    [
        lambda acts: acts.choose(""),
        lambda acts: acts.choose("nobody"),
        lambda acts: acts.set_role("ada", "king"),
        lambda acts: acts.set_role(None, "viewer"),
        lambda acts: acts.set_limits("ada", "beer=1"),
        lambda acts: acts.set_limits("ada", ["images=1"]),
        lambda acts: acts.invite_somebody("viewer", "", "", HERE),
        lambda acts: acts.invite_somebody("viewer", "1e9", "", HERE),
        lambda acts: acts.give_link("0", "", HERE),
        lambda acts: acts.give_link("1", "x" * 100, HERE),
        lambda acts: acts.close_invite(""),
        lambda acts: acts.close_invite("nothing"),
    ],
)
def test_what_is_wrong_is_a_sentence(act: Callable[[Acts], Any], acts: Acts, visitors: Visitors) -> None:
    with acting(visitors.of("studio")), pytest.raises((ConfigError, StoreError)):
        act(acts)


def parts_of(page: gr.Blocks) -> dict[str, Any]:
    return {str(one.elem_id): one for one in page.blocks.values() if getattr(one, "elem_id", None)}


def test_the_panel_has_labels_and_holds_nothing_of_anybody(locked_page: gr.Blocks) -> None:
    parts = parts_of(locked_page)
    assert parts["people"].visible is False
    for name in ("person", "role", "limits", "invited-as", "hours", "note", "made", "invites"):
        part = parts[f"people-{name}"]
        assert part.label
        assert part.show_label is not False
    for name in ("set-role", "set-limits", "end", "invite", "link", "close", "end-all"):
        assert isinstance(parts[f"people-{name}"], gr.Button)
    assert parts["people-person"].choices == []


def test_without_a_login_there_is_no_panel_to_follow(page: gr.Blocks, locked_page: gr.Blocks) -> None:
    def events(page: gr.Blocks) -> set[str]:
        return {str(one.name) for one in page.fns.values()}

    mine = {"look_at_people", "end_all", "set_role"}
    assert not mine & events(page)
    assert mine <= events(locked_page)


def test_the_button_says_what_it_would_do(studio: Studio, visitors: Visitors) -> None:
    with acting(visitors.of("ada")):
        slug = studio.gallery.import_lora(write_lora(studio.settings.home / "ink.safetensors")).slug
        assert sharing.button(studio, Kind.LORA, slug)["value"] == sharing.SHARE
        studio.share(Kind.LORA, slug)
        shown = sharing.button(studio, Kind.LORA, slug)
        assert shown["visible"]
        assert shown["value"] == sharing.UNSHARE
    with acting(visitors.of("vic")):
        assert sharing.button(studio, Kind.LORA, slug)["visible"] is False
    with acting(visitors.of("chief")):
        assert sharing.button(studio, Kind.LORA, slug)["visible"]
    assert sharing.button(studio, Kind.LORA, slug)["visible"] is False
