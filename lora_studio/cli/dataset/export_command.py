"""`lora-studio dataset export`: a set as edited, as a folder or ZIP that sd-scripts and its like read."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from lora_studio.cli.console.ctrl_c import stop_request
from lora_studio.cli.console.progress_bar import Progress
from lora_studio.errors import DatasetError
from lora_studio.files import expanded
from lora_studio.formatting import counted, size

SUMMARY = "Write a set as edited into a new folder or a ZIP, in Kohya's layout with a dataset.toml."
CONFIGS = (".toml", ".json")
DONE, STOPPED = 0, 130


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "folder", metavar="FOLDER", help="pictures with captions beside them, or sd-scripts' dataset config"
    )
    parser.add_argument("out", metavar="OUT", help="a new folder, or a file that ends in .zip")
    parser.add_argument("--trigger", metavar="WORD", default="", help="put in front of captions without it")
    parser.add_argument(
        "--class_tokens", metavar="WORDS", default="", help="the caption of pictures without one"
    )
    parser.add_argument(
        "--num_repeats", metavar="N", type=int, default=1, help="repeats of pictures whose folder says none"
    )
    parser.add_argument("--reg_data_dir", metavar="FOLDER", default="", help="regularisation pictures")
    parser.add_argument(
        "--dataset_version", metavar="NAME", default="", help="the edits of this version (default: the last)"
    )


def run(arguments: argparse.Namespace) -> int:
    from lora_studio.config import TrainConfig
    from lora_studio.data.training_set.dataset_export import CONFIG, planned_export
    from lora_studio.data.training_set.write_export import write_export

    source = expanded(arguments.folder).absolute()
    is_config = source.suffix.lower() in CONFIGS and not source.is_dir()
    named = dict.fromkeys(("pretrained_model_name_or_path", "output_dir", "output_name"), "exported")
    data = TrainConfig.from_values(
        {
            **named,
            "train_data_dir": str(source.parent if is_config else source),
            "dataset_config": str(source) if is_config else "",
            "trigger_word": arguments.trigger,
            "num_repeats": arguments.num_repeats,
            "reg_data_dir": str(expanded(arguments.reg_data_dir)) if arguments.reg_data_dir else "",
            "dataset_version": arguments.dataset_version,
        }
    ).dataset
    progress = Progress(sys.stderr)
    with stop_request("Stopping; nothing of the export is kept.") as asked:
        try:
            export = planned_export(data, arguments.class_tokens, asked, progress.show)
            target = write_export(export, Path(arguments.out), asked, progress.show)
        except DatasetError:
            if asked():
                return STOPPED
            raise
        finally:
            progress.close()
    for note in export.notes:
        print(note)
    print(f"{counted(export.pictures, 'picture')}, {size(export.bytes)}: {target}")
    print(f"For sd-scripts: --dataset_config {target / CONFIG if target.is_dir() else CONFIG}")
    return DONE
