"""The frame around all commands: parsing, errors, exit codes, and that help is quick."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import NoReturn

import pytest

import lora_studio.cli.list
from lora_studio import __version__
from lora_studio.cli.main import COMMANDS, main
from lora_studio.errors import StoreError
from tests.conftest import StudioFolders
from tests.support.command import Command
from tests.support.serving import CHECKOUT
from tests.support.waiting import PATIENCE


def test_version(command: Command) -> None:
    assert command("--version").out == f"LoRA Studio {__version__}\n"


def test_no_command_shows_the_help(command: Command) -> None:
    outcome = command()
    assert outcome.code == 2
    assert all(name in outcome.out for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_explains_itself(command: Command, name: str) -> None:
    outcome = command(name, "--help")
    assert outcome.code == 0
    assert COMMANDS[name][1:] in " ".join(outcome.out.split())


@pytest.mark.parametrize(
    "arguments", [("frobnicate",), ("train", "--kind", "animal"), ("generate",), ("list", "--nonsense")]
)
def test_wrong_options_are_one_sentence(command: Command, arguments: tuple[str, ...]) -> None:
    outcome = command(*arguments)
    assert outcome.code == 2
    assert outcome.err.startswith("error: ")
    assert len(outcome.err.splitlines()) == 1


LOADED = """
import json, sys
from lora_studio.cli.main import main
for arguments in json.loads(sys.argv[1]):
    try: main(arguments)
    except SystemExit: pass
    print(json.dumps(sorted(sys.modules)))
"""


def test_help_and_looking_things_up_load_nothing_heavy() -> None:
    commands = (["train", "--help"], ["list", "--json"], ["status", "--json"])
    program = [sys.executable, "-c", LOADED, json.dumps(commands)]
    run = subprocess.run(program, cwd=CHECKOUT, capture_output=True, text=True, check=True)
    loaded = [set(json.loads(line)) for line in run.stdout.splitlines() if line.startswith('["')]
    heavy = {"torch", "gradio", "diffusers", "transformers", "accelerate", "peft"}
    assert [modules & heavy for modules in loaded] == [set()] * len(commands)
    assert not loaded[0] & {"numpy", "PIL", "lora_studio.studio"}


def raising(error: BaseException) -> object:
    def run(arguments: object) -> NoReturn:
        raise error

    return run


@pytest.mark.parametrize(
    ("words", "begins_anew"),
    [
        (["tour"], True),
        (["train"], True),
        (["plan"], True),
        (["list"], False),
        (["serve"], False),
        ([], False),
    ],
)
def test_what_asks_a_model_begins_in_an_environment_for_that(
    monkeypatch: pytest.MonkeyPatch, words: list[str], begins_anew: bool
) -> None:
    begun = []
    monkeypatch.setattr("lora_studio.cli.main.begin_in_cpu_environment", lambda: begun.append(True))
    monkeypatch.setattr(sys, "argv", ["lora-studio", *words, "--help"])
    with pytest.raises(SystemExit):
        main()
    assert bool(begun) == begins_anew


def test_a_users_error_is_a_sentence_and_2(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lora_studio.cli.list, "run", raising(StoreError("It is gone.", "Look again.")))
    outcome = command("list")
    assert (outcome.code, outcome.out, outcome.err) == (2, "", "error: It is gone. Look again.\n")


def test_a_bug_is_1_and_its_traceback_is_kept(
    command: Command, monkeypatch: pytest.MonkeyPatch, studio_folders: StudioFolders
) -> None:
    monkeypatch.setattr(lora_studio.cli.list, "run", raising(ZeroDivisionError("oh no")))
    outcome = command("list")
    assert outcome.code == 1
    assert outcome.err.startswith("This is a bug in LoRA Studio: ZeroDivisionError: oh no\n")
    assert "Traceback" not in outcome.err
    (log,) = (studio_folders.home / "logs").iterdir()
    assert str(log) in outcome.err
    assert "Traceback" in log.read_text("utf-8")


def test_ctrl_c_is_130(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lora_studio.cli.list, "run", raising(KeyboardInterrupt()))
    outcome = command("list")
    assert outcome.code == 130
    assert outcome.err == "\nStopped.\n"


def test_the_module_is_the_command() -> None:
    command = [sys.executable, "-m", "lora_studio", "--version"]
    run = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True)
    assert run.stdout == f"LoRA Studio {__version__}\n"


def test_a_reader_that_has_seen_enough_is_no_bug() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "lora_studio", "list", "--json"],
        cwd=CHECKOUT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.close()
    _, said = process.communicate(timeout=PATIENCE)
    assert (process.returncode, said) == (0, b"")
