"""launch.py, started in a small checkout with a pip that only writes down what it is asked for."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import launch
from tests.support.waiting import PATIENCE, until

CHECKOUT = Path(launch.__file__).parent
APP = """
import os, sys, time
try:
    print("app", os.getcwd(), sys.argv[1:])
    for _ in range(round(100 * float(os.environ.get("APP_SLEEPS", 0)))):
        time.sleep(0.01)  # a signal that comes just before a sleep is only heard after it
except KeyboardInterrupt:
    sys.exit(130)
sys.exit(int(os.environ.get("APP_CODE", 0)))
"""
PIP = """
import os, sys, time
with open(os.environ["PIP_LOG"], "a") as log:
    print(*sys.argv[1:], file=log)
for _ in range(round(100 * float(os.environ.get("PIP_SLEEPS", 0)))):
    time.sleep(0.01)
sys.exit(os.environ.get("PIP_SAYS"))  # text goes to stderr and means exit code 1
"""
PYTEST = "import sys; print('pytest', sys.argv[1:])"
Cards = list[tuple[float, float]]
posix_only = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")


@dataclass(frozen=True)
class SmallCheckout:
    folder: Path
    stand_ins: Path

    @property
    def pip_calls(self) -> list[str]:
        return self._log.read_text().splitlines() if self._log.exists() else []

    @property
    def _log(self) -> Path:
        return self.stand_ins / "pip.log"

    def begin(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, self.folder / "launch.py", *arguments],
            cwd=self.stand_ins,  # any other folder than the checkout
            env={**os.environ, "PYTHONPATH": str(self.stand_ins), "PIP_LOG": str(self._log), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            process_group=0,
        )

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        process = self.begin(*arguments, **environment)
        out, err = process.communicate(timeout=PATIENCE)
        print(out, err, *self.pip_calls, sep="\n")
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def make_checkout(folder: Path) -> SmallCheckout:
    checkout = SmallCheckout(folder / "check out", folder / "stand-ins")
    checkout.folder.mkdir()
    shutil.copy(CHECKOUT / "launch.py", checkout.folder)
    (checkout.folder / "app.py").write_text(APP)
    for name in ("requirements.txt", "requirements-test.txt", "constraints.txt"):
        (checkout.folder / name).touch()
    for name, text in (("pip", PIP), ("pytest", PYTEST)):
        package = checkout.stand_ins / name
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
        (package / "__main__.py").write_text(text)
    return checkout


@pytest.fixture(scope="module")
def first_start(tmp_path_factory: pytest.TempPathFactory) -> tuple[SmallCheckout, str, list[str]]:
    """A checkout, what its first start printed, and how that one called pip."""
    checkout = make_checkout(tmp_path_factory.mktemp("launch"))
    run = checkout.run("--port", "1234")
    assert run.returncode == 0
    return checkout, run.stdout, checkout.pip_calls


@pytest.fixture
def checkout(first_start: tuple[SmallCheckout, str, list[str]]) -> SmallCheckout:
    """The same, complete again and with an empty pip log, and a file in .venv that no rebuild would leave."""
    checkout = first_start[0]
    assert checkout.run().returncode == 0
    (checkout.stand_ins / "pip.log").unlink(missing_ok=True)
    (checkout.folder / ".venv/kept").touch()
    return checkout


def was_rebuilt(checkout: SmallCheckout) -> bool:
    return not (checkout.folder / ".venv/kept").exists()


def test_a_first_start_installs_and_opens_the_app(first_start: tuple[SmallCheckout, str, list[str]]) -> None:
    checkout, output, (requirements, project) = first_start
    assert f"app {checkout.folder} ['--port', '1234']" in output
    assert "install" in requirements
    assert requirements.endswith("-r requirements.txt -c constraints.txt setuptools")
    assert project.endswith("--no-deps --no-build-isolation --editable .")


def test_a_second_start_installs_nothing(checkout: SmallCheckout) -> None:
    run = checkout.run("--", "--help")
    assert "app" in run.stdout
    assert "['--help']" in run.stdout
    assert run.stdout.count("\n") == 1, "it speaks only when it has something to do"
    assert checkout.pip_calls == []


def test_test_installs_more_and_passes_its_arguments_on(checkout: SmallCheckout) -> None:
    run = checkout.run("test", "-k", "launch")
    assert "pytest ['-k', 'launch']" in run.stdout
    assert "-r requirements.txt -r requirements-test.txt" in checkout.pip_calls[0]
    assert not was_rebuilt(checkout)
    before = len(checkout.pip_calls)
    checkout.run("test")
    assert len(checkout.pip_calls) == before


@pytest.mark.parametrize("name", ["requirements.txt", "constraints.txt", "launch.py"])
def test_changed_requirements_are_installed(checkout: SmallCheckout, name: str) -> None:
    with (checkout.folder / name).open("a") as file:
        file.write("\n# changed\n")
    assert checkout.run().returncode == 0
    assert len(checkout.pip_calls) == 2
    assert not was_rebuilt(checkout)


def test_a_moved_checkout_gets_its_scripts_renewed(checkout: SmallCheckout, tmp_path: Path) -> None:
    moved = SmallCheckout(tmp_path / "moved", checkout.stand_ins)
    shutil.copytree(checkout.folder, moved.folder, symlinks=True)
    assert moved.run().returncode == 0
    assert len(moved.pip_calls) == 2
    assert not was_rebuilt(moved)


@posix_only
@pytest.mark.slow  # as the next one, it makes an environment anew, which the first start does, too
def test_a_broken_environment_is_rebuilt(checkout: SmallCheckout) -> None:
    python = checkout.folder / ".venv/bin/python"
    python.unlink()
    python.symlink_to("/nowhere/python3")
    assert "app" in checkout.run().stdout
    assert was_rebuilt(checkout)


@posix_only
@pytest.mark.slow
def test_a_killed_installation_is_repaired(checkout: SmallCheckout) -> None:
    (checkout.folder / "requirements.txt").write_text("# more\n")
    process = checkout.begin(PIP_SLEEPS="60")
    until(lambda: checkout.pip_calls)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert not was_rebuilt(checkout)
    assert "app" in checkout.run().stdout
    assert was_rebuilt(checkout)


@posix_only
def test_ctrl_c_ends_an_installation(checkout: SmallCheckout) -> None:
    (checkout.folder / "requirements.txt").write_text("# still more\n")
    process = checkout.begin(PIP_SLEEPS="60")
    until(lambda: checkout.pip_calls)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert err.endswith("Stopped.\n")
    (checkout.folder / ".venv/launch-incomplete").unlink()  # else the next test begins with a rebuild


@posix_only
def test_ctrl_c_reaches_the_app(checkout: SmallCheckout) -> None:
    process = checkout.begin(APP_SLEEPS="60", PYTHONUNBUFFERED="1")
    assert process.stdout
    assert process.stdout.readline().startswith("app")
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 130


def test_the_exit_code_of_the_app_is_passed_on(checkout: SmallCheckout) -> None:
    assert checkout.run(APP_CODE="7").returncode == 7


def test_a_failed_installation_names_the_cause_and_starts_nothing(checkout: SmallCheckout) -> None:
    (checkout.folder / "requirements.txt").write_text("# yet more\n")
    run = checkout.run(PIP_SAYS="ERROR: [Errno 28] No space left on device")
    assert run.returncode == 2
    assert "The disk is full" in run.stderr
    assert "app" not in run.stdout
    assert len(checkout.pip_calls) == 1
    assert "app" in checkout.run().stdout
    assert not was_rebuilt(checkout), "pip had ended by itself"


def test_two_starts_at_once_install_once(checkout: SmallCheckout) -> None:
    (checkout.folder / "requirements.txt").write_text("# for both\n")
    both = [checkout.begin(PIP_SLEEPS="0.5") for _ in range(2)]
    assert all("app" in process.communicate(timeout=PATIENCE)[0] for process in both)
    assert len(checkout.pip_calls) == 2, "the requirements and the project, once each"


def test_help_is_about_launch_and_installs_nothing(tmp_path: Path) -> None:
    checkout = make_checkout(tmp_path)
    assert "python3 launch.py test" in checkout.run("--help").stdout
    assert not (checkout.folder / ".venv").exists()


@pytest.mark.parametrize(
    ("version", "is_64_bit", "found"),
    [
        ((3, 10, 4), True, "this is 3.10.4"),
        ((2, 7, 18), True, "this is 2.7.18"),
        ((3, 12, 0), False, "this is 3.12.0, 32 bit"),
    ],
)
def test_an_unfit_python_is_told_so(version: tuple[int, ...], is_64_bit: bool, found: str) -> None:
    with pytest.raises(launch.Problem, match=r"needs 64-bit Python 3\.11 or newer") as problem:
        launch.check_python(version, is_64_bit)
    assert found in str(problem.value)


@pytest.mark.parametrize("version", [(3, 11, 0), (3, 14, 1)])
def test_a_fit_python_passes(version: tuple[int, ...]) -> None:
    launch.check_python(version, True)


def test_a_missing_venv_module_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "ensurepip" else object())
    with pytest.raises(launch.Problem, match=r"sudo apt install python3\.\d+-venv"):
        launch.build_venv()


@pytest.mark.parametrize(
    ("output", "start"),
    [
        ("ERROR: Could not install packages: [Errno 28] No space left on device", "The disk is full"),
        ("OSError: There is not enough space on the disk", "The disk is full"),
        ("Failed to establish a new connection: [Errno 111] Connection refused", "The package index can't"),
        ("Temporary failure in name resolution\nNo matching distribution found", "The package index can't"),
        ("getaddrinfo failed", "The package index can't"),
        ("ReadTimeoutError: Read timed out. (read timeout=15)", "The package index can't"),
        ("[SSL: CERTIFICATE_VERIFY_FAILED] unable to get local issuer", "The package index could not"),
        ("ERROR: No matching distribution found for torch==2.13.0", "A package has no build for this"),
        ("[WinError 5] Access is denied: 'torch.dll'", "A file in .venv can't"),
        ("something new", ""),
    ],
)
def test_faults_become_sentences(output: str, start: str) -> None:
    sentence = launch.explain(output)
    assert sentence.startswith(start)
    assert bool(sentence) == bool(start)


@pytest.mark.parametrize(
    ("system", "cards", "wish", "index"),
    [
        ("Windows", [], "", ""),
        ("Windows", [(8.6, 581.15)], "", "cu130"),
        ("Windows", [(12.0, 576.02)], "", "cu130"),  # no build for CUDA 12.6 knows this card
        ("Windows", [(8.6, 566.36)], "", "cu126"),
        ("Windows", [(6.1, 581.15)], "", "cu126"),
        ("Windows", [(6.1, 581.15), (8.6, 581.15)], "", "cu126"),
        ("Windows", [(0, 0)], "", "cu126"),
        ("Windows", [(8.6, 581.15)], "cpu", "cpu"),
        ("Linux", [(8.6, 581.15)], "", ""),
        ("Linux", [], "cpu", "cpu"),
        ("Darwin", [], "", ""),
    ],
)
def test_where_pytorch_comes_from(system: str, cards: Cards, wish: str, index: str) -> None:
    assert launch.torch_index(system, cards, wish) == (launch.TORCH_INDEX + index if index else "")


@pytest.mark.parametrize(
    ("answer", "cards"),
    [
        ("8.6, 581.15\n12.0, 580.88.01\n", [(8.6, 581.15), (12.0, 580.88)]),
        ('Field "compute_cap" is not a valid field to query.\n', [(0, 0)]),
    ],
)
def test_cards_are_read(monkeypatch: pytest.MonkeyPatch, answer: str, cards: Cards) -> None:
    monkeypatch.setattr("subprocess.run", lambda *_, **__: subprocess.CompletedProcess([], 0, answer))
    assert launch.nvidia_cards() == cards


@pytest.mark.parametrize(("code", "expected"), [(0, 0), (7, 7), (0xC000013A, 130)])
def test_on_windows_it_waits_for_the_child(monkeypatch: pytest.MonkeyPatch, code: int, expected: int) -> None:
    class Child:
        answers = iter([KeyboardInterrupt(), code])

        def wait(self) -> int:
            answer = next(self.answers)
            if isinstance(answer, BaseException):
                raise answer
            return answer

    monkeypatch.setattr("sys.platform", "win32")
    monkeypatch.setattr("subprocess.Popen", lambda _: Child())
    assert launch.hand_over(["python", "app.py"]) == expected


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-test.txt"])
def test_the_tested_version_of_each_requirement_is_in_its_range(name: str) -> None:
    constraints = (CHECKOUT / "constraints.txt").read_text().lower()
    tested = dict(re.findall(r"^(\S+)==(\S+)$", constraints, re.MULTILINE))
    for line in (CHECKOUT / name).read_text().splitlines():
        if not line.startswith("#"):
            requirement = Requirement(line)
            assert "<" in str(requirement.specifier), f"{line} has no upper bound"
            assert tested[requirement.name] in requirement.specifier
