"""`lora-studio compare`: the settings in which two trainings differ, and the figures of each."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from lora_studio.formatting import duration, short, size

if TYPE_CHECKING:
    from lora_studio.jobs.comparison.run_comparison import RunComparison, RunFigures

MOST_JOBS = 1000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    for name in ("first", "second"):
        parser.add_argument(
            name, metavar="JOB", help="a training by its id or LoRA name, as status lists them"
        )
    parser.add_argument("--json", action="store_true", help="print settings, figures and curves as JSON")


def run(arguments: argparse.Namespace) -> int:
    from lora_studio.cli.console.status_source import find_job
    from lora_studio.jobs.comparison.run_comparison import compare_runs
    from lora_studio.studio import open_studio

    studio = open_studio(start_worker=False)
    try:
        jobs = studio.jobs.jobs(MOST_JOBS)
        ids = [find_job(jobs, name).id for name in (arguments.first, arguments.second)]
        comparison = compare_runs(studio.jobs, studio.database, *ids)
        print(_as_json(comparison) if arguments.json else _as_table(comparison))
        return 0
    finally:
        studio.close()


def _as_table(comparison: RunComparison) -> str:
    from lora_studio.cli.console.text_table import draw_table

    head = ("", *(f"{run.job.name} ({run.job.id})" for run in comparison.runs))
    figures = [_figures(run) for run in comparison.runs]
    rows = [(name, *(figure[name] for figure in figures)) for name in figures[0]]
    rows += [(pair.name, *(_shown(value) for value in pair.values)) for pair in comparison.differences]
    return f"{draw_table(head, rows)}\n\nThe other {comparison.same} settings are the same."


def _figures(run: RunFigures) -> dict[str, str]:
    best = run.best_validation
    return {
        "status": str(run.job.status),
        "steps": f"{run.job.step} of {run.job.total_steps}",
        "time": duration(run.seconds),
        "seconds a step": short(run.seconds_per_step) if run.seconds_per_step else "",
        "memory": size(run.memory_bytes) if run.memory_bytes else "",
        "loss": short(run.job.loss) if run.job.loss is not None else "",
        "loss held back": f"{short(best[1])} at {best[0]}" if best else "",
    }


def _shown(value: Any) -> str:
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _as_json(comparison: RunComparison) -> str:
    from lora_studio.cli.console.follow_job import describe_job

    runs = [
        {
            **describe_job(run.job),
            "seconds": run.seconds,
            "seconds_per_step": run.seconds_per_step,
            "memory_bytes": run.memory_bytes,
            "losses": run.losses,
            "validation": run.validation,
            "learning_rates": run.learning_rates,
        }
        for run in comparison.runs
    ]
    differences = [asdict(pair) for pair in comparison.differences]
    return json.dumps({"runs": runs, "differences": differences, "same": comparison.same}, indent=2)
