"""The People panel below the tabs: an admin sees who may come in, invites, gives roles and quotas, and puts
people out. For everybody else it is not there, and its events refuse."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import gradio as gr

from lora_studio.access.quotas import TITLES, Use, given_limits, shown
from lora_studio.access.roles import Role, given_role
from lora_studio.access.visitor import visitor
from lora_studio.errors import ConfigError
from lora_studio.formatting import moment
from lora_studio.store.people.invites import Invite
from lora_studio.store.people.visitors import Visitors
from lora_studio.ui.client_input.validate import QUICK, as_words, decimal, guarded, quietly, text
from lora_studio.ui.widgets.html_templates import fill, hidden, panel

ADDRESS_JS = "(...values) => [...values.slice(0, -1), location.origin + location.pathname]"
"""JavaScript that puts the page's address, as the browser knows it, in the place of the last input."""
LONGEST_NOTE = 80


@dataclass(frozen=True, kw_only=True)
class PeoplePanel:
    """The components of the panel."""

    box: gr.Accordion
    listed: gr.HTML
    person: gr.Dropdown
    used: gr.HTML
    role: gr.Dropdown
    set_role: gr.Button
    limits: gr.Textbox
    set_limits: gr.Button
    end: gr.Button
    invited_as: gr.Dropdown
    hours: gr.Textbox
    note: gr.Textbox
    invite: gr.Button
    link: gr.Button
    made: gr.Textbox
    address: gr.Textbox
    invites: gr.Dropdown
    close: gr.Button
    end_all: gr.Button

    @property
    def shown(self) -> list[Any]:
        """Components that show the people as they are."""
        return [self.box, self.listed, self.person, self.invites]


def render() -> PeoplePanel:
    """Create the panel, which nobody sees until they turn out to be an admin."""
    roles = [str(role) for role in Role]
    with gr.Accordion("People", open=False, visible=False, elem_id="people") as box:
        parts: dict[str, Any] = {"listed": panel(elem_id="people-listed")}
        with gr.Row(equal_height=False):
            with gr.Column(min_width=280):
                parts["person"] = gr.Dropdown(
                    [], value=None, label="Person", elem_id="people-person", elem_classes="notranslate"
                )
                parts["used"] = panel(elem_id="people-used")
                parts["role"] = gr.Dropdown(roles, value=None, label="Role", elem_id="people-role")
                parts["set_role"] = gr.Button("Give this role", size="sm", elem_id="people-set-role")
                parts["limits"] = gr.Textbox(
                    label="Quotas",
                    placeholder="images=200 disk=2 steps=none trainings=default",
                    info=f"{', '.join(Use)}: a number (disk in GB), none, or default.",
                    max_lines=1,
                    elem_id="people-limits",
                )
                parts["set_limits"] = gr.Button("Set quotas", size="sm", elem_id="people-set-limits")
                parts["end"] = gr.Button("End this person's sessions", size="sm", elem_id="people-end")
            with gr.Column(min_width=280):
                parts |= _render_invites(roles)
        parts["end_all"] = gr.Button(
            "End all sessions, invites and links", variant="stop", elem_id="people-end-all"
        )
        panel(fill("end_all"), elem_id="people-end-all-note")
    return PeoplePanel(box=box, **parts)


def _render_invites(roles: list[str]) -> dict[str, Any]:
    return {
        "invited_as": gr.Dropdown(
            roles, value=str(Role.CREATOR), label="Invite as", elem_id="people-invited-as"
        ),
        "hours": gr.Textbox("72", label="Open for hours", max_lines=1, elem_id="people-hours"),
        "note": gr.Textbox(label="Who it is for", max_lines=1, elem_id="people-note"),
        "invite": gr.Button("Make an invite for one person", size="sm", elem_id="people-invite"),
        "link": gr.Button("Make a read-only link", size="sm", elem_id="people-link"),
        "made": gr.Textbox(
            label="Link to send, shown only now",
            interactive=False,  # without Gradio's button to copy, which would take the label (6.31)
            elem_id="people-made",
        ),
        "address": hidden("people-address"),
        "invites": gr.Dropdown([], value=None, label="Open invites and links", elem_id="people-invites"),
        "close": gr.Button("Close it", size="sm", elem_id="people-close"),
    }


def listen(page: gr.Blocks, tab: PeoplePanel, visitors: Visitors) -> None:
    """Wire the panel. A page that asks nobody has no people."""
    if visitors.is_open:
        return
    acts = Acts(visitors)

    def look_at_people() -> list[Any]:
        return seen(visitors)

    page.load(quietly(look_at_people, lambda: [gr.skip()] * 4), None, tab.shown, queue=False, **QUICK)
    tab.person.input(guarded(acts.choose), tab.person, [tab.used, tab.role], **QUICK)
    subject = [tab.used, *tab.shown]
    tab.set_role.click(guarded(acts.set_role), [tab.person, tab.role], subject, **QUICK)
    gr.on(
        [tab.set_limits.click, tab.limits.submit],
        guarded(acts.set_limits),
        [tab.person, tab.limits],
        [tab.limits, *subject],
        **QUICK,
    )
    tab.end.click(guarded(acts.end_sessions), tab.person, None, **QUICK)
    for click, act, given in (
        (tab.invite.click, acts.invite_somebody, [tab.invited_as, tab.hours, tab.note, tab.address]),
        (tab.link.click, acts.give_link, [tab.hours, tab.note, tab.address]),
    ):
        click(guarded(act), given, [tab.made, *tab.shown], js=ADDRESS_JS, **QUICK)
    tab.close.click(guarded(acts.close_invite), tab.invites, tab.shown, **QUICK)
    tab.end_all.click(guarded(acts.end_all), None, None, **QUICK)


