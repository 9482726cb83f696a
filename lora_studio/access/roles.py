"""The roles, from the least to the most."""

from __future__ import annotations

from enum import StrEnum

from lora_studio.errors import ConfigError


class Role(StrEnum):
    """A viewer looks, a creator draws, a trainer trains, too; an admin sees all and says who comes in."""

    VIEWER = "viewer"
    CREATOR = "creator"
    TRAINER = "trainer"
    ADMIN = "admin"

    @property
    def rank(self) -> int:
        return list(Role).index(self)

    def includes(self, other: Role) -> bool:
        return self.rank >= other.rank


DEEDS = {
    Role.VIEWER: "look around here",
    Role.CREATOR: "draw here",
    Role.TRAINER: "train here",
    Role.ADMIN: "do that",
}
"""The words for a refusal, by the role that is missing."""


def given_role(text: str) -> Role:
    """The role of that name. Raises ConfigError."""
    try:
        return Role(text.strip().lower())
    except ValueError:
        raise ConfigError(
            f"There is no role {text[:40]!r}.", f"Choose one of {', '.join(Role)}.", field="role"
        ) from None
