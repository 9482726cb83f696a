"""What every test gets: folders of its own, no network, no analytics, and in parallel workers one thread."""

from __future__ import annotations

import gc
import itertools
import os
import shutil
import signal
import sys
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.chromium import HOW_TO_GET_IT, find_chromium
from tests.support.gradio_leftovers import sweep
from tests.support.memory_disk import use_memory_disk
from tests.support.shared_apps import ENDS
from tests.support.supabase.places import HOW_TO_GET_POSTGRES, HOW_TO_GET_PROGRAMS

if TYPE_CHECKING:  # imported late: a test of one room must not wait for all of them
    from lora_studio.dataset import Datasets
    from lora_studio.settings import Settings
    from lora_studio.store.database import Database
    from lora_studio.studio import Studio

# Read by the libraries while they are imported, so no fixture would be early enough.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_OFFLINE"] = "1"
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # Where a test takes two all the same, they wait asleep: the other workers have the cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
MEMORY_DISK = use_memory_disk()
# Where Python writes no bytecode, each worker and each program that a test starts would compile every module
# again, and pytest rewrite all assertions.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
# By itself Python looks through what is young at each 700 new objects: more than half the time of parsing our
# sources, some of everything else. What goes in circles waits for the end of its module.
gc.set_threshold(50_000, 50, 50)
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # As in a shell's background, and programs that a test starts would inherit it: Ctrl+C is tested.
    signal.signal(signal.SIGINT, signal.default_int_handler)

# What a developer may have set for the app; a test must neither read it nor reach what it points to.
USERS_PREFIXES = ("LORA_STUDIO_", "SUPABASE_", "MODAL_")
USERS_NAMES = {"HF_TOKEN", "SPACE_ID", "SYSTEM", "GRADIO_TEMP_DIR"}
KEPT = {"LORA_STUDIO_CHROMIUM"}
# What the last lines of a run say about skipped tests.
SKIPPED = {
    "browser": HOW_TO_GET_IT,
    "database": HOW_TO_GET_POSTGRES,
    "official Supabase program": HOW_TO_GET_PROGRAMS,
}


LONGEST = (
    *("test_watchdog", "test_any_lora", "browser", "test_hostile_text", "integration", "test_workflow"),
    *("test_mutated_uploads", "scripts", "training", "cli", "generation", "supabase", "invariant", "jobs"),
    *("test_deployment", "families", "ui", "grids", "test_launch", "test_kohya_strangers", "test_patterns"),
)
"""Rooms and files whose single tests take longest, in either tier."""


@dataclass(frozen=True)
class StudioFolders:
    home: Path
    models: Path


@pytest.fixture(scope="session")
def _studios(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Folders for studios. Beside the tests' own they would slow all later ones: pytest looks through all
    that are there for a number that is free."""
    top = tmp_path_factory.mktemp("studios")
    return (top / str(number) for number in itertools.count())


def use_new_folders(studios: Iterator[Path], patch: pytest.MonkeyPatch) -> StudioFolders:
    top = next(studios)
    top.mkdir(mode=0o700)
    folders = StudioFolders(home=top / "home", models=top / "models")
    patch.setenv("LORA_STUDIO_HOME", str(folders.home))
    patch.setenv("LORA_STUDIO_MODELS", str(folders.models))
    return folders


@pytest.fixture(scope="session", autouse=True)
def _session_folders(_studios: Iterator[Path]) -> Iterator[None]:
    """For fixtures that live longer than one test. Also hides what the user has set."""
    with pytest.MonkeyPatch.context() as patch:
        for name in set(os.environ) - KEPT:
            if name.startswith(USERS_PREFIXES) or name in USERS_NAMES:
                patch.delenv(name)
        use_new_folders(_studios, patch)
        yield


@pytest.fixture(scope="module", autouse=True)
def _light_collections() -> Iterator[None]:
    """What is there before a module's tests is left alone by all later garbage collections: a worker that has
    imported everything holds some million objects, and a quarter of the processor time went there."""
    gc.freeze()
    yield
    sweep()  # what a module left open is no fault of the next one, whose session fixtures come before this


@pytest.fixture(autouse=True)
def studio_folders(_studios: Iterator[Path], monkeypatch: pytest.MonkeyPatch) -> StudioFolders:
    """Where this test's studio keeps its state and models. The embedded base model stays in the checkout."""
    monkeypatch.delenv("GRADIO_TEMP_DIR", raising=False)  # open_studio sets it
    return use_new_folders(_studios, monkeypatch)


@pytest.fixture
def settings(studio_folders: StudioFolders) -> Settings:
    from lora_studio.settings import Settings

    made = Settings.from_environment()
    made.create_folders()
    return made


@pytest.fixture
def database(settings: Settings) -> Iterator[Database]:
    from lora_studio.store.database import Database
    from tests.support.ready_database import put_database

    put_database(settings.database)
    with closing(Database(settings.database)) as opened:
        yield opened


@pytest.fixture
def datasets(settings: Settings, database: Database) -> Datasets:
    from lora_studio.dataset import Datasets

    return Datasets(settings, database)


@pytest.fixture
def studio(settings: Settings) -> Iterator[Studio]:
    """A real studio in folders of this test; its queue stands still."""
    from lora_studio.studio import open_studio
    from tests.support.ready_database import put_database

    put_database(settings.database)
    with closing(open_studio(settings, start_worker=False)) as opened:
        yield opened


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.support.tiny import make_tiny_base

    return make_tiny_base(tmp_path_factory.mktemp("bases") / "tiny")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Nothing becomes garbage while all is imported and listed; looking for it took a third of that time."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


@pytest.hookimpl(trylast=True)  # what -m leaves out is gone by then
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: place_in_run(item.path))
    if find_chromium() is None:
        skip_marked(items, "browser", HOW_TO_GET_IT)
    if any(item.get_closest_marker("gpu") for item in items):
        import torch

        if not torch.cuda.is_available():
            skip_marked(items, "gpu", "no CUDA device")


@cache  # there are twenty tests to a file, and paths are slow to take apart
def place_in_run(path: Path) -> tuple[int, bool]:
    """Where a file's tests stand: the rooms whose single tests take longest come first. A worker takes a file
    at a time, and whoever is given a long one last leaves the others idle."""
    places = [LONGEST.index(name) for name in (path.stem, path.parent.name) if name in LONGEST]
    return min(places, default=len(LONGEST)), path.stem == ENDS


@pytest.hookimpl(optionalhook=True)  # there is none with -p no:xdist
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    if config.getvalue("dist") != "loadfile":
        return None
    from tests.support.shared_apps import SharedAppScheduling

    return SharedAppScheduling(config, log)


def skip_marked(items: list[pytest.Item], marker: str, reason: str) -> None:
    for item in items:
        if item.get_closest_marker(marker):
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(exitstatus: int) -> None:
    sweep()
    if MEMORY_DISK is not None and exitstatus == pytest.ExitCode.OK:
        shutil.rmtree(MEMORY_DISK, ignore_errors=True)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = terminalreporter.stats.get("skipped", [])
    for kind, way in SKIPPED.items():
        if skipped := sum(way in str(report.longrepr) for report in reports):
            terminalreporter.write_line(f"{skipped} {kind} tests skipped: {way}")
