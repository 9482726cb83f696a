"""Views of the trainings beside the chosen one: what runs, what waits, what has ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from lora_studio.formatting import about, counted, moment
from lora_studio.records import JobRecord, JobStatus
from lora_studio.ui.widgets.html_templates import FOCUS_JS, fill

RAIL_JS = (
    """
element.addEventListener('click', (event) => {
  const button = event.target.closest('[data-action]');
  if (!button || !element.contains(button)) return;
  trigger(button.dataset.action, {...button.dataset});
  const chosen = document.getElementById('train-chosen');
  const shows = ['click', 'select'].includes(button.dataset.action);
  if (shows && chosen && window.innerWidth <= 640) chosen.scrollIntoView();
});
"""
    + FOCUS_JS
)
"""Script of a list of trainings: its buttons, and the focus, which stays when it is painted anew."""


def line(jobs: Sequence[JobRecord], shown: str, seconds: Callable[[JobRecord], float]) -> str:
    """HTML of the trainings that are there, in the order of `job_lists.present_jobs`. `seconds` is the time
    that one will take, 0 where nobody knows."""
    waiting = [job for job in jobs if job.status is JobStatus.QUEUED]
    now = [job for job in jobs if job.status is not JobStatus.QUEUED]
    running = next((job for job in now if job.status.active), None)
    ahead: float | None = (running.seconds_left or seconds(running)) if running else 0.0
    if running and not ahead:
        ahead = None
    rows = _rows(waiting)
    for row in rows:
        if ahead:
            row["line"] += f" · in {about(ahead)}"
        length = seconds(row["job"])
        ahead = ahead + length if ahead is not None and length else None
    return fill("line", now=_rows(now), waiting=rows, shown=shown)


def history(
    jobs: Sequence[JobRecord], shown: str, *, found: int | None = None, search: str = "", following: int = 0
) -> str:
    """HTML of ended trainings, each row a button that shows it. `found` is the number of all that fit the
    search, `following` the number that a click shows."""
    total = len(jobs) if found is None else found
    return fill(
        "history",
        rows=_rows(jobs),
        shown=shown,
        headline=f"History · {counted(total, 'training')}",
        hidden=max(0, total - len(jobs)),
        following=following,
        search=" ".join(search.split()),
    )


def _rows(jobs: Sequence[JobRecord]) -> list[dict[str, Any]]:
    many = Counter(job.name.casefold() for job in jobs)
    return [
        {
            "job": job,
            "slug": job.slug if many[job.name.casefold()] > 1 else "",
            "line": f"{moment(job.created_at)} · {job.step} / {job.total_steps} steps"
            if not job.status.active
            else counted(job.total_steps, "step"),
        }
        for job in jobs
    ]
