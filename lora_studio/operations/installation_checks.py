"""Checks of this installation, each with a remedy, for the command line and the page alike."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from lora_studio.errors import StudioError
from lora_studio.formatting import size
from lora_studio.operations.findings import Finding
from lora_studio.operations.reach_checks import check_hub, check_supabase, check_switches
from lora_studio.settings import CHECKOUT, Settings

OLDEST_PYTHON = (3, 11)
LEAST_MEMORY, LEAST_DISK = 2e9, 2e9


def examine(settings: Settings, *, draws: bool = True) -> Iterator[Finding]:
    """The findings of all checks, the quick ones first; with `draws` the embedded base draws a picture. A
    check that breaks itself is a finding, not the end of the report."""
    yield check_python()
    yield from check_packages()
    checks: tuple[Callable[[Settings], Finding], ...] = (
        check_folders,
        check_disk,
        check_memory,
        check_database,
        check_hub,
        check_supabase,
        check_device,
        *((check_base,) if draws else ()),
        *((check_sd_scripts,) if settings.sd_scripts else ()),
    )
    for check in checks:
        try:
            yield check(settings)
        except (StudioError, OSError, ImportError) as error:
            what = check.__name__.removeprefix("check_")
            hint = getattr(error, "hint", "") or "Run python3 launch.py again; it completes the installation."
            yield Finding(what=what, said=getattr(error, "message", str(error)), advice=hint)
    yield from check_switches()


def check_python() -> Finding:
    version = f"{platform.python_version()} on {platform.system()} {platform.machine()}, {sys.executable}"
    fits = sys.version_info >= OLDEST_PYTHON and sys.maxsize > 2**32
    return Finding(what="python", said=version, advice="" if fits else "Install 64-bit Python 3.11 or newer.")


def check_packages(requirements: Path = CHECKOUT / "requirements.txt") -> Iterator[Finding]:
    """A finding for each line of requirements.txt that applies here."""
    from packaging.requirements import Requirement

    for line in requirements.read_text("utf-8").splitlines():
        text = line.partition("#")[0].strip()
        if not text or text.startswith("-"):
            continue
        wanted = Requirement(text)
        if wanted.marker and not wanted.marker.evaluate():
            continue
        try:
            version = importlib.metadata.version(wanted.name)
        except importlib.metadata.PackageNotFoundError:
            advice = "Run python3 launch.py; it installs it."
            yield Finding(what=wanted.name, said="not installed", advice=advice, is_package=True)
            continue
        fits = wanted.specifier.contains(version, prereleases=True)
        advice = "" if fits else f"This version was not tested; {text} is wanted. Run python3 launch.py."
        yield Finding(what=wanted.name, said=version, advice=advice, is_package=True)


def check_sd_scripts(settings: Settings) -> Finding:
    """The finding on the second engine, checked only where settings name it."""
    from lora_studio.jobs.sd_scripts.launch_files import find_checkout

    folder, python = find_checkout(settings)
    return Finding(what="sd-scripts", said=f"{folder}, run by {python}")


def check_folders(settings: Settings) -> Finding:
    """Try to write to each folder that the studio writes to, which are made where they are missing."""
    settings.create_folders()
    for folder in (settings.home, settings.loras, settings.images, settings.uploads):
        try:
            with tempfile.TemporaryFile(dir=folder) as file:
                file.write(b"x")
        except OSError as error:
            return Finding(
                what="folders",
                said=f"{folder} can't be written: {error.strerror}.",
                advice="Change its owner or rights, or set LORA_STUDIO_HOME and LORA_STUDIO_MODELS.",
            )
    return Finding(what="folders", said=f"data in {settings.home}, models in {settings.models}")


def check_disk(settings: Settings) -> Finding:
    free = shutil.disk_usage(settings.home).free
    advice = "" if free >= LEAST_DISK else "Free some space; larger base models need several GB."
    return Finding(what="disk", said=f"{size(free)} free", advice=advice)


def check_memory(settings: Settings) -> Finding:
    import psutil  # type: ignore[import-untyped]

    memory = psutil.virtual_memory()
    available = f"{size(memory.available)} of {size(memory.total)} available"
    advice = "" if memory.available >= LEAST_MEMORY else "Close other programs; the starter needs about 2 GB."
    return Finding(what="memory", said=available, advice=advice)


def check_database(settings: Settings) -> Finding:
    """Let SQLite look through the whole database."""
    from lora_studio.store.database import Database

    with closing(Database(settings.database)) as database:
        verdict = str(database.read("PRAGMA quick_check", ())[0][0])
        version = database.read("PRAGMA user_version", ())[0][0]
        jobs = database.read("SELECT count(*) FROM jobs", ())[0][0]
    advice = "" if verdict == "ok" else f"Move {settings.database} away; LoRAs and images are found again."
    return Finding(what="database", said=f"{verdict}, schema {version}, {jobs} trainings", advice=advice)


def check_device(settings: Settings) -> Finding:
    """The finding on the device that trains and draws. Loads torch."""
    from lora_studio.runtime import compute_dtype, find_device

    device = find_device()
    memory = f", {size(device.memory_bytes)}" if device.memory_bytes else ""
    dtype = str(compute_dtype("auto", device)).removeprefix("torch.")
    facts = f"{device.title}{memory}, computes in {dtype}, {os.cpu_count()} CPU cores"
    if device.kind == "cpu" and shutil.which("nvidia-smi"):
        return Finding(
            what="device",
            said=f"{facts}; there is an NVIDIA card, but this PyTorch can't use it",
            advice="Start python3 launch.py with LORA_STUDIO_TORCH=cu130 (or cu126 for older cards).",
        )
    return Finding(what="device", said=facts)


def check_base(settings: Settings) -> Finding:
    """Load the embedded base model and draw one picture in a folder that is thrown away."""
    from lora_studio.generator import Generator
    from lora_studio.request import GenerateRequest

    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        elsewhere = replace(settings, home=Path(folder))
        elsewhere.create_folders()
        generator = Generator(elsewhere)
        images = generator.generate(GenerateRequest(prompt="red apple", num_inference_steps=2, seed=1))
        generator.unload()
    seconds = time.monotonic() - begun
    return Finding(
        what="base model",
        said=f"the starter loads and draws {images[0].width} px in {seconds:.1f} s, from scratch",
    )
