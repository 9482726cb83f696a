"""The visitor behind a name that has logged in."""

from __future__ import annotations

from dataclasses import dataclass

from lora_studio.access.roles import Role
from lora_studio.access.visitor import NOBODY, STUDIO, Visitor
from lora_studio.settings import Settings
from lora_studio.store.database import Database
from lora_studio.store.people.invites import Invites
from lora_studio.store.people.ownership import Owners
from lora_studio.store.people.people import People
from lora_studio.store.people.usage import PersonalAllowance, Usage

LINK = "link:"
"""Prefix of a read-only link's visitors, before the link's id. No person's name has a colon."""


@dataclass(frozen=True)
class Visitors:
    """The visitors of one page. `admin` is the user name of the page's own password, whoever else is called
    so; with `is_open` the page asks nobody, and whoever comes is the person at the machine."""

    people: People
    invites: Invites
    owners: Owners
    usage: Usage
    admin: str = ""
    is_open: bool = True

    @classmethod
    def over(
        cls, database: Database, settings: Settings | None = None, *, admin: str = "", is_open: bool = True
    ) -> Visitors:
        """The visitors of a home's database. `settings` are by default the environment's."""
        usage = Usage(database, settings or Settings.from_environment())
        return cls(People(database), Invites(database), Owners(database), usage, admin, is_open)

    def of(self, name: str | None) -> Visitor:
        """The visitor of a name, with the role as it is now; a stranger for one that nobody has."""
        if self.is_open:
            return STUDIO
        if not name:
            return NOBODY
        if self.admin and name == self.admin:
            return Visitor(name=name, role=Role.ADMIN, kept=self.owners)
        if name.startswith(LINK):
            is_open = self.invites.has_link(name.removeprefix(LINK))
            return Visitor(name=name, role=Role.VIEWER, kept=self.owners) if is_open else NOBODY
        person = self.people.find(name)
        if person is None:
            return NOBODY
        allowance = None if person.role is Role.ADMIN else PersonalAllowance(self.usage, person)
        return Visitor(name=name, role=person.role, kept=self.owners, allowance=allowance)

    def is_valid(self, name: str, begun_at: float) -> bool:
        """Whether a session of this name that began at this unix time still counts."""
        if begun_at <= self.people.sessions_from():
            return False
        if self.admin and name == self.admin:
            return True
        if name.startswith(LINK):
            return self.invites.has_link(name.removeprefix(LINK))
        person = self.people.find(name)
        return person is not None and begun_at > max(person.sessions_from, person.created_at)
