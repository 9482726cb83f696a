"""The files of a Space: an allow list of what goes up, and two that are written for its hardware."""

from __future__ import annotations

import re
import runpy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lora_studio import __version__
from lora_studio.errors import ConfigError, StudioError
from lora_studio.settings import CHECKOUT, PACKAGE

SINGLE_FILES = ("app.py", "LICENSE", "examples/README.md")
BASE_FILES = {"", ".jinja", ".json", ".md", ".png", ".safetensors", ".txt", ".webp"}
FOLDERS = {
    **{"models/starter": BASE_FILES, "models/starter-flow": BASE_FILES},
    **{f"examples/{name}": {".png", ".txt"} for name in ("alien", "ink")},
}
PACKAGE_FILES = {".css", ".html", ".js", ".json", ".py", ".sql", ".txt", ".webp"}
LEFT_OUT = {"__pycache__", "checkout"}
"""Folders of the package that are no part of it; `checkout` is what a wheel brings inside."""
CPU_HARDWARE = re.compile(r"cpu-[a-z0-9-]+")
ZERO_GPU = "zero-a10g"
HARDWARE = re.compile(r"[a-z0-9][a-z0-9-]{1,40}")
ZERO_GPU_TORCH = "2.11.0"
"""The newest PyTorch that ZeroGPU lists (August 2026)."""
SPACES_PACKAGE = "spaces>=0.51,<1"
BROUGHT = {"gradio"}
"""Packages that a Space installs by the version in its README."""


@dataclass(frozen=True, kw_only=True)
class SpaceFile:
    """A file of the Space by its path there: a copy of `source`, or `text` written for it."""

    path: str
    source: Path | None = None
    text: str = ""

    @property
    def size(self) -> int:
        """Bytes."""
        return self.source.stat().st_size if self.source else len(self.text.encode())

    def write(self, folder: Path) -> None:
        """Put the file into a folder. Raises OSError."""
        target = folder / self.path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(self.source.read_bytes() if self.source else self.text.encode())


def space_files(hardware: str) -> list[SpaceFile]:
    """All files of a Space on this hardware, by path. No links and nothing hidden: what is not named here
    stays here. Raises StudioError for an incomplete copy of the project."""
    found = [SpaceFile(path=name, source=CHECKOUT / name) for name in SINGLE_FILES]
    places = [(PACKAGE, "lora_studio", PACKAGE_FILES)]
    places += [(CHECKOUT / folder, folder, endings) for folder, endings in FOLDERS.items()]
    for folder, name, endings in places:
        paths = _files(folder, endings)
        found += [SpaceFile(path=f"{name}/{one.relative_to(folder).as_posix()}", source=one) for one in paths]
    for file in found:
        if not (file.source and file.source.is_file()):
            raise StudioError(f"{file.source} is missing.", "Take a complete copy of the project.")
    found.append(SpaceFile(path="README.md", text=readme(hardware)))
    found.append(SpaceFile(path="requirements.txt", text=requirements(hardware)))
    return sorted(found, key=lambda file: file.path)


def _files(folder: Path, endings: set[str]) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.name.startswith(".") or path.is_symlink():
            continue
        if path.is_dir() and path.name not in LEFT_OUT:
            yield from _files(path, endings)
        elif path.is_file() and path.suffix in endings:
            yield path


def checked_hardware(name: str) -> str:
    """The Hub's name of a Space's hardware, which alone decides what there is. Raises ConfigError."""
    name = name.strip().lower()
    if name in {"zero", "zerogpu", "zero-gpu"}:
        return ZERO_GPU
    if not HARDWARE.fullmatch(name):
        raise ConfigError(
            f"--hardware: {name[:60]!r} is no name of a Space's hardware.",
            f"Examples: cpu-basic, {ZERO_GPU} (ZeroGPU), t4-small, l4x1, a100-large.",
            field="hardware",
        )
    return name


def requirements(hardware: str) -> str:
    """requirements.txt of a Space: our own with the tested versions, and the PyTorch that fits: on a CPU the
    build for it, a tenth of the other's size; on ZeroGPU one that is offered there."""
    tested = dict(_versions(_text("constraints.txt")))
    lines = [f"# Written by lora-studio deploy space {__version__}, for {hardware}."]
    is_cpu = CPU_HARDWARE.fullmatch(hardware) is not None
    if is_cpu:
        lines.append(f"--extra-index-url {torch_index()}cpu")
    for line in _text("requirements.txt").splitlines():
        name = re.split(r"[<>=!~\[; ]", line.partition("#")[0].strip(), maxsplit=1)[0]
        if not name or name in BROUGHT:
            continue
        if name == "torch" and hardware == ZERO_GPU:
            lines.append(f"torch=={ZERO_GPU_TORCH}")
        else:
            lines.append(f"{name}=={tested[_plain(name)]}")
    if hardware == ZERO_GPU:
        lines.append(SPACES_PACKAGE)
    return "\n".join(lines) + "\n"


def torch_index() -> str:
    """The address that PyTorch's wheel indexes begin with, from launch.py, which installs by it."""
    return str(runpy.run_path(str(CHECKOUT / "launch.py"))["TORCH_INDEX"])


def readme(hardware: str) -> str:
    """The card of the Space: the front matter of our README with the hardware, and a few lines."""
    _, front, _ = _text("README.md").split("---\n", 2)
    front += f"suggested_hardware: {hardware}\nstartup_duration_timeout: 1h\n"
    return (
        f"---\n{front}---\n\n# LoRA Studio\n\nFrom a few pictures to a LoRA of your own, on one page. "
        f"Version {__version__}, put here by `lora-studio deploy space`; what is changed here by hand, its "
        "next run replaces.\n"
    )


def _versions(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        name, equals, version = line.partition("#")[0].strip().partition("==")
        if equals:
            yield _plain(name), version


def _plain(name: str) -> str:
    """A package's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _text(name: str) -> str:
    return (CHECKOUT / name).read_text("utf-8")
