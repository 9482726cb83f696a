"""`lora-studio deploy space`: what goes up, for which hardware, and what it says when the Hub refuses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import constants
from packaging.requirements import Requirement

from lora_studio.cli.deploy import space_files, space_upload
from lora_studio.cli.deploy.space_files import requirements
from tests.support.command import Command
from tests.support.hub_server import point_to
from tests.support.installed import tracked_files
from tests.support.serving import CHECKOUT
from tests.support.space_hub import Space, SpaceHub, space_hub

WRITTEN = {"README.md", "requirements.txt"}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[SpaceHub]:
    with space_hub(monkeypatch, tmp_path) as server:
        yield server


@pytest.fixture
def few_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A small project, with things beside its own that must stay here."""
    project = tmp_path / "project"
    contents = {
        "app.py": "print()",
        "LICENSE": "",
        "lora_studio/__init__.py": "",
        "lora_studio/ui/page.css": "",
        "models/starter/NOTICE": "",
        "models/starter/unet/config.json": "{}",
        "models/starter-flow/tokenizer/chat_template.jinja": "",
        "examples/README.md": "",
        "examples/alien/alien-01.png": "",
        "examples/ink/fox.png": "",
    }
    private = {
        ".env": "TOKEN=1",
        "studio_data/studio.db": "",
        "models/lora/me/me.safetensors": "",
        "models/starter/.cache/a.json": "",
        "models/starter/unet/weights.ckpt": "",
        "lora_studio/__pycache__/a.py": "",
        "lora_studio/a.pyc": "",
        "lora_studio/.secret.py": "",
        "lora_studio/notes.db": "",
        "lora_studio/checkout/app.py": "",
        "examples/my-child/01.png": "",
        "examples/01.png": "",
        "tests/test_a.py": "",
        "recipes/a.py": "",
    }
    for path, text in {**contents, **private}.items():
        (project / path).parent.mkdir(parents=True, exist_ok=True)
        (project / path).write_text(text)
    (tmp_path / "elsewhere.py").write_text("secret")
    (project / "lora_studio" / "link.py").symlink_to(tmp_path / "elsewhere.py")
    (project / "examples" / "all").symlink_to(tmp_path)
    for name in ("README.md", "requirements.txt", "constraints.txt", "launch.py"):
        (project / name).write_bytes((CHECKOUT / name).read_bytes())
    monkeypatch.setattr(space_files, "CHECKOUT", project)
    monkeypatch.setattr(space_files, "PACKAGE", project / "lora_studio")
    return project


def test_a_dry_run_lists_exactly_what_goes_up(command: Command) -> None:
    outcome = command("deploy", "space", "me/studio", "--dry-run", "--json")
    assert outcome.code == 0
    described = json.loads(outcome.out)
    assert set(described["files"]) == {
        *tracked_files("app.py", "LICENSE", "lora_studio", "examples"),
        *tracked_files("models/starter", "models/starter-flow"),
        *WRITTEN,
    }
    assert described["files"]["app.py"] == (CHECKOUT / "app.py").stat().st_size
    assert described["hardware"] == "cpu-basic"
    shown = command("deploy", "space", "me/studio", "--dry-run").out
    assert all(f"  {path}\n" in shown for path in described["files"])
    assert "Nothing was sent" in shown


def test_what_is_not_on_the_list_stays_here(few_files: Path, command: Command) -> None:
    described = json.loads(command("deploy", "space", "studio", "--dry-run", "--json").out)
    assert set(described["files"]) == {
        *("app.py", "LICENSE", "lora_studio/__init__.py", "lora_studio/ui/page.css", "models/starter/NOTICE"),
        *("models/starter/unet/config.json", "models/starter-flow/tokenizer/chat_template.jinja"),
        "examples/README.md",
        *("examples/alien/alien-01.png", "examples/ink/fox.png"),
        *WRITTEN,
    }
    (few_files / "app.py").unlink()
    outcome = command("deploy", "space", "studio", "--dry-run")
    assert outcome.code == 2
    assert "app.py is missing" in outcome.err


@pytest.mark.parametrize(
    ("hardware", "torch"),
    [("cpu-basic", "2.13.0"), ("cpu-upgrade", "2.13.0"), ("zero-a10g", "2.11.0"), ("t4-small", "2.13.0")],
)
def test_the_requirements_fit_the_hardware(hardware: str, torch: str) -> None:
    lines = [line for line in requirements(hardware).splitlines() if not line.startswith("#")]
    options = [line for line in lines if line.startswith("-")]
    assert len(options) == hardware.startswith("cpu-")
    assert all(line.endswith("/cpu") for line in options)
    wanted = {one.name: one for one in map(Requirement, (line for line in lines if line not in options))}
    assert str(wanted["torch"].specifier) == f"=={torch}"
    assert ("spaces" in wanted) == (hardware == "zero-a10g")
    assert "gradio" not in wanted, "the front matter's sdk_version brings it"
    ours = (CHECKOUT / "requirements.txt").read_text("utf-8").splitlines()
    for requirement in map(Requirement, (line for line in ours if line and not line.startswith("#"))):
        if requirement.name != "gradio":
            [version] = wanted[requirement.name].specifier
            assert requirement.specifier.contains(version.version)


