"""The visitor's own quotas: a line below the masthead that opens into how much is used and allowed."""

from __future__ import annotations

import gradio as gr

from lora_studio.access.quotas import TITLES, Use, shown
from lora_studio.access.visitor import visitor
from lora_studio.store.people.visitors import Visitors
from lora_studio.studio import Studio
from lora_studio.ui.client_input.validate import QUICK, quietly
from lora_studio.ui.widgets.html_templates import fill, panel


def render() -> gr.HTML:
    """Create the line. Call below the masthead."""
    return panel(elem_id="usage")


def listen(page: gr.Blocks, revision: gr.HTML, line: gr.HTML, studio: Studio, visitors: Visitors) -> None:
    """Keep the line up to date, some seconds late. A page that asks nobody has no quotas."""
    if visitors.is_open:
        return

    def look_at_usage() -> str:
        return usage(studio, visitors)

    for event in (revision.submit, page.load):
        event(quietly(look_at_usage, gr.skip), None, line, queue=False, **QUICK)


def usage(studio: Studio, visitors: Visitors) -> str:
    """HTML of what the visitor uses and may use; empty without quotas."""
    present = visitor()
    person = visitors.people.find(present.name) if present.allowance is not None else None
    if person is None:
        return ""
    counted = studio.generation_queue.count_of(person.name)
    used = {**visitors.usage.of(person.name), Use.GENERATIONS: counted}
    limits = {use: person.limit(use) for use in Use if person.limit(use) != 0 or used[use]}
    rows = [
        {"title": TITLES[use], "used": shown(use, used[use]), "allowed": shown(use, allowed)}
        for use, allowed in limits.items()
    ]
    is_full = any(allowed is not None and used[use] >= allowed for use, allowed in limits.items())
    return fill("usage", name=person.name, role=person.role, rows=rows, is_full=is_full)
