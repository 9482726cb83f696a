"""Calls that go into the audit log, the page's and the API's alike."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lora_studio.access.visitor import visitor
from lora_studio.store.people.audit_log import LOCAL, OK, AuditEntry

THING = re.compile(r"\w[\w.@+-]{0,99}")
"""Ids of things, and names of people."""


@dataclass(frozen=True, kw_only=True)
class Deed:
    """A deed, and where its call says what it is done to: the place of an input, the key of a click's data.
    None of the others is looked at: they are names, captions and links, in whatever form. With `action` it is
    one only where the click says so."""

    name: str
    place: int | None = None
    key: str = ""
    action: str = ""


_UNDO = Deed(name="undo", place=0, key="id")
_UNDO_CLICK = Deed(name="undo", key="id")
DEEDS: Mapping[str, Deed] = {
    **dict.fromkeys(("start_training", "start", "start_again"), Deed(name="start", place=0)),
    **dict.fromkeys(("stop_training", "stop"), Deed(name="stop", place=0)),
    "cancel": Deed(name="stop", key="id"),
    **dict.fromkeys(("pause_training", "pause"), Deed(name="pause", place=0)),
    **dict.fromkeys(("resume_training", "resume", "fork"), Deed(name="resume", place=0)),
    "go_on": Deed(name="resume", key="id"),
    **dict.fromkeys(
        ("delete_dataset", "delete_lora", "delete_image", "delete_training", "delete"),
        Deed(name="delete", place=0),
    ),
    **dict.fromkeys(("undo_delete", "undo", "undo_deleted"), _UNDO),
    "act": Deed(name="undo", key="id", action="undo"),
    **dict.fromkeys(("rename_lora", "rename"), Deed(name="rename", place=0)),
    "remove_trainings": Deed(name="delete"),
    "undo_removal": Deed(name="undo"),
    "delete_pictures": Deed(name="delete"),
    "purge": Deed(name="purge", key="id"),
    "empty_trash": Deed(name="purge"),
    **dict.fromkeys(("clean_storage", "clean_up"), Deed(name="clean", key="id")),
    "pack_logs": Deed(name="logs"),
    **dict.fromkeys(("describe", "write_card", "set_card"), Deed(name="describe", place=0)),
    "vote": Deed(name="describe", key="slug"),
    "keep_settings": Deed(name="describe"),
    "rename_settings": Deed(name="rename", place=0),
    "delete_settings": Deed(name="delete", place=0),
    "undo_settings": _UNDO_CLICK,
    "mark_favourite": Deed(name="describe", key="slug"),
    "mark_picture": Deed(name="describe", key="id"),
    **dict.fromkeys(
        ("upload_dataset", "receive", "take_example", "import_lora", "add", "import_lora_link"),
        Deed(name="import"),
    ),
    **dict.fromkeys(("repair_lora", "merge_loras", "repair"), Deed(name="import")),
    "fetch": Deed(name="import", key="id"),
    **dict.fromkeys(
        ("set_caption", "caption", "change_captions", "reword_captions"), Deed(name="caption", place=0)
    ),
    **dict.fromkeys(
        (
            *("start_captioning", "start_captions", "stop_captioning", "end_captioning"),
            *("resume_captioning", "retry_caption"),
        ),
        Deed(name="caption", place=0),
    ),
    **dict.fromkeys(("edit_pictures", "edit", "undo_edit", "redo_edit"), Deed(name="edit", place=0)),
    **dict.fromkeys(("fix_dataset", "apply_fixes"), Deed(name="edit", place=0)),
    **dict.fromkeys(("name_version", "go_to_version"), Deed(name="edit", place=0)),
    "use_checkpoint": Deed(name="checkpoint", place=0),
    "use": Deed(name="checkpoint", key="slug"),
    "share": Deed(name="share", place=1),
    **dict.fromkeys(("publish", "publish_lora"), Deed(name="publish", place=0)),
    "turn_sharing": Deed(name="share", place=0),
    "invite_somebody": Deed(name="invite"),
    "give_link": Deed(name="link"),
    "set_role": Deed(name="role", place=0),
    "set_limits": Deed(name="quota", place=0),
    **dict.fromkeys(("end_sessions", "close_invite"), Deed(name="revoke", place=0)),
    "end_all": Deed(name="revoke"),
}
"""Deeds of calls, by the names of their functions. Looking and drawing are not in it."""


def deed_of(name: str, event: Any = None) -> Deed | None:
    """The deed of a call with its click's data; None for one that is not logged."""
    deed = DEEDS.get(name)
    return deed if deed and deed.action in {"", _in_event(event, "action")} else None


def entry_of(
    deed: Deed, inputs: Sequence[Any], event: Any, request: Any, error: BaseException | None
) -> AuditEntry:
    """The entry of a call that ended, by who acts at present."""
    given = inputs[deed.place] if deed.place is not None and deed.place < len(inputs) else None
    named = [one for one in (given, _in_event(event, deed.key)) if isinstance(one, str)]
    return AuditEntry(
        deed=deed.name,
        who=visitor().name or LOCAL,
        source=str(getattr(getattr(request, "client", None), "host", "") or ""),
        thing=next((one for one in named if THING.fullmatch(one)), ""),
        result=OK if error is None else f"refused: {type(error.__cause__ or error).__name__}",
    )


def _in_event(event: Any, key: str) -> Any:
    """A value of a click's data, as Gradio keeps it."""
    data = getattr(event, "_data", None) if event is not None else None
    return data.get(key) if key and isinstance(data, Mapping) else None
