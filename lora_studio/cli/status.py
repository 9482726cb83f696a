"""`lora-studio status`: what the trainings are doing, from the store, whoever runs them."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from lora_studio.cli.progress import draw_bar, format_duration
from lora_studio.errors import StoreError

if TYPE_CHECKING:
    from lora_studio.records import JobRecord
    from lora_studio.studio import Studio

WATCH_SECONDS = 1.0
LATEST_EVENTS = 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "job", nargs="?", metavar="JOB", help="one job by its id or LoRA name (default: the latest)"
    )
    parser.add_argument("--watch", action="store_true", help="keep looking until nothing is running")
    parser.add_argument(
        "--json", action="store_true", help="print as JSON; with --watch one line each second"
    )


def run(arguments: argparse.Namespace) -> int:
    from lora_studio.studio import open_studio

    studio = open_studio(start_worker=False)

    def look() -> list[JobRecord]:
        return [find_job(studio, arguments.job)] if arguments.job else studio.jobs.jobs()

    def show(records: list[JobRecord]) -> str:
        if arguments.json:
            return _as_json(records, single=bool(arguments.job), compact=arguments.watch)
        if arguments.job:
            return describe(studio, records[0])
        return draw_jobs(records)

    try:
        if arguments.watch:
            _watch(look, show, redraw=sys.stdout.isatty() and not arguments.json)
        else:
            print(show(look()))
    finally:
        studio.close()
    return 0


def find_job(studio: Studio, name: str) -> JobRecord:
    """A job by id, beginning of an id, or its LoRA's name (the newest). Raises StoreError."""
    records = studio.jobs.jobs()
    for record in records:
        if name in {record.id, record.name, record.config["output"]["output_name"]}:
            return record
    starts = [record for record in records if len(name) >= 4 and record.id.startswith(name)]
    if len(starts) == 1:
        return starts[0]
    raise StoreError(f"There is no job called {name!r}.", "lora-studio status lists them.")


def draw_jobs(records: list[JobRecord]) -> str:
    """One line a job, newest first, with its bar."""
    from lora_studio.cli.table import draw_table

    if not records:
        return "No training yet. Start with: lora-studio tour"
    return draw_table(
        ("JOB", "NAME", "STATUS", "PROGRESS", "STEP", "LOSS", "LEFT", "STARTED"), map(_row, records)
    )


def describe(studio: Studio, record: JobRecord) -> str:
    """One job in detail with its latest events."""
    lines = [draw_jobs([record])]
    if record.message:
        lines.append(f"{record.message} {record.hint}".rstrip())
    if record.result_path:
        lines.append(f"Result: {record.result_path}")
    events = [stored for stored in studio.jobs.events(record.id) if type(stored.event).__name__ != "StepDone"]
    lines += [f"{datetime.fromtimestamp(each.at):%H:%M:%S}  {each.event}" for each in events[-LATEST_EVENTS:]]
    return "\n".join(lines)


def _row(record: JobRecord) -> tuple[str, ...]:
    bar = draw_bar(record.progress / 100, width=14, ascii_only=not _writes_blocks())
    started = record.started_at or record.created_at
    return (
        record.id[:12],
        record.name,
        f"{record.status}"
        if not record.status.active or not record.phase
        else f"{record.status}: {record.phase}",
        f"{bar} {record.progress:3.0f}%",
        f"{record.step}/{record.total_steps}" if record.total_steps else "",
        "" if record.loss is None else f"{record.loss:.4f}",
        format_duration(record.seconds_left)
        if record.status.active and record.seconds_left is not None
        else "",
        f"{datetime.fromtimestamp(started):%Y-%m-%d %H:%M}",
    )


def _writes_blocks() -> bool:
    return (sys.stdout.encoding or "").lower().replace("-", "") in {"utf8", "utf16"}


def _as_json(records: list[JobRecord], *, single: bool, compact: bool) -> str:
    from lora_studio.cli.following import describe_job

    data: Any = [describe_job(record) for record in records]
    return json.dumps(data[0] if single else {"jobs": data}, indent=None if compact else 2)


def _watch(
    look: Callable[[], list[JobRecord]], show: Callable[[list[JobRecord]], str], *, redraw: bool
) -> None:
    shown = ""
    while True:
        records = look()
        text = show(records)
        if redraw:
            print(f"\x1b[H\x1b[2J{text}", flush=True)
        elif text != shown:
            print(text, flush=True)
        shown = text
        if not any(record.status.active for record in records):
            return
        time.sleep(WATCH_SECONDS)
