"""Places and names of a run's state files. No torch in here: the queue looks at them."""

from __future__ import annotations

import re
from pathlib import Path

FOLDER = "state"
NAME = re.compile(r"state-(\d{8,})\.pt")


def state_folder(output_dir: str | Path) -> Path:
    return Path(output_dir) / FOLDER


def state_file(folder: Path, step: int) -> Path:
    return folder / f"state-{step:08d}.pt"


def state_files(place: Path) -> list[Path]:
    """The state files of a folder, newest first; a state file stands for itself."""
    if place.is_file():
        return [place]
    if not place.is_dir():
        return []
    return sorted((path for path in place.iterdir() if NAME.fullmatch(path.name)), key=step_of, reverse=True)


def step_of(path: Path) -> int:
    match = NAME.fullmatch(path.name)
    return int(match[1]) if match else 0


def newest_step(place: Path | None) -> int:
    """The step of the newest state in a folder, 0 without one."""
    return step_of(files[0]) if place is not None and (files := state_files(place)) else 0
