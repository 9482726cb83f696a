"""The visitor on whose behalf something is done: what they may do, and which things they may see.

Whoever lets somebody in sets the visitor (`acting`), for one call; readers of the store, queues and file
routes ask for it (`visitor`). Without one it is the person at the machine, who may do all: the command line
and the studio's own threads work so. A visitor whom nobody knows may do nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar, copy_context
from dataclasses import dataclass, field
from enum import StrEnum
from typing import ParamSpec, Protocol, TypeVar

from lora_studio.access.quotas import Allowance, Use
from lora_studio.access.roles import DEEDS, Role
from lora_studio.errors import NotAllowed

P = ParamSpec("P")
R = TypeVar("R")


class Kind(StrEnum):
    """Kinds of things that have an owner. Keys: a job's or set's id, a LoRA's slug, a picture's path, the sum
    of a picture to redraw, an upload's folder and name, a live preview's file name, the token of something
    deleted."""

    JOB = "job"
    LORA = "lora"
    DATASET = "dataset"
    IMAGE = "image"
    INPUT = "input"
    UPLOAD = "upload"
    LIVE = "live"
    DELETED = "deleted"


CHANGED_BY = {
    **{Kind.JOB: Role.TRAINER, Kind.DATASET: Role.TRAINER},
    **{Kind.LORA: Role.CREATOR, Kind.IMAGE: Role.CREATOR, Kind.DELETED: Role.CREATOR},
}
"""The role that it takes to change an own thing."""
SHARED = {
    "training": Kind.JOB,
    "lora": Kind.LORA,
    "dataset": Kind.DATASET,
    "image": Kind.IMAGE,
}
"""Kinds of things that can be shared, by their names in the API and on the command line."""
WORDS = {
    Kind.JOB: "training",
    Kind.LORA: "LoRA",
    Kind.DATASET: "set of pictures",
    Kind.IMAGE: "picture",
}


class Ownership(Protocol):
    """The record of owners."""

    def is_owner(self, kind: Kind, key: str, name: str) -> bool: ...

    def is_shared(self, kind: Kind, key: str) -> bool: ...

    def claim(self, kind: Kind, key: str, name: str, *, alone: bool = True, new: bool = True) -> None: ...

    def forget(self, kind: Kind, key: str) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Visitor:
    """A person with a role; None for a stranger, who may do nothing. `name` is empty for the person at the
    machine. Without an `allowance` there are no quotas."""

    name: str = ""
    role: Role | None = Role.ADMIN
    kept: Ownership | None = field(default=None, repr=False, compare=False)
    allowance: Allowance | None = field(default=None, repr=False, compare=False)

    @property
    def sees_all(self) -> bool:
        return self.role is Role.ADMIN

    def may(self, role: Role) -> bool:
        return self.role is not None and self.role.includes(role)

    def needs(self, role: Role) -> None:
        """Refuse a visitor whose role does not include this one. Raises NotAllowed."""
        if self.role is None:
            raise NotAllowed("You are not logged in any more.", "Reload the page and log in.")
        if not self.may(role):
            raise NotAllowed(
                f"As a {self.role} you can't {DEEDS[role]}.",
                f"Whoever runs this studio can make you a {role}."
                if role is not Role.ADMIN
                else "Ask whoever runs this studio.",
            )

    def within(self, use: Use, wanted: int = 1, *, pending: int = 0) -> None:
        """Refuse a use beyond the visitor's quota. `pending` is what only the caller knows to be used. Ask
        where nobody else can take the same: in the transaction, or under the lock. Raises QuotaReached."""
        if self.allowance is not None:
            self.allowance.check(use, wanted, pending)

    def spends(self, use: Use, amount: int) -> None:
        """Record a use."""
        if self.allowance is not None and amount:
            self.allowance.spend(use, amount)

    def room(self, wanted: int) -> AbstractContextManager[None]:
        """A block in which so many bytes are the visitor's to write and claim. Raises QuotaReached."""
        return nullcontext() if self.allowance is None else self.allowance.room(wanted)

    def may_train(self, steps: int) -> None:
        """Refuse a training beyond the visitor's quotas. Raises QuotaReached."""
        for use, wanted in ((Use.TRAININGS, 1), (Use.STEPS, steps), (Use.DISK, 1)):
            self.within(use, wanted)

    def owns(self, kind: Kind, key: str) -> bool:
        """Whether the visitor may change a thing. What nobody owns is the admins'."""
        if self.sees_all:
            return True
        return self.role is not None and self.kept is not None and self.kept.is_owner(kind, key, self.name)

    def sees(self, kind: Kind, key: str) -> bool:
        """Whether the visitor may see a thing: an own one, or one that is shared with everybody here."""
        if self.owns(kind, key):
            return True
        return self.role is not None and self.kept is not None and self.kept.is_shared(kind, key)

    def must_own(self, kind: Kind, key: str) -> None:
        """Refuse a thing that the visitor may not change. Raises NotAllowed."""
        self.needs(CHANGED_BY.get(kind, Role.ADMIN))
        if not self.owns(kind, key):
            raise NotAllowed(
                f"This {WORDS.get(kind, 'thing')} isn't yours.", "Only its owner or an admin can change it."
            )

    def claims(self, kind: Kind, key: str, *, alone: bool = True, new: bool = True) -> None:
        """Record that the visitor made a thing. With `alone` nobody else owns it from now on; without, others
        who made the same keep it too. A thing that is not `new` stays shared, if it was the visitor's."""
        if self.kept is not None:
            self.kept.claim(kind, key, self.name, alone=alone, new=new)

    def forgets(self, kind: Kind, key: str) -> None:
        """Drop the record of a thing that is gone."""
        if self.kept is not None:
            self.kept.forget(kind, key)

    def seen_rows(self, kind: Kind, column: str) -> tuple[str, tuple[str, ...]]:
        """An SQL condition on rows that the visitor may see, and its values. `column` holds the keys."""
        if self.sees_all:
            return "TRUE", ()
        if self.role is None or not self.name:
            return "FALSE", ()
        return (
            f"{column} IN (SELECT key FROM owners WHERE kind = ? AND (owner = ? OR shared))",
            (str(kind), self.name),
        )


STUDIO = Visitor()
"""The person at the machine, and the studio itself."""
NOBODY = Visitor(role=None)
_present: ContextVar[Visitor] = ContextVar("visitor", default=STUDIO)


def visitor() -> Visitor:
    """The visitor on whose behalf this thread or task works."""
    return _present.get()


@contextmanager
def acting(present: Visitor) -> Iterator[None]:
    """Work on behalf of a visitor inside the block."""
    token = _present.set(present)
    try:
        yield
    finally:
        _present.reset(token)


def on_behalf(work: Callable[P, R]) -> Callable[P, R]:
    """Work that is done on behalf of the present visitor, in whichever thread; a thread that is started
    without it works for the person at the machine. All other context variables go along."""
    context = copy_context()

    def work_there(*args: P.args, **kwargs: P.kwargs) -> R:
        return context.run(work, *args, **kwargs)

    return work_there
