"""Gradio's description of the page without what costs the browser time and shows nothing."""

from __future__ import annotations

from typing import Any

ARGUMENT = "api"
"""Gradio's type of the arguments and results of endpoints, which no page shows."""


def lighten(config: dict[str, Any]) -> None:
    """Change the config that Gradio makes of a Blocks so that its page does less.

    Each state of an event is given to all outputs of all events before it, each looked for in the whole tree
    of components (6.31): who shows no progress has none to give it to. The endpoints for programs and their
    arguments leave the tree and the lists of the page; `/config` and `/info`, which clients read, keep them.
    """
    for event in config["dependencies"]:
        if event["show_progress"] == "hidden":
            event["show_progress_on"] = []
    called = {event["id"] for event in config["dependencies"] if not event["targets"]}
    arguments = {one["id"] for one in config["components"] if one["type"] == ARGUMENT}
    for page in config["page"].values():
        page["dependencies"] = [one for one in page["dependencies"] if one not in called]
        page["components"] = [one for one in page["components"] if one not in arguments]
        layout = page["layout"]
        layout["children"] = [one for one in layout["children"] if one["id"] not in arguments]