class Acts:
    """The acts of the panel, for admins alone. Raises StudioError."""

    def __init__(self, visitors: Visitors) -> None:
        self._visitors = visitors

    def choose(self, name: str) -> list[Any]:
        """A person's use, and their role."""
        visitor().needs(Role.ADMIN)
        return [used(self._visitors, name), str(self._visitors.people.get(_name(name)).role)]

    def set_role(self, name: str, role: str) -> list[Any]:
        """Give a role."""
        visitor().needs(Role.ADMIN)
        person = self._visitors.people.set_role(_name(name), given_role(text(role, "role")))
        gr.Info(as_words(f"{person.name} is {person.role} now."))
        return [used(self._visitors, person.name), *seen(self._visitors)]

    def set_limits(self, name: str, limits: str) -> list[Any]:
        """Change quotas."""
        visitor().needs(Role.ADMIN)
        person = self._visitors.people.get(_name(name))
        changed = given_limits(text(limits, "quotas", longest=300).replace(",", " ").split(), person.limits)
        self._visitors.people.set_limits(person.name, changed)
        return ["", used(self._visitors, person.name), *seen(self._visitors)]

    def end_sessions(self, name: str) -> None:
        """Put a person out, who can log in again."""
        visitor().needs(Role.ADMIN)
        self._visitors.people.end_sessions(_name(name))
        gr.Info(as_words(f"All sessions of {name} have ended."))

    def invite_somebody(self, role: str, hours: str, note: str, address: str) -> list[Any]:
        """Make an invite for one person."""
        visitor().needs(Role.ADMIN)
        _, token = self._visitors.invites.make(
            given_role(text(role, "role")), hours=_hours(hours), note=text(note, "note", longest=LONGEST_NOTE)
        )
        return [f"{text(address, 'address')}?invite={token}", *seen(self._visitors)]

    def give_link(self, hours: str, note: str, address: str) -> list[Any]:
        """Make a read-only link."""
        visitor().needs(Role.ADMIN)
        _, token = self._visitors.invites.make_link(
            hours=_hours(hours), note=text(note, "note", longest=LONGEST_NOTE)
        )
        return [f"{text(address, 'address')}?view={token}", *seen(self._visitors)]

    def close_invite(self, invite_id: str) -> list[Any]:
        """Close an invite or a link."""
        visitor().needs(Role.ADMIN)
        if not invite_id:
            raise ConfigError("No invite is chosen.", "Choose one of the list.", field="invite")
        self._visitors.invites.revoke(text(invite_id, "invite"))
        return seen(self._visitors)

    def end_all(self) -> None:
        """Put everybody out, also who asks for it."""
        visitor().needs(Role.ADMIN)
        self._visitors.people.revoke_all()


def seen(visitors: Visitors) -> list[Any]:
    """Values for `PeoplePanel.shown`; nothing for others than admins."""
    if not visitor().may(Role.ADMIN):
        return [gr.update(visible=False), "", *[gr.update(choices=[], value=None)] * 2]
    people, now = visitors.people.all(), time.time()
    invites = [invite for invite in visitors.invites.all() if invite.is_open(now)]
    names = [person.name for person in people]
    rows = [(person.name, str(person.role), moment(person.created_at)) for person in people]
    listed = fill("people", rows=rows)
    choices = [(_line(invite), invite.id) for invite in invites]
    return [
        gr.update(visible=True),
        listed,
        gr.update(choices=names),
        gr.update(choices=choices, value=None),
    ]


def used(visitors: Visitors, name: str) -> str:
    """HTML of what a person uses and may use. Raises StoreError."""
    person = visitors.people.get(_name(name))
    uses = visitors.usage.of(person.name)
    rows: list[dict[str, Any]] = [
        {"title": TITLES[use], "used": shown(use, uses[use]), "allowed": shown(use, person.limit(use))}
        for use in Use
        if use in uses
    ]
    return fill("used", rows=rows)


def _line(invite: Invite) -> str:
    what = "read-only link" if invite.is_link else f"invite as {invite.role}"
    return " · ".join(filter(None, (what, invite.note, f"until {moment(invite.expires_at)}", invite.id)))


def _name(given: Any) -> str:
    """A chosen name. Raises ConfigError."""
    name = text(given, "person")
    if not name:
        raise ConfigError("Nobody is chosen.", "Choose a person.", field="person")
    return name


def _hours(given: Any) -> float:
    hours = decimal(given, "hours")
    if hours is None:
        raise ConfigError("For how many hours?", "Give a number, as 72.", field="hours")
    return hours
