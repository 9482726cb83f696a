"""The last word of a training, or of other work in a thread of its own, that ended by an error."""

from __future__ import annotations

import logging
import secrets

from lora_studio.errors import DeviceLost, DiskFull, NetworkLost, StudioError
from lora_studio.events import Failed

logger = logging.getLogger(__name__)

TOLD_APART: dict[str, type[StudioError]] = {one.__name__: one for one in (DeviceLost, DiskFull, NetworkLost)}
"""Errors by name that end a run otherwise than the rest; see early_endings."""


def error_of_far_end(kind: str, failure: Failed) -> StudioError:
    """The error that a far end told of, by the name of its class."""
    return TOLD_APART.get(kind, StudioError)(failure.message, failure.hint)


def bug_of(error: Exception, work: str) -> StudioError:
    """The error for people in place of a bug in this work, whose details are logged under a number."""
    number = secrets.token_hex(3)
    logger.error("bug %s in %s", number, work, exc_info=error)
    return StudioError(
        "Something went wrong inside LoRA Studio.", f"Its log has the details under the number {number}."
    )


def failure_of(error: BaseException) -> Failed:
    """The event for people: a StudioError's own words, or that it is a bug."""
    if isinstance(error, StudioError):
        return Failed(message=error.message, hint=error.hint)
    first_line = next(iter(str(error).splitlines()), "")
    reason = f"{type(error).__name__}: {first_line}" if first_line else type(error).__name__
    return Failed(
        message=f"The training ended by an unexpected error ({reason[:300]}).",
        hint="The details are in the job's log. Please report it.",
    )
