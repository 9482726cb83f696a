"""The card that says what is wrong with a set of pictures: a pure function from a check to HTML."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lora_studio.data.checks.dataset_check import CHECKS
from lora_studio.data.checks.dataset_report import WITHOUT_LOSS, CheckedPart, DatasetReport, chosen_edits
from lora_studio.data.edits.edit_log import EditEntry, EditHistory
from lora_studio.errors import DatasetError, StudioError
from lora_studio.jobs.checking.dataset_checks import CheckRequest, CheckState, SetCheck
from lora_studio.jobs.checking.finding_pictures import MOST_SHOWN, FindingPictures, FixPreview
from lora_studio.ui.widgets.html_templates import fill

MOST_REASONS = 12
"""Reasons of one check that are listed; all are in the report."""
SEVERITIES = ("serious", "warning", "note")
NOTHING = FindingPictures(thumbnails={}, previews={})


def check_card(check: SetCheck, history: EditHistory) -> str:
    """HTML of a check: its progress, or grade, advice and findings."""
    report = check.report
    rows = [_row(part, check.shown or NOTHING) for part in report.parts] if report else []
    return fill(
        "check",
        check=check,
        mark=card_mark(check, history),
        percent=100 * check.done // check.total if check.total else 0,
        report=report,
        rows=rows,
        checks=len(report.parts) + len(report.passed) if report else 0,
        safe=_safe_fixes(report) if report else 0,
        error=check.error,
        mended=history.undoable.why if history.undoable and _is_fix(history.undoable) else "",
        after=history.head,
    )


def check_failed(error: StudioError) -> str:
    """HTML of the card where no check can be begun, with the button to begin one once that is over."""
    none = SetCheck(id="", request=CheckRequest(dataset_id="", base=""), head="", state=CheckState.FAILED)
    return fill("check", check=none, mark="none", report=None, error=error)


def card_mark(check: SetCheck, history: EditHistory) -> str:
    """A text that changes with whatever the card shows."""
    return f"{check.id} {check.state} {check.done} {check.stop_asked} {history.head}"


def _is_fix(entry: EditEntry) -> bool:
    """Whether an entry mends what checks found, by the titles that `DatasetChecks.fix` gives it. One that
    is long is cut at its end."""
    return any(entry.why == check.title or entry.why.startswith(f"{check.title}, ") for check in CHECKS)


def _safe_fixes(report: DatasetReport) -> int:
    """The number of pictures that would be mended without losing anything."""
    try:
        return len({edit.picture for edit in chosen_edits(report, WITHOUT_LOSS)})
    except DatasetError:  # no picture would be left: whoever presses the button of one check hears it
        return 0


def _row(part: CheckedPart, shown: FindingPictures) -> dict[str, Any]:
    """Facts of one check with findings."""
    names, fixes = part.pictures, [finding.fix for finding in part.findings if finding.fix]
    mended = {edit.picture for fix in fixes for edit in fix.edits}
    worst = min((finding.severity for finding in part.findings), key=SEVERITIES.index)
    reasons = [finding.reason for finding in part.findings]
    previews: Sequence[FixPreview] = shown.previews.get(part.check.id, ())
    return {
        "id": part.check.id,
        "what": part.check.title,
        "severity": worst,
        "reason": reasons[0],
        "advice": part.check.advice,
        "threshold": part.check.threshold,
        "others": reasons[1:MOST_REASONS],
        "unlisted": max(0, len(reasons) - MOST_REASONS),
        "pictures": [(name, shown.thumbnails.get(name, "")) for name in names[:MOST_SHOWN]],
        "count": len(names),
        "unshown": max(0, len(names) - MOST_SHOWN),
        "fix": fixes[0].title if fixes else "",
        "mended": len(mended),
        "previews": previews,
    }
