"""`lora-studio tour`: the whole job on an example set, with base and LoRA images side by side at the end."""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from lora_studio.catalog import EMBEDDED, STARTER
from lora_studio.cli.console.ctrl_c import stop_request
from lora_studio.cli.console.progress_bar import Progress
from lora_studio.config import Kind
from lora_studio.errors import DatasetError
from lora_studio.events import Denoised, Event, ShouldStop
from lora_studio.request import GenerateRequest, LoraUse
from lora_studio.settings import CHECKOUT
from lora_studio.training_request import StartTraining

if TYPE_CHECKING:
    from lora_studio.records import JobRecord
    from lora_studio.studio import Studio


@dataclass(frozen=True, kw_only=True)
class TourExample:
    """An example set, and prompts for motifs that its pictures do not show."""

    folder: str
    title: str
    kind: Kind
    trigger: str
    prompts: tuple[str, ...]


@dataclass(frozen=True)
class Pair:
    """Two images of one prompt and seed: of the base model, and with the LoRA."""

    prompt: str
    seed: int
    base: Path
    lora: Path


EXAMPLES = {
    "alien": TourExample(
        folder="alien",
        title="Tour alien",
        kind="object",
        trigger="zwx",
        prompts=(
            "a zwx creature on a pink background",
            "a zwx creature on a black background",
            "a zwx creature on a brown background",
            "a zwx creature",
        ),
    ),
    "ink": TourExample(
        folder="ink",
        title="Tour ink",
        kind="style",
        trigger="zwx",
        prompts=("rocket, zwx style", "cat, zwx style", "fish, zwx style", "crown, zwx style"),
    ),
}
SEED = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--example", choices=sorted(EXAMPLES), default="alien", help="which set (default: alien)"
    )
    parser.add_argument(
        "--base",
        choices=[base.name for base in EMBEDDED],
        default=STARTER.name,
        help="which embedded base model (default: starter)",
    )
    parser.add_argument("--steps", metavar="N", help="train this many steps (default: the preset's)")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def run(arguments: argparse.Namespace) -> int:
    from lora_studio.cli.console.follow_job import exit_code, follow
    from lora_studio.studio import open_studio

    example, progress = EXAMPLES[arguments.example], Progress(sys.stderr)
    studio = open_studio(start_worker=False)
    try:
        marks = {"start": arguments.started_at, "open": time.monotonic()}
        overrides = {"max_train_steps": arguments.steps} if arguments.steps else {}
        start = StartTraining(
            name=example.title,
            kind=example.kind,
            trigger=example.trigger,
            base=arguments.base,
            overrides=overrides,
        )
        job, pictures = _begin(studio, CHECKOUT / "examples" / example.folder, start, progress)
        marks["check"] = time.monotonic()
        record = follow(studio, job.id, progress)
        marks["train"] = time.monotonic()
        if record.status != "finished":
            print(
                f"The tour ended early: {record.status}. {record.message} {record.hint}".rstrip(),
                file=sys.stderr,
            )
            return exit_code(record)
        slug = Path(record.result_path).name
        with stop_request("Stopping; the LoRA is kept.") as asked:
            pairs = draw_pairs(
                studio,
                example.prompts,
                slug,
                base=arguments.base,
                progress=progress,
                should_stop=asked,
            )
            if asked():
                return 130
        folder = studio.settings.home / "tour" / slug
        title = f"{example.title}: {len(pictures)} pictures, {record.step} steps"
        pairs = write_sheet(title, pictures, pairs, folder)
        marks["images"] = time.monotonic()
        _report(record, folder, pairs, marks, as_json=arguments.json)
        return 0
    finally:
        studio.close()


def _begin(
    studio: Studio, folder: Path, start: StartTraining, progress: Progress
) -> tuple[JobRecord, list[Path]]:
    from lora_studio.cli.train import WantedTraining, submit
    from lora_studio.data.ingestion.given_files import find_files

    if not folder.is_dir():
        raise DatasetError(
            f"The example set {folder} is missing.", "Take a complete copy of the project.", path=folder
        )
    job = submit(studio, WantedTraining(images=folder, start=start), progress)
    studio.jobs.start(only=job.id)
    studio.mirror.start(only=job.id)
    return job, [path for path in find_files(folder) if path.suffix == ".png"]


def draw_pairs(
    studio: Studio,
    prompts: Sequence[str],
    slug: str,
    *,
    base: str,
    progress: Progress,
    should_stop: ShouldStop,
) -> list[Pair]:
    """A pair of pictures a prompt, without and with the LoRA, from one seed. Fewer when stopped."""
    sides: list[list[str]] = []
    for side, uses in enumerate(((), (LoraUse(slug=slug, weight=1.0),))):
        images: list[str] = []
        for number, prompt in enumerate(prompts):
            request = GenerateRequest(prompt=prompt, loras=uses, base=base, seed=SEED + number)
            position = side * len(prompts) + number + 1
            emit = partial(_show_one, progress, position, 2 * len(prompts))
            drawn = studio.drawing.draw(request, emit, should_stop, live=False)
            images += [record.path for record in drawn]
        sides.append(images)
    progress.close()
    rows = zip(prompts, *sides, strict=False)
    return [Pair(prompt, SEED + n, Path(base), Path(lora)) for n, (prompt, base, lora) in enumerate(rows)]


def write_sheet(title: str, pictures: Sequence[Path], pairs: Sequence[Pair], folder: Path) -> list[Pair]:
    """Copy the pairs into the folder, beside a sheet that shows them next to pictures trained on."""
    from PIL import Image

    from lora_studio.images.contact_sheet import draw_sheet

    folder.mkdir(parents=True, exist_ok=True)
    kept = []
    for number, pair in enumerate(pairs, 1):
        base = Path(shutil.copy2(pair.base, folder / f"pair-{number}-base.png"))
        lora = Path(shutil.copy2(pair.lora, folder / f"pair-{number}-lora.png"))
        kept.append(replace(pair, base=base, lora=lora))
    shown = pictures[:: max(1, len(pictures) // len(pairs))][: len(pairs)]
    rows = itertools.zip_longest(shown, [pair.base for pair in kept], [pair.lora for pair in kept])
    cells = [Image.open(path) if path else None for path in itertools.chain.from_iterable(rows)]
    columns = ("one of your pictures", "base model", "with the LoRA")
    draw_sheet(cells, (columns, [pair.prompt for pair in kept], (title,))).save(folder / "sheet.png")
    return kept


def _show_one(progress: Progress, image: int, images: int, event: Event) -> None:
    """Show several requests of one image as one bar."""
    if isinstance(event, Denoised):
        progress.show(replace(event, image=image, images=images))


def _report(
    record: JobRecord, folder: Path, pairs: Sequence[Pair], marks: dict[str, float], *, as_json: bool
) -> None:
    seconds = {late: round(marks[late] - marks[early], 1) for early, late in itertools.pairwise(marks)}
    seconds["total"] = round(marks["images"] - marks["start"], 1)
    if as_json:
        result = {
            "folder": str(folder),
            "sheet": str(folder / "sheet.png"),
            "pairs": [{**asdict(pair), "base": str(pair.base), "lora": str(pair.lora)} for pair in pairs],
            "job": record.id,
            "lora": record.result_path,
            "steps": record.step,
            "loss": record.loss,
            "seconds": seconds,
        }
        print(json.dumps(result, indent=2))
        return
    print("Seconds: " + ", ".join(f"{name} {value}" for name, value in seconds.items()))
    print(f"LoRA:    {record.result_path}")
    print(f"Folder:  {folder}")
    print(f"Look at: {folder / 'sheet.png'}")
