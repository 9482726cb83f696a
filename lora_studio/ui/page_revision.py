"""The page's revision: a short text that changes with anything that an open page shows.

The browser asks for it each second, and for the page's changes only when it is another one. Asking costs the
same with any library: it is made of the database's own counters and of a few numbers of this process.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import gradio as gr
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse

from lora_studio.access.visitor import Visitor, acting
from lora_studio.errors import StoreError
from lora_studio.studio import Studio
from lora_studio.ui.client_input import deleted_elsewhere
from lora_studio.ui.widgets.html_templates import fill, panel

REVISION = "/revision"
SECONDS, QUICK_SECONDS = 1.0, 0.5
"""Seconds between two questions; the second number is for the time while something is drawn."""
SCRIPT = Path(__file__).with_name("page_revision.js")


def page_revision(studio: Studio) -> str:
    """The revision now. It says that something changed, for whomever, and nothing about what."""
    facts = [
        sorted(studio.database.revisions().items()),
        studio.jobs.revision,
        studio.generation_queue.revision,
        studio.inspector.jobs.revision,
        studio.lease.holder,
        studio.first_scan.progress,
        studio.check_up.revision,
        studio.checks.revision,
        studio.captionings.revision,
        deleted_elsewhere.stamp(studio.settings),
        [studio.mirror.state(), studio.mirror.team()] if studio.mirror.is_on else [],
    ]
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]


def render() -> gr.HTML:
    """Create the component whose `tick` is heard when the page has to look again, and whose `submit` after a
    change too, but not more than once in ten seconds. Its value is the revision that is painted."""
    return panel(elem_id="revision", actions=SCRIPT.read_text("utf-8"))


def painted(revision: str) -> str:
    """The component's HTML for a painted revision."""
    return fill("revision", revision=revision)


class Revisions:
    """The answers to the browser's question."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio

    async def response(self, visitor: Visitor) -> JSONResponse:
        """The revision, and in how many seconds to ask again."""
        with acting(visitor):
            return JSONResponse(await run_in_threadpool(self.now), headers={"cache-control": "no-store"})

    def now(self) -> dict[str, Any]:
        """The answer itself: `revision`, `seconds`."""
        draws = any(ticket.state.active for ticket in self._studio.generation_queue.tickets())
        try:
            revision = page_revision(self._studio)
        except StoreError:
            revision = ""  # the page looks, and says what there is to say
        return {"revision": revision, "seconds": QUICK_SECONDS if draws else SECONDS}
