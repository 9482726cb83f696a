"""The card "Check the pictures" on Upload: it checks by itself what is there, and mends what is asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import gradio as gr

from lora_studio.errors import ConfigError, NotAllowed, StudioError
from lora_studio.jobs.checking.dataset_checks import CheckRequest, ReportForm
from lora_studio.studio import Studio
from lora_studio.ui.checks.check_views import card_mark, check_card, check_failed
from lora_studio.ui.client_input.validate import QUICK, guarded, quietly, safe_id
from lora_studio.ui.gallery.picked_pictures import ZIP_JS
from lora_studio.ui.widgets.html_templates import fill, panel

CARD_JS = Path(__file__).with_name("check_card.js").read_text("utf-8")
WAITED = 0.4
"""Seconds that a look waits for a check to end: one that knows the pictures already flickers no bar."""
Asked = Callable[[Sequence[Any]], CheckRequest | None]
"""A function from the values of the tab to what is to be checked; None without pictures."""


@dataclass(frozen=True, kw_only=True)
class CheckParts:
    """The card, and the place of the report's link."""

    card: gr.HTML
    link: gr.HTML


def render() -> CheckParts:
    """Create the components. Call above the pictures, which can be many."""
    card = panel(elem_id="upload-check", actions=CARD_JS)
    return CheckParts(card=card, link=panel(elem_id="upload-check-report", actions=ZIP_JS))


def listen(parts: CheckParts, inputs: list[Any], asked: Asked, studio: Studio) -> None:
    """Wire all but the fixes. `inputs` are the components that `asked` reads."""

    def look_at_set(event: gr.EventData, *values: Any) -> Any:
        """The card for the set and the training that the tab shows, begun where it is a new one."""
        return card_of(studio, asked(values), str(getattr(event, "mark", "") or ""))

    def end_check(event: gr.EventData, *values: Any) -> Any:
        studio.checks.stop(safe_id(getattr(event, "id", None), "check of pictures"))
        return card_of(studio, asked(values), "")

    def begin_check(*values: Any) -> Any:
        if (request := asked(values)) is not None:
            studio.checks.begin(request, anew=True)
        return card_of(studio, request, "")

    def download_report(event: gr.EventData) -> str:
        return report_link(studio, event)

    card = parts.card
    card.input(quietly(look_at_set, gr.skip), inputs, card, queue=False, **QUICK)
    card.stop(guarded(end_check), inputs, card, **QUICK)
    card.retry(guarded(begin_check), inputs, card, **QUICK)
    card.download(guarded(download_report), None, parts.link, **QUICK)


def card_of(studio: Studio, request: CheckRequest | None, painted: str) -> Any:
    """HTML of the card for what is to be checked; Gradio's "as it is" where the painted one shows the same,
    empty without pictures and for those who may not train."""
    if request is None:
        return "" if painted else gr.skip()
    try:
        check = studio.checks.begin(request)
        if check.active and not check.total:
            check = studio.checks.wait(check.id, WAITED)
        history = studio.datasets.edits(request.dataset_id)
    except NotAllowed:
        return "" if painted else gr.skip()
    except StudioError as error:
        return check_failed(error)
    return gr.skip() if card_mark(check, history) == painted else check_card(check, history)


def mended(studio: Studio, event: Any) -> str:
    """Mend what a click on the card asks for, in a client's words; the set's id. Raises StudioError."""
    check_id = safe_id(getattr(event, "id", None), "check of pictures")
    named = getattr(event, "check", None)
    record = studio.checks.fix(check_id, [named] if isinstance(named, str) else [])
    return record.id


def report_link(studio: Studio, event: Any) -> str:
    """HTML with the link of a report as the page or JSON. Raises StudioError."""
    form = getattr(event, "form", None)
    for one in get_args(ReportForm):
        if form == one:
            check_id = safe_id(getattr(event, "id", None), "check of pictures")
            file = studio.checks.write_report(check_id, one)
            return fill("zip", file=file, words=file.name)
    raise ConfigError("There is no report of this form.", "Reload the page.")