@pytest.mark.parametrize(
    "options",
    [
        ["a/b/c"],
        ["../x"],
        ["me/ studio"],
        [""],
        ["studio", "--hardware", "fast!"],
        ["studio", "--storage", "bucket"],
        ["studio", "--secret", "NOT_SET_ANYWHERE"],
        ["studio", "--variable", "no-name=1"],
        ["studio", "--variable", "NAME"],
        ["studio", "--sleep", "0"],
        ["studio", "--sleep", "soon"],
    ],
)
def test_wrong_options_are_said_in_a_sentence(options: list[str], command: Command) -> None:
    outcome = (
        command("deploy", "space", "--dry-run", "--", *options)
        if len(options) == 1
        else command("deploy", "space", "--dry-run", *options)
    )
    assert outcome.code == 2
    assert outcome.err.startswith("error: ")
    assert outcome.out == ""


def test_a_space_is_made_filled_and_renewed(
    few_files: Path, hub: SpaceHub, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LORA_STUDIO_PASSWORD", "correct horse battery")
    options = ["--private", "--hardware", "zerogpu", "--storage", "ada/shelf", "--sleep", "30"]
    options += ["--secret", "LORA_STUDIO_PASSWORD", "--variable", "LORA_STUDIO_USER=ada"]
    outcome = command("deploy", "space", "studio", *options)
    assert outcome.code == 0, outcome.err
    assert outcome.out.strip().endswith("/spaces/ada/studio")
    assert "correct horse" not in outcome.out + outcome.err
    space = hub.spaces["ada/studio"]
    assert (space.made["sdk"], space.made["hardware"]) == ("gradio", "zero-a10g")
    assert space.made["visibility"] == "private"
    assert space.made["sleepTimeSeconds"] == 1800
    assert space.secrets == {"LORA_STUDIO_PASSWORD": "correct horse battery"}
    assert space.variables["LORA_STUDIO_HOME"] == "/data/studio_data"
    assert space.variables["LORA_STUDIO_MODELS"] == "/data/models"
    assert space.variables["LORA_STUDIO_USER"] == "ada"
    [volume] = space.volumes
    assert (volume["type"], volume["source"], volume["mountPath"]) == ("bucket", "ada/shelf", "/data")
    described = json.loads(command("deploy", "space", "studio", "--dry-run", "--json").out)
    assert set(space.files) == {*described["files"], ".gitattributes"}
    assert space.files["app.py"] == b"print()"

    space.files["lora_studio/old.py"] = b"gone in this version"
    (few_files / "app.py").write_text("print(2)")
    again = command("deploy", "space", "ada/studio", "--hardware", "t4-small", "--variable", "A=1")
    assert again.code == 0, again.err
    assert space.files["app.py"] == b"print(2)"
    assert "lora_studio/old.py" not in space.files
    assert space.hardware == "t4-small"
    assert space.variables["A"] == "1"
    assert space.secrets, "what is not named stays"
    assert not space.settings
    assert "made up" not in again.err, "its secret is still there"
    command("deploy", "space", "ada/studio", "--hardware", "t4-small", "--sleep", "15", "--private")
    assert space.settings == {"visibility": "private"}
    assert space.sleep_seconds == 900
    assert "made up" in command("deploy", "space", "other").err


def test_the_program_of_somebody_else_is_not_replaced(
    few_files: Path, hub: SpaceHub, command: Command
) -> None:
    hub.spaces["ada/game"] = Space(files={"app.py": b"a game", ".gitattributes": b""})
    outcome = command("deploy", "space", "game")
    assert outcome.code == 2
    assert "another program" in outcome.err
    assert hub.spaces["ada/game"].files["app.py"] == b"a game"
    assert command("deploy", "space", "game", "--replace").code == 0
    assert hub.spaces["ada/game"].files["app.py"] == b"print()"


def test_a_space_that_does_not_run_shows_the_end_of_its_log(
    few_files: Path, hub: SpaceHub, command: Command
) -> None:
    hub.stage = "BUILD_ERROR"
    hub.log = [f"line {number}" for number in range(100)] + ["\x1b[31mERROR: no torch\x1b[0m"]
    outcome = command("deploy", "space", "studio")
    assert outcome.code == 2
    assert "ERROR: no torch" in outcome.err
    assert "\x1b" not in outcome.err
    assert "line 99" in outcome.err
    assert "line 1\n" not in outcome.err
    assert "does not run: BUILD_ERROR" in outcome.err


@pytest.mark.parametrize(
    ("status", "part"), [(401, "login"), (402, "paid plan"), (403, "may not write"), (500, "500")]
)
def test_what_the_hub_refuses_is_one_sentence(
    few_files: Path, hub: SpaceHub, command: Command, status: int, part: str
) -> None:
    hub.refused = status
    outcome = command("deploy", "space", "studio")
    assert outcome.code == 2
    assert outcome.err.count("\n") == 1
    assert part in outcome.err


def test_without_a_login_or_a_network(
    few_files: Path, hub: SpaceHub, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    outcome = command("deploy", "space", "studio")
    assert outcome.code == 2
    assert "hf auth login" in outcome.err
    monkeypatch.delenv("HF_TOKEN")
    outcome = command("deploy", "space", "studio")
    assert outcome.code == 2
    assert "Nobody is logged in" in outcome.err
    monkeypatch.setenv("HF_TOKEN", "hf_any")
    point_to("http://127.0.0.1:9", monkeypatch)
    outcome = command("deploy", "space", "studio")
    assert outcome.code == 2
    assert "can't be reached" in outcome.err
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    huggingface_hub.close_session()
    outcome = command("deploy", "space", "studio")
    assert outcome.code == 2
    assert outcome.err.count("\n") == 1
    assert not hub.spaces


def test_a_build_that_takes_too_long(
    few_files: Path, hub: SpaceHub, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.stage = "BUILDING"
    monkeypatch.setattr(space_upload, "BUILD_SECONDS", 0.0)
    outcome = command("deploy", "space", "studio")
    assert outcome.code == 2
    assert "BUILDING" in outcome.err
