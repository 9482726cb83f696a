#!/usr/bin/env python3
"""Start LoRA Studio from a fresh checkout. Needs Python 3.11 or newer and nothing else.

    python3 launch.py [options of app.py]         install what is missing, then open the studio
    python3 launch.py test [options of pytest]    install, then run the tests
    python3 launch.py -- --help                   what app.py itself understands

Everything goes into the folder .venv beside this file, which belongs to launch.py: made on the first start,
completed when the requirements change, made anew when it is broken. Deleting it is safe. pip's own settings
are respected. LORA_STUDIO_TORCH=cpu, cu126, cu130, ... takes PyTorch from its wheel index of that name;
without it, Windows with an NVIDIA card gets a CUDA build and everything else pip's default.
"""

from __future__ import annotations  # lets older Pythons read on as far as the sentence that turns them away

import contextlib
import hashlib
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
INCOMPLETE = VENV / "launch-incomplete"
LOCK = VENV / "launch-lock"
CTRL_C_ON_WINDOWS = 0xC000013A

# PyTorch's release notes give 2.13 for CUDA 12.6 (Maxwell to Hopper) and 13.0 (Turing and newer, driver 580
# and newer), on Windows too. Not verified: the index itself, and a start on a Windows machine.
TORCH_INDEX = "https://download.pytorch.org/whl/"

FAULTS = (
    (
        r"Errno 28\b|No space left|not enough space on the disk",
        "The disk is full. The packages need about 2 GB, with CUDA 8 GB. Make room and start again.",
    ),
    (
        r"CERTIFICATE_VERIFY_FAILED|SSLError",
        "The package index could not prove who it is. Behind a company proxy, set PIP_CERT to its "
        "certificate.",
    ),
    (
        r"Failed to establish|NameResolutionError|name resolution|getaddrinfo|ProxyError|[Tt]imed ?out|"
        r"Timeout|[Uu]nreachable|[Cc]onnection (refused|reset|aborted)",
        "The package index can't be reached. Check the network (with a proxy also HTTPS_PROXY), start again.",
    ),
    (
        r"No matching distribution found",
        "A package has no build for this machine ({machine}, Python {python}). 64-bit Python 3.11 to 3.13 is "
        "the safe choice; there is no current PyTorch for Macs with Intel processors.",
    ),
    (
        r"[Pp]ermission denied|Access is denied|WinError (5|32)\b",
        "A file in .venv can't be changed. Close what uses it, check who owns the folder, and start again.",
    ),
)


class Problem(Exception):
    """Something that the user can put right; the text says how."""


