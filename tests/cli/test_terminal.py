"""Terminals and files that can't show a letter, readers that go away: nothing printed ends a command."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest

import lora_studio.cli.list
from lora_studio.cli.console.terminal import SteadyStream, has_reader, steady_output
from lora_studio.settings import Settings
from tests.conftest import StudioFolders
from tests.support.command import Command
from tests.support.library_entries import write_lora
from tests.support.serving import CHECKOUT

TITLE = "猫の絵 — größe"
ASCII = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii"}
WINDOWS = {"PYTHONIOENCODING": "cp1252"}
NO_UTF8 = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.fixture
def library(studio_folders: StudioFolders) -> Path:
    return write_lora(
        studio_folders.models / "lora" / "cat" / "cat.safetensors", **{"modelspec.title": TITLE}
    )


def child(*arguments: object, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """`lora-studio` in a process of its own."""
    command = [sys.executable, "-m", "lora_studio", *map(str, arguments)]
    return subprocess.run(
        command, cwd=CHECKOUT, env={**os.environ, **environment}, capture_output=True, timeout=300
    )


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize(
    ("environment", "shown"), [(ASCII, b"??? ? gr??e"), (WINDOWS, "??? — größe".encode("cp1252"))]
)
def test_letters_that_cannot_be_shown_are_question_marks(environment: dict[str, str], shown: bytes) -> None:
    run = child("list", **environment)
    assert (run.returncode, run.stderr) == (0, b"")
    assert shown in run.stdout


@pytest.mark.usefixtures("library")
def test_json_stays_whole() -> None:
    (lora,) = json.loads(child("list", "--json", **ASCII).stdout)["loras"]
    assert lora["title"] == TITLE


@pytest.mark.slow
@pytest.mark.parametrize("environment", [ASCII, WINDOWS, NO_UTF8])
def test_an_error_about_such_a_name_is_one_sentence(environment: dict[str, str], tmp_path: Path) -> None:
    run = child("train", "--kohya-config", tmp_path / "größe 猫.toml", **environment)
    assert run.returncode == 2
    assert run.stderr.startswith(b"error: ")
    assert len(run.stderr.splitlines()) == 1


def test_a_folder_that_the_locale_cannot_name_is_used_all_the_same(tmp_path: Path) -> None:
    models = tmp_path / "größe"
    write_lora(models / "lora" / "cat" / "cat.safetensors")
    run = child("list", **NO_UTF8, LORA_STUDIO_MODELS=str(models), LORA_STUDIO_HOME=str(tmp_path / "猫"))
    assert (run.returncode, run.stderr) == (0, b"")
    assert b"My Cat" in run.stdout


@pytest.mark.slow
@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("redirect", [">&-", "2>&-", ">&- 2>&-", "| true", "> /dev/full"])
@pytest.mark.skipif(sys.platform == "win32", reason="a shell's redirections")
def test_without_anybody_who_reads(redirect: str) -> None:
    script = f"set -o pipefail; {sys.executable} -m lora_studio list --json {redirect}"
    run = subprocess.run(["bash", "-c", script], cwd=CHECKOUT, capture_output=True, timeout=300)
    assert (run.returncode, run.stderr) == (0, b"")


def test_who_writes_learns_that_nobody_reads() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w", encoding="ascii") as stream:
        steady = SteadyStream(stream)
        steady.write("größe\n")
        steady.flush()
        assert steady.reader_is_gone
        steady.write("more\n")
        steady.flush()
    assert has_reader()


def test_the_streams_are_as_before_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    error = io.StringIO()
    monkeypatch.setattr(sys, "stderr", error)
    with steady_output():
        print("größe")
        print("größe", file=sys.stderr)
    assert (sys.stdout, sys.stderr, error.getvalue()) == (None, error, "größe\n")


class Spoken(Exception):
    def __str__(self) -> str:
        raise ValueError("no text either")


@pytest.mark.parametrize("error", [Spoken(), ValueError("\ud800 \udcff"), UnicodeError("x" * 10)])
@pytest.mark.parametrize("home", ["ok", "not-a-folder", "no\0name"])
def test_the_report_of_a_bug_cannot_fail(
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
    studio_folders: StudioFolders,
    error: Exception,
    home: str,
) -> None:
    def run(arguments: object) -> NoReturn:
        raise error

    folder = studio_folders.home / home
    folder.parent.mkdir(parents=True, exist_ok=True)
    if home == "not-a-folder":
        folder.write_text("")
    monkeypatch.setattr(lora_studio.cli.list, "run", run)
    monkeypatch.setattr(
        "lora_studio.cli.main.Settings.from_environment", lambda: Settings(home=folder, models=folder)
    )
    outcome = command("list")
    assert outcome.code == 1
    assert "This is a bug in LoRA Studio: " in outcome.err
    assert ("Traceback" in outcome.err) == (home in ("not-a-folder", "no\0name"))
