"""`lora-studio status`: the state of the trainings, whoever runs them, from the store or from Supabase."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

from lora_studio.cli.console.progress_bar import draw_bar
from lora_studio.cli.console.terminal import has_reader
from lora_studio.formatting import duration

if TYPE_CHECKING:
    from lora_studio.cli.console.status_source import StatusSource
    from lora_studio.records import JobRecord

WATCH_SECONDS, WATCH_SECONDS_THERE = 1.0, 3.0
LATEST_LINES = 8
DONE, FAILED, NOT_REACHED = 0, 3, 4
COLOURS = {
    **{"running": "36", "queued": "34", "stopping": "33", "pausing": "33", "paused": "33"},
    **{"finished": "32", "failed": "31", "interrupted": "31", "stopped": "90"},
}
"""ANSI colours of the bars, by status."""
HEAD = ("JOB", "NAME", "STATUS", "PROGRESS", "STEP", "LOSS", "LEFT", "STARTED", "BEAT")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "job", nargs="?", metavar="JOB", help="one job by its id or LoRA name (default: all, newest first)"
    )
    parser.add_argument("--watch", action="store_true", help="keep looking until nothing is running")
    parser.add_argument(
        "--json", action="store_true", help="print as JSON; with --watch one line for each look"
    )
    parser.add_argument(
        "--source",
        choices=("auto", "local", "supabase"),
        default="auto",
        help="auto reads this machine's store, and Supabase where there is none or it lacks the JOB",
    )
    parser.epilog = (
        "Exit code: 0; 3 when JOB, or else the newest training, has failed or was interrupted; 4 when "
        "neither the store nor Supabase can be read."
    )


def run(arguments: argparse.Namespace) -> int:
    from lora_studio.cli.console.status_source import OutOfReach, open_source

    source: StatusSource | None = None
    try:
        source = _with_job(open_source(arguments.source), arguments)
        records = _watch(source, arguments) if arguments.watch else _look(source, arguments.job)
        if not arguments.watch:
            print(_show(source, records, arguments))
    except OutOfReach as error:
        print(f"error: {error}", file=sys.stderr)
        return NOT_REACHED
    finally:
        if source is not None:
            source.close()
    failed = any(record.status in {"failed", "interrupted"} for record in records[:1])
    return FAILED if failed else DONE


def _with_job(source: StatusSource, arguments: argparse.Namespace) -> StatusSource:
    """The source, or the mirror when only that has the wanted job."""
    from lora_studio.cli.console.status_source import There, find_job
    from lora_studio.errors import StoreError
    from lora_studio.settings import Settings

    settings = Settings.from_environment()
    may_ask = arguments.source == "auto" and arguments.job and source.name == "local"
    if may_ask and settings.supabase_url and settings.supabase_key:
        try:
            find_job(source.jobs(), arguments.job)
        except StoreError:
            source.close()
            return There(settings)
    return source


def _look(source: StatusSource, name: str | None) -> list[JobRecord]:
    from lora_studio.cli.console.status_source import find_job

    records = source.jobs()
    return [find_job(records, name)] if name else records


def _show(source: StatusSource, records: list[JobRecord], arguments: argparse.Namespace) -> str:
    if arguments.json:
        return _as_json(source, records, single=bool(arguments.job), compact=arguments.watch)
    return describe(source, records[0]) if arguments.job else draw_jobs(source, records)


def draw_jobs(source: StatusSource, records: list[JobRecord]) -> str:
    """A table of jobs, newest first, with their bars."""
    from lora_studio.cli.console.text_table import draw_table

    if not records:
        return "No training yet. Start with: lora-studio tour"
    head, *lines = draw_table(HEAD, [_row(source, record) for record in records]).splitlines()
    if _is_coloured():
        bars = [(_bar(record), f"\x1b[{COLOURS[record.status]}m{_bar(record)}\x1b[0m") for record in records]
        lines = [line.replace(*bar, 1) for line, bar in zip(lines, bars, strict=True)]
        head = f"\x1b[1m{head}\x1b[0m"
    return "\n".join([head, *lines])


def describe(source: StatusSource, record: JobRecord) -> str:
    """One job in detail, with the latest lines of its log."""
    lines = [draw_jobs(source, [record])]
    if source.is_stale(record):
        lines.append("Stale: it is said to run, but its program gives no sign of life.")
    if record.message:
        lines.append(f"{record.message} {record.hint}".rstrip())
    if record.result_path:
        lines.append(f"Result: {record.result_path}")
    latest = source.lines(record)[-LATEST_LINES:]
    lines += [f"{datetime.fromtimestamp(at):%H:%M:%S}  {text}" for at, text in latest]
    return "\n".join(lines)


def _row(source: StatusSource, record: JobRecord) -> tuple[str, ...]:
    started = record.started_at or record.created_at
    status = str(record.status)
    if source.is_stale(record):
        status += ", stale"
    elif record.status.active and record.phase:
        status += f": {record.phase}"
    silence = time.time() - (record.heartbeat_at or record.created_at)
    return (
        record.id[:12],
        record.name,
        status,
        f"{_bar(record)} {record.progress:3.0f}%",
        f"{record.step}/{record.total_steps}" if record.total_steps else "",
        "" if record.loss is None else f"{record.loss:.4f}",
        duration(record.seconds_left) if record.status.active and record.seconds_left is not None else "",
        f"{datetime.fromtimestamp(started):%Y-%m-%d %H:%M}",
        f"{duration(silence)} ago" if record.status.active else "",
    )


def _bar(record: JobRecord) -> str:
    return draw_bar(record.progress / 100, width=14, ascii_only=not _writes_blocks())


def _writes_blocks() -> bool:
    return (sys.stdout.encoding or "").lower().replace("-", "") in {"utf8", "utf16"}


def _is_coloured() -> bool:
    """Whether to use colours: on a terminal without NO_COLOR (no-color.org); elsewhere with FORCE_COLOR."""
    if os.environ.get("NO_COLOR"):
        return False
    return sys.stdout.isatty() or bool(os.environ.get("FORCE_COLOR"))


def _as_json(source: StatusSource, records: list[JobRecord], *, single: bool, compact: bool) -> str:
    from lora_studio.cli.console.follow_job import describe_job

    def described(record: JobRecord) -> dict[str, Any]:
        beat = {"heartbeat_at": record.heartbeat_at, "stale": source.is_stale(record)}
        return {**describe_job(record), **beat, "source": source.name}

    data: Any = [described(record) for record in records]
    return json.dumps(data[0] if single else {"jobs": data}, indent=None if compact else 2)


def _watch(source: StatusSource, arguments: argparse.Namespace) -> list[JobRecord]:
    """The jobs at the last look, when nothing runs any more. An outage is reported and waited out."""
    from lora_studio.cli.console.status_source import OutOfReach

    redraw, shown = sys.stdout.isatty() and not arguments.json, ""
    seconds = WATCH_SECONDS if source.name == "local" else WATCH_SECONDS_THERE
    seen = False
    while True:
        try:
            records = _look(source, arguments.job)
        except OutOfReach as error:
            if not seen:
                raise
            print(f"{error} Trying again.", file=sys.stderr)
            time.sleep(seconds)
            continue
        seen, text = True, _show(source, records, arguments)
        if redraw:
            print(f"\x1b[H\x1b[2J{text}", flush=True)
        elif text != shown:
            print(text, flush=True)
        shown = text
        if not has_reader() or not any(record.status.active for record in records):
            return records
        time.sleep(seconds)
