"""The pictures that a training learns from, on the page: some beside its previews, and at its end those of
which it learned much less than of the others."""

from __future__ import annotations

from pathlib import Path

from lora_studio.access.visitor import Kind, visitor
from lora_studio.data.pixels.thumbnails import thumbnail, thumbnail_folder
from lora_studio.errors import StudioError
from lora_studio.lora.picture_report import far_off, read_gains
from lora_studio.records import JobRecord
from lora_studio.studio import Studio
from lora_studio.ui.widgets.html_templates import fill

PICTURES_BESIDE, MOST_SHOWN = 4, 8


def beside(studio: Studio, job: JobRecord) -> list[str]:
    """Thumbnails of some pictures of a training, if they are in a set that the visitor may see."""
    made = (_thumbnail(studio, path) for path, _ in _pictures(studio, job)[:PICTURES_BESIDE])
    return [path for path in made if path]


def far_off_note(studio: Studio, job: JobRecord) -> str:
    """HTML that names the pictures of which little was learned, with their captions; empty where there are
    none. Those that the visitor may not see, or that are gone, are only named."""
    found = far_off(read_gains(job.result_path)) if job.result_path else ()
    if not found:
        return ""
    names = [Path(one.picture).name for one in found[:MOST_SHOWN]]
    there = [(path, caption) for path, caption in _pictures(studio, job) if path.name in names]
    here = {path.name: (_thumbnail(studio, path), path.name, caption) for path, caption in there}
    return fill("far_off", pictures=[here.get(name, ("", name, "")) for name in names])


def _pictures(studio: Studio, job: JobRecord) -> list[tuple[Path, str]]:
    data = job.config.get("dataset", {})
    folder, version = Path(str(data.get("train_data_dir") or "")), str(data.get("dataset_version") or "")
    if folder.parent != studio.settings.datasets or not visitor().sees(Kind.DATASET, folder.name):
        return []
    try:
        return studio.datasets.pictures(folder.name, version=version)
    except StudioError:
        return []


def _thumbnail(studio: Studio, path: Path) -> str:
    return thumbnail(path, thumbnail_folder(path, studio.settings)) or ""
