"""`lora-studio plan`: the estimate of a training, measured with a few real steps; nothing is kept."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from lora_studio.cli import train
from lora_studio.cli.console.ctrl_c import stop_request
from lora_studio.cli.console.progress_bar import Progress
from lora_studio.errors import ConfigError
from lora_studio.formatting import counted

if TYPE_CHECKING:
    from lora_studio.estimate import TrainingEstimate

DONE, STOPPED = 0, 130


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `lora-studio train`; the name may be left out."""
    train.add_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    from lora_studio.studio import open_studio

    if arguments.save_kohya_config:
        raise ConfigError("--save-kohya-config doesn't work here.", "It is for lora-studio train.")
    if arguments.name is None and not arguments.config:
        arguments.name = "Plan"
    wanted = train.read_wanted(arguments)
    progress = Progress(sys.stderr)
    studio = open_studio(start_worker=False)
    try:
        with train.checked_files(studio, wanted) as files, studio.datasets.passing(files) as pictures:
            train.tell(pictures, progress)
            config = train.planned_config(studio, wanted, Path(pictures.path), pictures.images)
            with stop_request("Stopping.") as asked:
                plan = studio.trainings.measure(config, progress.show, asked)
        progress.close()
    finally:
        studio.close()
    if plan is None:
        return STOPPED
    report(plan, as_json=arguments.json)
    return DONE


def report(plan: TrainingEstimate, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(plan.to_json(), indent=2))
        return
    wide, high = plan.bucket
    print(plan.sentence)
    print(
        f"{counted(plan.steps, 'step')} of {plan.seconds_per_step:.3g} s on {plan.device}; "
        f"{counted(plan.images, 'picture')}, the largest {wide} x {high}; "
        f"{plan.start_seconds:.0f} s until the first step, {plan.preview_seconds:.0f} s for previews."
    )
    for note in plan.notes:
        print(f"Note: {note}")