def main(arguments: list[str]) -> int:
    if arguments[:1] in (["-h"], ["--help"]):
        print(__doc__)
        return 0
    try:
        check_python(sys.version_info[:3], sys.maxsize > 2**32)
        os.chdir(ROOT)
        if arguments[:1] == ["test"]:
            prepare(["requirements.txt", "requirements-test.txt"])
            return hand_over([str(PYTHON), "-m", "pytest", *arguments[1:]])
        prepare(["requirements.txt"])
        return hand_over([str(PYTHON), "app.py", *(arguments[1:] if arguments[:1] == ["--"] else arguments)])
    except (Problem, OSError) as problem:
        print(f"\n{explain(str(problem)) or problem}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return 130


def check_python(version: tuple[int, ...], is_64_bit: bool) -> None:
    if version < (3, 11) or not is_64_bit:
        found = ".".join(map(str, version)) + ("" if is_64_bit else ", 32 bit")
        raise Problem(
            f"LoRA Studio needs 64-bit Python 3.11 or newer, and this is {found} "
            f"({sys.executable}). Start launch.py with a newer one; python.org has them."
        )


def prepare(requirements: list[str]) -> None:
    """Leave .venv complete. When nothing has changed, this reads the stamp and asks for .venv's version."""
    stamp = VENV / f"launch-stamp-{len(requirements)}"
    if is_current(stamp, requirements):
        return
    VENV.mkdir(exist_ok=True)
    with LOCK.open("a") as lock:
        wait_for(lock)
        if is_current(stamp, requirements):  # the start that held the lock has done the work
            return
        stamp.unlink(missing_ok=True)
        if INCOMPLETE.exists() or not venv_version():
            build_venv()
        install(requirements)
        for count in range(1, len(requirements) + 1):  # what the tests need covers what the app needs
            (VENV / f"launch-stamp-{count}").write_text(fingerprint(requirements[:count]))


def is_current(stamp: Path, requirements: list[str]) -> bool:
    return stamp.is_file() and stamp.read_text() == fingerprint(requirements)


def fingerprint(requirements: list[str]) -> str:
    """Changes with all that calls for another installation; the folder too, since scripts hold its path."""
    facts = (venv_version(), ROOT, os.environ.get("LORA_STUDIO_TORCH"), shutil.which("nvidia-smi"))
    files = [(ROOT / name).read_bytes() for name in [*requirements, "constraints.txt", "launch.py"]]
    return hashlib.sha256(b"\0".join([repr(facts).encode(), *files])).hexdigest()


def venv_version() -> str:
    """Version of .venv's Python; empty when it is missing, broken or without pip."""
    probe = "import importlib.util, sys; print(sys.version if importlib.util.find_spec('pip') else '')"
    try:
        return subprocess.check_output([PYTHON, "-c", probe], stderr=subprocess.DEVNULL, text=True).strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def wait_for(lock: IO[str]) -> None:
    """One start installs at a time. The system frees the lock when its holder ends, however that happens."""
    if sys.platform == "win32":
        import msvcrt

        for _ in range(360):
            with contextlib.suppress(OSError):  # after ten seconds
                return msvcrt.locking(lock.fileno(), msvcrt.LK_LOCK, 1)
    else:
        import fcntl

        with contextlib.suppress(OSError):  # some network file systems know no locks
            fcntl.flock(lock, fcntl.LOCK_EX)


def build_venv() -> None:
    if not (importlib.util.find_spec("venv") and importlib.util.find_spec("ensurepip")):
        raise Problem(
            "This Python comes without its venv module. On Debian and Ubuntu: sudo apt install "
            f"python{sys.version_info[0]}.{sys.version_info[1]}-venv"
        )
    print("Making the environment .venv ...", flush=True)
    for old in VENV.iterdir():
        if old != LOCK:
            shutil.rmtree(old) if old.is_dir() and not old.is_symlink() else old.unlink()
    base = getattr(sys, "_base_executable", sys.executable)  # .venv's own may run this, and is gone now
    made = subprocess.run([base, "-m", "venv", VENV], capture_output=True, text=True)
    if made.returncode or not venv_version():
        raise Problem(f"The environment .venv could not be made:\n{made.stdout}{made.stderr}")


def install(requirements: list[str]) -> None:
    print("Installing packages; the first time this takes minutes and a lot of data.", flush=True)
    INCOMPLETE.touch()  # stays behind when this is killed, or pip; a pip that fails by itself tidies up
    index = torch_index(platform.system(), nvidia_cards(), os.environ.get("LORA_STUDIO_TORCH", ""))
    run_pip(
        *(part for name in requirements for part in ("-r", name)),
        "-c",
        "constraints.txt",
        "setuptools",
        *(["--upgrade", "--extra-index-url", index] if index else []),
    )
    # Makes the command lora-studio. Needs no network: setuptools builds it, and is there by now.
    run_pip("--quiet", "--no-deps", "--no-build-isolation", "--editable", ".")
    INCOMPLETE.unlink()


def run_pip(*options: str) -> None:
    """Show what pip says as it says it; keep its errors, to name the cause of a failure in one sentence."""
    command = [str(PYTHON), "-m", "pip", "install", "--disable-pip-version-check", "--no-user", *options]
    errors = b""
    with subprocess.Popen(command, stderr=subprocess.PIPE) as pip:
        for line in pip.stderr or ():
            sys.stderr.buffer.write(line)
            sys.stderr.flush()
            errors += line
    if pip.returncode > 0:
        INCOMPLETE.unlink()
    if pip.returncode:
        sentence = explain(errors.decode(errors="replace"))
        raise Problem(sentence or "The packages could not be installed; the lines above say why.")


def explain(output: str) -> str:
    """The sentence for the first known fault in a program's output, or nothing."""
    sentences = (sentence for pattern, sentence in FAULTS if re.search(pattern, output))
    return next(sentences, "").format(python=platform.python_version(), machine=platform.machine())


def nvidia_cards() -> list[tuple[float, float]]:
    """Compute capability and driver of each card; (0, 0) where the driver is too old to tell."""
    query = ["nvidia-smi", "--query-gpu=compute_cap,driver_version", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=30).stdout
    except (OSError, subprocess.TimeoutExpired):
        return []
    rows = re.findall(r"^(\d+\.\d+), (\d+\.\d+)", answer, re.MULTILINE)
    return [(float(capability), float(driver)) for capability, driver in rows] or [(0, 0)]


def torch_index(system: str, cards: list[tuple[float, float]], wish: str) -> str:
    """The wheel index to look into besides pip's own; empty for none."""
    if wish:
        return TORCH_INDEX + wish
    if system != "Windows" or not cards:
        return ""
    too_old = any(capability < 7.5 or (driver < 580 and capability < 10) for capability, driver in cards)
    return TORCH_INDEX + ("cu126" if too_old else "cu130")


def hand_over(command: list[str]) -> int:
    """Become the command; on Windows, where that would return to the prompt at once, wait for it."""
    if sys.platform != "win32":
        os.execv(command[0], command)
    child = subprocess.Popen(command)
    while True:
        try:
            code = child.wait()
            return 130 if code == CTRL_C_ON_WINDOWS else code
        except KeyboardInterrupt:
            continue  # the child was told as well, and decides


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
