"""What the commands' tests share: a tiny real base model, and a way to run a command."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from lora_studio.cli.main import main
from tests.support.command import QUICK, Command, Outcome
from tests.support.tiny import make_pictures


@pytest.fixture(autouse=True)
def closed_folders() -> Iterator[None]:
    """Folders that a test makes are closed to others, as the studio's own are, which otherwise says so."""
    before = os.umask(0o077)
    yield
    os.umask(before)


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    """Run `lora-studio` with these arguments in this process."""

    def run(*arguments: object) -> Outcome:
        capsys.readouterr()
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as leaving:
            code = int(leaving.code or 0)
        said = capsys.readouterr()
        return Outcome(code, said.out, said.err)

    return run


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of four pictures with captions."""
    return make_pictures(tmp_path / "pictures")


@pytest.fixture
def train_quickly(command: Command, tiny_base: Path, pictures: Path) -> Command:
    """`lora-studio train` on the tiny base with the given further arguments."""

    def run(*arguments: object, name: str = "My disc", steps: int = 2) -> Outcome:
        options = ("--images", pictures, "--name", name, "--kind", "object", "--base", tiny_base)
        return command("train", *options, "--steps", steps, *QUICK, *arguments)

    return run
