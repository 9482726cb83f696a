"""The state of the mirror in Supabase as a badge in the masthead, and the team's LoRAs as a list below the
library. Both show what the studio knows already; painting never waits for the network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from lora_studio.formatting import counted, moment, size
from lora_studio.jobs.supabase.shared_loras import SharedLora
from lora_studio.jobs.supabase.sync import MirrorState
from lora_studio.studio import Studio
from lora_studio.ui.client_input.validate import QUICK, as_words, guarded, quietly, safe_id
from lora_studio.ui.widgets.html_templates import ACTIONS_JS, fill, panel

WORDS = {"synced": "Supabase: synced", "paused": "Supabase: paused"}


@dataclass(frozen=True, kw_only=True)
class MirrorParts:
    """The badge, and the list of the team's LoRAs."""

    badge: gr.HTML
    team: gr.HTML


def render_badge(studio: Studio) -> gr.HTML:
    """Create the badge. Call below the masthead."""
    return panel(badge(studio.mirror.state()), elem_id="mirror-badge")


def render_team() -> gr.HTML:
    """Create the list of the team's LoRAs. Call below the library."""
    return panel(elem_id="mirror-team", actions=ACTIONS_JS)


def listen(page: gr.Blocks, revision: gr.HTML, parts: MirrorParts, studio: Studio) -> list[Any]:
    """Wire badge and list; returns the events after which the page has to be refreshed. Without a project
    there is nothing to follow. `revision` ticks when something has changed."""
    if not studio.mirror.is_on:
        return []
    painted = gr.JSON(visible=False, elem_id="mirror-painted")

    def look(before: Any) -> list[Any]:
        now = [badge(studio.mirror.state()), team(studio.mirror.team())]
        painted_before = before if isinstance(before, list) and len(before) == len(now) else ["", ""]
        return [
            now,
            *(gr.skip() if new == old else new for new, old in zip(now, painted_before, strict=True)),
        ]

    def fetch(event: gr.EventData) -> str:
        record = studio.mirror.fetch(safe_id(getattr(event, "id", None), "LoRA"))
        gr.Info(as_words(f"{record.title} is in your library now."))
        return team(studio.mirror.team())

    outputs = [painted, parts.badge, parts.team]
    quiet = quietly(look, gr.skip)
    for event in (revision.tick, page.load):
        event(quiet, painted, outputs, queue=False, **QUICK)
    return [parts.team.click(guarded(fetch), None, parts.team, api_visibility="private")]


def badge(state: MirrorState) -> str:
    """HTML of the mirror's state, with the reason in the tooltip; empty for who has set up none."""
    if state.state == "off":
        return ""
    waiting = f"Supabase: {state.waiting} waiting" if state.waiting else "Supabase: not reached"
    words = WORDS.get(state.state, waiting)
    if state.state == "paused" and state.waiting:
        words += f", {state.waiting} waiting"
    if state.refused:
        words += f", {state.refused} refused"
    return fill("badge", state=state.state, words=words, reason=state.reason, told=state.state == "paused")


def team(loras: Sequence[SharedLora]) -> str:
    """HTML of LoRAs to fetch; empty when there are none."""
    rows = [{"lora": lora, "line": _line(lora)} for lora in loras]
    headline = counted(len(rows), "LoRA of your team", "LoRAs of your team")
    return fill("team", rows=rows, headline=headline) if rows else ""


def _line(lora: SharedLora) -> str:
    facts = (lora.base, lora.trigger_word and f"trigger {lora.trigger_word}", size(lora.size_bytes))
    return " · ".join(filter(None, (*facts, moment(lora.created_at))))
