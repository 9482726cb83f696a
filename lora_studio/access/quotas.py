"""Quotas: how much of what is here one person may use, by role, and the sentence for who wants more."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from enum import StrEnum
from typing import Protocol

from lora_studio.access.roles import Role
from lora_studio.errors import ConfigError, QuotaReached
from lora_studio.formatting import size
from lora_studio.parsing.numbers import read_decimal, read_whole


class Use(StrEnum):
    """Uses that are counted. Trainings and generations: those that wait or run at the time; images and steps:
    those of a day (UTC); disk: bytes of sets of pictures, LoRAs and pictures that are kept, also in the
    trash."""

    TRAININGS = "trainings"
    GENERATIONS = "generations"
    IMAGES = "images"
    STEPS = "steps"
    DISK = "disk"


Limits = Mapping[Use, int | None]
"""The most of each use; None is no limit."""
GB = 1_000_000_000
MOST = 10**15
DRAWS: Limits = {Use.TRAININGS: 0, Use.GENERATIONS: 4, Use.IMAGES: 500, Use.STEPS: 0, Use.DISK: 5 * GB}
DEFAULTS: Mapping[Role, Limits] = {
    Role.VIEWER: DRAWS,
    Role.CREATOR: DRAWS,
    Role.TRAINER: {**DRAWS, Use.TRAININGS: 3, Use.STEPS: 50_000, Use.DISK: 20 * GB},
    Role.ADMIN: dict.fromkeys(Use),
}
TITLES = {
    Use.TRAININGS: "Trainings that wait or run",
    Use.GENERATIONS: "Generations that wait or run",
    Use.IMAGES: "Pictures drawn today",
    Use.STEPS: "Training steps of today",
    Use.DISK: "Disk",
}
SENTENCES = {
    Use.TRAININGS: (
        "You may have {allowed} trainings that wait or run, and have {used}.",
        "Wait until one is done, or stop one",
    ),
    Use.GENERATIONS: (
        "You may have {allowed} generations that wait or run, and have {used}.",
        "Wait until one is done, or stop one",
    ),
    Use.IMAGES: (
        "You may draw {allowed} pictures a day; {used} are drawn or waiting, this would be {wanted} more.",
        "Draw fewer, or go on tomorrow (UTC)",
    ),
    Use.STEPS: (
        "You may train {allowed} steps a day; {used} are done or planned, and this would be {wanted} more.",
        "Train fewer steps, stop a training, or go on tomorrow (UTC)",
    ),
    Use.DISK: (
        "You may keep {allowed} here; you have {used}, and this needs {wanted} more.",
        "Delete LoRAs or pictures that you don't need, and empty your trash",
    ),
}


class Allowance(Protocol):
    """The record of what one person uses and may use."""

    def check(self, use: Use, wanted: int, pending: int) -> None: ...

    def spend(self, use: Use, amount: int) -> None: ...

    def room(self, wanted: int) -> AbstractContextManager[None]: ...


def check(use: Use, *, wanted: int, used: int, allowed: int | None) -> None:
    """Refuse what goes beyond the allowed. Raises QuotaReached."""
    if allowed is None or used + wanted <= allowed:
        return
    sentence, hint = SENTENCES[use]
    numbers = {"wanted": wanted, "used": used, "allowed": allowed}
    raise QuotaReached(
        sentence.format(**{name: shown(use, number) for name, number in numbers.items()}),
        f"{hint}; whoever runs this studio can allow more.",
    )


def shown(use: Use, amount: int | None) -> str:
    """An amount in words; "no limit" for None."""
    if amount is None:
        return "no limit"
    return size(amount) if use is Use.DISK else f"{amount:,}"


def given_limits(texts: list[str], before: Limits) -> Limits:
    """Limits with the changes of texts as `images=200`: a whole number (of disk gigabytes, also with a
    point), `none` for no limit, `default` for the role's. Raises ConfigError."""
    limits = dict(before)
    for text in texts:
        name, _, value = (part.strip().lower() for part in text.partition("="))
        if name not in list(Use) or not value:
            raise ConfigError(
                f"{text[:40]!r} is no quota.",
                f"Write NAME=NUMBER, NAME=none or NAME=default, with one of {', '.join(Use)}.",
                field="quota",
            )
        use = Use(name)
        limits.pop(use, None)
        if value != "default":
            limits[use] = None if value == "none" else _amount(use, value)
    return limits


def _amount(use: Use, value: str) -> int:
    if use is Use.DISK:
        return round(read_decimal(value, use, least=0, most=MOST / GB) * GB)
    return read_whole(value, use, least=0, most=MOST)
