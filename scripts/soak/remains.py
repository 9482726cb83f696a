"""The disk afterwards, against what was accepted."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from scripts.soak.client import Tally
from scripts.soak.observed import ENDED, Observer
from scripts.soak.studio_process import StudioProcess


def lost_trainings(studio: StudioProcess, observer: Observer, tally: Tally) -> Iterator[str]:
    """Accepted trainings that are not at an end which their files agree with."""
    for job_id, way in tally.jobs.items():
        job = observer.watch.trainings.get(job_id)
        if job is None or job["status"] not in ENDED:
            yield f"the training {job_id} ({way}) is lost: {job and job['status']}"
            continue
        if job["status"] == "failed":
            yield f"the training {job['name']} failed: {job['message']}"
        slug = job["lora_slug"]
        if job["status"] == "finished" and not slug:
            yield f"the training {job['name']} is finished and has no LoRA"
        if not slug:
            continue
        folder = studio.models / "lora" / slug
        if slug in tally.deleted_loras:
            if folder.exists():
                yield f"the deleted LoRA {slug} is there"
            continue
        yield from _unlike_its_file(folder, job["status"], job["step"])


def _unlike_its_file(folder: Path, status: str, step: int) -> Iterator[str]:
    from lora_studio.errors import ModelFileError
    from lora_studio.lora.file.lora_files import find_file, read_header
    from lora_studio.lora.run_states import state_files, state_folder

    try:
        metadata = read_header(find_file(folder)).metadata
    except ModelFileError as error:
        yield f"{folder.name} is {status} and not whole: {error}"
        return
    if metadata.get("ss_steps") != str(step):
        yield f"{folder.name} holds step {metadata.get('ss_steps')}, and its training ended at {step}"
    if status == "finished" and state_files(state_folder(folder)):
        yield f"{folder.name} is finished and has states"


def lost_pictures(studio: StudioProcess, observer: Observer, tally: Tally) -> Iterator[str]:
    """Generations without an end, pictures without a row, rows without a picture."""
    for ticket in observer.watch.generations.values():
        if ticket["state"] not in {"finished", "stopped"}:
            yield f"the generation {ticket['prompt']!r} is {ticket['state']}: {ticket['message']}"
    listed = {image["prompt"] for image in observer.browser.ask("list_images", "", 500)}
    finished = {one["prompt"] for one in observer.watch.generations.values() if one["state"] == "finished"}
    if missing := finished - listed - tally.deleted_images:
        yield f"drawn and not listed: {sorted(missing)[:5]}"
    if strange := listed - tally.drawn:
        yield f"listed and never asked for: {sorted(strange)[:5]}"
    if back := listed & tally.deleted_images:
        yield f"deleted and listed: {sorted(back)[:5]}"
    files = {str(path) for path in (studio.home / "images").rglob("*.png")}
    with closing(sqlite3.connect(studio.home / "studio.db")) as database:
        rows = {row[0] for row in database.execute("SELECT path FROM images")}
        sound = database.execute("PRAGMA integrity_check").fetchone()[0]
    if files != rows:
        yield f"{len(files - rows)} pictures without a row, {len(rows - files)} rows without a picture"
    if sound != "ok":
        yield f"the database: {sound}"


def leftovers(studio: StudioProcess, tally: Tally) -> Iterator[str]:
    """Files of work that is over."""
    for top in (studio.home, studio.models):
        yield from (f"left: {path.relative_to(studio.folder)}" for path in top.rglob("*.tmp"))
    yield from (f"left: {path.name}" for path in (studio.home / "cache" / "live").glob("*"))
    yield from (f"left: {path.name}" for path in (studio.home / "datasets").glob("*.part"))
    jobs = {path.name for path in (studio.home / "jobs").iterdir()}
    if jobs - set(tally.jobs):
        yield f"folders of jobs that nobody started: {sorted(jobs - set(tally.jobs))}"
