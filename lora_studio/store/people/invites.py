"""Invites: links with a role, an end and a number of uses; and read-only links, by which anybody looks around
without a name. Only the hash of a link's token is kept."""

from __future__ import annotations

import hashlib
import re
import secrets
import sqlite3
import time
from dataclasses import dataclass

from lora_studio.access.roles import Role
from lora_studio.access.visitor import visitor
from lora_studio.errors import ConfigError, NotAllowed, StoreError
from lora_studio.parsing.plain_text import plain_text
from lora_studio.store.database import Database
from lora_studio.store.people.passwords import hashed
from lora_studio.store.people.people import HUB, checked_name, checked_password, insert

TOKEN = re.compile(r"[A-Za-z0-9_-]{32,64}")
TOKEN_BYTES = 32
MOST_HOURS, MOST_USES, MOST_OPEN = 24 * 90, 100, 200
LONGEST_NOTE = 80


@dataclass(frozen=True, kw_only=True)
class Invite:
    """`id` names it in lists; it is no secret. Times are unix seconds. A read-only link has no `uses`; `used`
    is how often it was opened."""

    id: str
    role: Role
    made_by: str
    note: str
    created_at: float
    expires_at: float
    uses: int
    used: int
    revoked_at: float | None = None

    @property
    def is_link(self) -> bool:
        return self.uses == 0

    @property
    def is_used_up(self) -> bool:
        return not self.is_link and self.used >= self.uses

    def is_open(self, now: float) -> bool:
        return self.revoked_at is None and now < self.expires_at and not self.is_used_up

    def state(self, now: float) -> str:
        """A word for lists: open, used, expired or revoked."""
        if self.revoked_at is not None:
            return "revoked"
        return "open" if self.is_open(now) else "used" if self.is_used_up else "expired"


class Invites:
    """The invites of this home. Raises StoreError, ConfigError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self) -> list[Invite]:
        """Newest first."""
        rows = self._database.read("SELECT * FROM invites ORDER BY created_at DESC")
        return [_invite(row) for row in rows]

    def make(self, role: Role, *, hours: float = 72, uses: int = 1, note: str = "") -> tuple[Invite, str]:
        """A new invite and its token, which nothing shows again."""
        if not 1 <= uses <= MOST_USES:
            raise ConfigError(f"uses: 1 to {MOST_USES}.", field="uses")
        return self._make(role, hours, uses, note)

    def make_link(self, *, hours: float = 24, note: str = "") -> tuple[Invite, str]:
        """A new read-only link and its token, which nothing shows again."""
        return self._make(Role.VIEWER, hours, 0, note)

    def _make(self, role: Role, hours: float, uses: int, note: str) -> tuple[Invite, str]:
        if not 0 < hours <= MOST_HOURS:
            raise ConfigError(f"hours: more than 0, up to {MOST_HOURS}.", field="hours")
        now, token, invite_id = time.time(), secrets.token_urlsafe(TOKEN_BYTES), secrets.token_hex(4)
        if sum(invite.is_open(now) for invite in self.all()) >= MOST_OPEN:
            raise ConfigError(f"{MOST_OPEN} invites and links are open already.", "Revoke some first.")
        self._database.change(
            "INSERT INTO invites(id, token_hash, role, made_by, note, created_at, expires_at, uses)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(invite_id, _hash(token), str(role), visitor().name, plain_text(note, LONGEST_NOTE)),
                *(now, now + hours * 3600, uses),
            ),
        )
        return self.get(invite_id), token

    def get(self, invite_id: str) -> Invite:
        rows = self._database.read("SELECT * FROM invites WHERE id = ?", (invite_id,))
        if not rows:
            raise StoreError(f"There is no invite {invite_id[:40]!r}.", "lora-studio access list shows them.")
        return _invite(rows[0])

    def find(self, token: str) -> Invite | None:
        """The open invite of a token."""
        found = self._open("token_hash", _hash(token)) if TOKEN.fullmatch(token) else None
        return found if found and not found.is_link else None

    def open_link(self, token: str) -> Invite | None:
        """The read-only link of a token, which is open; counts how often."""
        found = self._open("token_hash", _hash(token)) if TOKEN.fullmatch(token) else None
        if found is None or not found.is_link:
            return None
        self._database.change("UPDATE invites SET used = used + 1 WHERE id = ?", (found.id,))
        return found

    def has_link(self, link_id: str) -> bool:
        """Whether a read-only link is open."""
        found = self._open("id", link_id)
        return found is not None and found.is_link

    def _open(self, column: str, value: str) -> Invite | None:
        rows = self._database.read(f"SELECT * FROM invites WHERE {column} = ?", (value,))
        found = _invite(rows[0]) if rows else None
        return found if found and found.is_open(time.time()) else None

    def accept(self, token: str, name: str, password: str) -> Role:
        """Add a person by an invite, and count its use, both or none. Raises NotAllowed when it is not open
        any more, ConfigError for a name that is taken or can't be one, and for a short password."""
        kept = hashed(checked_password(password))
        with self._database.write() as connection:
            rows = connection.execute(
                "SELECT * FROM invites WHERE token_hash = ?", (_hash(token),)
            ).fetchall()
            invite = _invite(rows[0]) if rows else None
            if invite is None or invite.is_link or not invite.is_open(time.time()):
                raise NotAllowed("This invite is not open any more.", "Ask for a new one.")
            insert(connection, checked_name(name), invite.role, kept)
            connection.execute("UPDATE invites SET used = used + 1 WHERE id = ?", (invite.id,))
            return invite.role

    def accept_account(self, account: str, subject: str, role: Role | None, invite: str = "") -> str:
        """The name here of an account of Hugging Face, whose `subject` is the same for ever. Who is new comes
        in with an open invite's role, or with `role`; an admin's `role` counts always. Raises NotAllowed."""
        note, name = f"hf:{subject}", f"{account}{HUB}"
        with self._database.write() as connection:
            there = connection.execute("SELECT name FROM people WHERE note = ?", (note,)).fetchone()
            if there is None:
                found = self.find(invite)
                wanted = role if role is Role.ADMIN or found is None else found.role
                if wanted is None:
                    raise NotAllowed(
                        "Your Hugging Face account is not invited here.",
                        "Ask whoever runs this studio for an invite.",
                    )
                insert(connection, name, wanted, "")
                connection.execute("UPDATE people SET note = ? WHERE name = ?", (note, name))
                if found is not None and wanted is found.role:
                    connection.execute("UPDATE invites SET used = used + 1 WHERE id = ?", (found.id,))
            else:
                name = there["name"]
                if role is Role.ADMIN:
                    connection.execute("UPDATE people SET role = ? WHERE name = ?", (str(role), name))
            return name

    def revoke(self, invite_id: str) -> None:
        """Close an invite, whose guests stay, or a read-only link, whose guests are out."""
        self.get(invite_id)
        self._database.change(
            "UPDATE invites SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL", (time.time(), invite_id)
        )


def _hash(token: str) -> str:
    """The hash of a token. It has 256 bits of chance, so a quick hash is enough."""
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()


def _invite(row: sqlite3.Row) -> Invite:
    facts = dict(row)
    del facts["token_hash"]
    return Invite(**{**facts, "role": Role(facts["role"])})
