"""Faults between us and the mirror, by the way to deal with them."""

from __future__ import annotations

import email.utils
import time
from collections.abc import Mapping
from typing import Any

from lora_studio.errors import MirrorError

RETRIED = {408, 425, 429}
LONGEST_SAID = 300
MIGRATE = "Run the migrations of the folder supabase/migrations in the project."
NOT_OUR_SCHEMA = {
    "PGRST106",
    "PGRST200",
    "PGRST202",
    "PGRST204",
    "PGRST205",
    "42P01",
    "42703",
    "42883",
    "3F000",
}
BAD_TOKEN = {"PGRST300", "PGRST301", "PGRST302", "PGRST303"}


class Unreachable(MirrorError):
    """No answer, or none of Supabase's: try again, for ever; `retry_after` are the server's seconds."""

    def __init__(self, message: str, hint: str = "", *, retry_after: float = 0.0) -> None:
        super().__init__(message, hint)
        self.retry_after = retry_after


class NotAllowed(MirrorError):
    """Key, account or schema is wrong: nothing will be taken until a person puts that right."""


class ExpiredToken(NotAllowed):
    """A token that is no longer valid; a new sign-in may help."""


class Refused(MirrorError):
    """A thing that will never be taken; others may."""


class ParentMissing(MirrorError):
    """A row that belongs to another one which is not there yet."""


def fault_of(status: int, body: Any, *, retry_after: float = 0.0, storage: bool = False) -> MirrorError:
    """The fault behind an answer. Storage answers 400 to nearly everything and has the true status in the
    body, as text; PostgREST has PostgreSQL's or its own code there."""
    facts: Mapping[str, Any] = body if isinstance(body, Mapping) else {}
    if storage and str(facts.get("statusCode", "")).isdigit():
        status = int(facts["statusCode"])
    code = str(facts.get("code") or "")
    message = " ".join(str(facts.get("message") or facts.get("msg") or facts.get("error") or "").split())
    reason = f"{message[:LONGEST_SAID]} ({code or status})" if message else f"status {code or status}"
    if status in RETRIED or status >= 500:
        return Unreachable(f"Supabase can't take anything now: {reason}.", retry_after=retry_after)
    if code == "23503" and not storage:
        return ParentMissing(f"Supabase waits for what this belongs to: {reason}.")
    if not storage and code == "42501":
        return NotAllowed(
            f"Supabase does not allow it: {reason}.", f"Check whose key SUPABASE_KEY is. {MIGRATE}"
        )
    if code in BAD_TOKEN or status == 401:
        return ExpiredToken(
            f"Supabase does not accept the key: {reason}.", "Check SUPABASE_KEY and the account."
        )
    if code in NOT_OUR_SCHEMA:
        return NotAllowed(
            f"The Supabase project has other tables than this version needs: {reason}.", MIGRATE
        )
    if status == 403 and not storage:
        return NotAllowed(f"Supabase does not allow it: {reason}.", "Check SUPABASE_KEY and the account.")
    if storage or code[:2] in {"22", "23"}:
        return Refused(f"Supabase refused: {reason}.")
    return Unreachable(f"Supabase gave an answer that we don't know: {reason}.")


def seconds_of(header: str) -> float:
    """Seconds of a Retry-After header, which holds seconds or a date; 0 for neither."""
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(header).timestamp() - time.time())
    except (TypeError, ValueError):
        return 0.0
