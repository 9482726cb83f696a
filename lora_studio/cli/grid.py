"""`lora-studio grid`: one picture for each combination of settings, on a labelled sheet."""

from __future__ import annotations

import argparse
import json
import sys

from lora_studio.cli.console.ctrl_c import stop_request
from lora_studio.cli.console.progress_bar import Progress
from lora_studio.cli.generate import add_delivery, deliver, facts
from lora_studio.cli.image_options import add_image_arguments, build_request
from lora_studio.errors import ConfigError
from lora_studio.grids.grid_request import AXES, PARAMETERS, GridRequest, GridResult

DIRECTIONS = {"x": "to the right", "y": "downwards", "z": "from one block to the next"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_image_arguments(parser)
    for axis, direction in DIRECTIONS.items():
        parser.add_argument(
            f"--{axis}",
            metavar="SETTING=VALUES",
            required=axis == AXES[0],
            help=f"what changes {direction}, as lora_weight:my-cat='0-1 [5]'",
        )
    parser.epilog = f"Settings: {', '.join(PARAMETERS)}."
    add_delivery(parser)


def run(arguments: argparse.Namespace) -> int:
    from lora_studio.studio import open_studio

    studio = open_studio(start_worker=False)
    try:
        axes = {axis: parse_axis(text) for axis in AXES if (text := getattr(arguments, axis))}
        request = build_request(arguments, studio)
        progress = Progress(sys.stderr)
        with stop_request("Stopping; finished pictures are kept.") as asked:
            grid = GridRequest.model_validate({"request": request, **axes})
            result = studio.grid(grid, progress.show, asked)
            progress.close()
        _report(result, arguments)
        if result.failure:
            print(f"error: {result.failure}", file=sys.stderr)
        return 2 if result.failure else 130 if result.stopped else 0
    finally:
        studio.close()


def parse_axis(text: str) -> dict[str, str]:
    """`seed=1, 2, 3` as an axis. Raises ConfigError."""
    parameter, equals, values = text.partition("=")
    if not equals:
        raise ConfigError(
            f"{text[:80]!r} is no axis of a grid.", "Write it as in --x 'seed=1, 2, 3'.", field="values"
        )
    return {"parameter": parameter.strip(), "values": values.strip()}


def _report(result: GridResult, arguments: argparse.Namespace) -> None:
    sheets = [result.sheet] if result.sheet else []
    sheet = next(iter(deliver(sheets, arguments.out)), None)
    cells = [record for record in result.cells if record]
    if arguments.json:
        pictures = [
            facts(record, path) for record, path in zip(cells, deliver(cells, arguments.out), strict=True)
        ]
        shape: dict[str, object] = {
            "columns": result.columns,
            "rows": result.rows,
            "reused": result.reused,
            "failure": result.failure,
        }
        print(json.dumps({"sheet": sheet and str(sheet), **shape, "images": pictures}, indent=2))
    elif sheet:
        print(sheet)
