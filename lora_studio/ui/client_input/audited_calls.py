"""Calls that go into the audit log, the page's and the API's alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lora_studio.access.visitor import visitor
from lora_studio.store.people.audit_log import LOCAL, AuditEntry
from lora_studio.ui.client_input.validate import RECORD_ID

DEEDS: Mapping[str, str] = {
    **dict.fromkeys(("start_training", "start", "start_again"), "start"),
    **dict.fromkeys(("stop_training", "stop"), "stop"),
    **{"pause_training": "pause", "resume_training": "resume", "act": "control"},
    **dict.fromkeys(("delete_dataset", "delete_lora", "delete_image", "delete"), "delete"),
    **dict.fromkeys(("undo_delete", "undo"), "undo"),
    **dict.fromkeys(("rename_lora", "rename"), "rename"),
    **dict.fromkeys(
        ("upload_dataset", "receive", "import_lora", "add", "import_lora_link", "fetch"), "import"
    ),
    **dict.fromkeys(("set_caption", "caption"), "caption"),
    **dict.fromkeys(("use_checkpoint", "use"), "checkpoint"),
    **dict.fromkeys(("share", "turn_sharing"), "share"),
    **{"invite_somebody": "invite", "give_link": "link", "set_role": "role", "set_limits": "quota"},
    **dict.fromkeys(("end_sessions", "close_invite", "end_all"), "revoke"),
}
"""Deeds of calls, by the names of their functions. Looking and drawing are not in it."""


def deed_of(name: str) -> str:
    """The deed of a call; empty for one that is not logged."""
    return DEEDS.get(name, "")


def entry_of(deed: str, inputs: Sequence[Any], request: Any, error: BaseException | None) -> AuditEntry:
    """The entry of a call that ended, by who acts at present."""
    return AuditEntry(
        deed=deed,
        who=visitor().name or LOCAL,
        source=str(getattr(getattr(request, "client", None), "host", "") or ""),
        thing=next((one for one in inputs if isinstance(one, str) and RECORD_ID.fullmatch(one)), ""),
        result="ok" if error is None else f"refused: {type(error.__cause__ or error).__name__}",
    )
