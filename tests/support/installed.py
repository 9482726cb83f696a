"""The wheel as it is built from the tracked files, and a fresh environment that has it and no checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

from tests.support.serving import CHECKOUT
from tests.support.waiting import PATIENCE


def tracked_files(*folders: str) -> list[str]:
    """Paths of the files that git knows or would take, from the checkout."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *folders]
    listed = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout
    return sorted(path for path in listed.split("\0") if path and (CHECKOUT / path).is_file())


def copy_files(paths: list[str], folder: Path) -> Path:
    """A folder with these files of the checkout and nothing else."""
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(CHECKOUT / path, folder / path)
    return folder


def without_python_variables() -> dict[str, str]:
    """The environment without what could lead a Python back to this checkout."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("LORA_STUDIO_", "PYTHON"))}


def build(source: Path, target: Path, kind: str = "wheel") -> Path:
    """A `wheel` or `sdist` of the project in a folder, built offline by the setuptools that is here."""
    target.mkdir(parents=True, exist_ok=True)
    program = f"import setuptools.build_meta as b, sys; print(b.build_{kind}(sys.argv[1]))"
    run = subprocess.run(
        [sys.executable, "-c", program, str(target)],
        cwd=source,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert run.returncode == 0, run.stderr
    return target / run.stdout.splitlines()[-1]


def fresh_environment(folder: Path, wheel: Path) -> Path:
    """A virtual environment with the wheel, which finds what the wheel requires where this Python has it;
    returns its folder of programs."""
    venv.create(folder, with_pip=False, symlinks=sys.platform != "win32")
    programs = folder / ("Scripts" if sys.platform == "win32" else "bin")
    python = programs / ("python.exe" if sys.platform == "win32" else "python")
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    offline = ["--no-deps", "--no-index", "--disable-pip-version-check", "--no-compile"]
    done = subprocess.run(
        [*install, *offline, str(wheel)],
        cwd=folder,
        env=without_python_variables(),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    paths = sysconfig.get_paths(vars={"base": str(folder), "platbase": str(folder)})
    # A line of a .pth file only lengthens the path: what is editable over there stays there.
    Path(paths["purelib"], "requirements.pth").write_text(sysconfig.get_paths()["purelib"] + "\n", "utf-8")
    return programs
