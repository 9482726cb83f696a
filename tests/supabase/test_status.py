"""`lora-studio status` and scripts/check_model_status.py, reading from Supabase and from the local store."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lora_studio.cli.main import main
from lora_studio.events import Failed, Finished, Stopped
from lora_studio.settings import Settings
from tests.conftest import StudioFolders
from tests.support.serving import CHECKOUT
from tests.support.supabase.databases import Postgres
from tests.support.supabase.mirroring import Home, open_home
from tests.support.supabase.server import Server
from tests.support.waiting import PATIENCE, until

Ask = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def elsewhere(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A machine whose trainings are in the project: a running one, and others that ended each in its way."""
    facts = {"supabase_url": server.url, "supabase_key": server.service_key}
    with open_home(tmp_path_factory.mktemp("elsewhere"), **facts) as home:
        home.store.append(home.begin("owl").id, Finished(path="", steps=10, seconds=1.0))
        home.store.append(home.begin("dog").id, Failed(message="The loss is no number.", hint="Go slower."))
        home.store.append(home.begin("elk").id, Stopped(step=0))
        job = home.begin("cat", done=5)
        home.mirror.start()
        assert home.mirror.flush(PATIENCE)
        home.store.heartbeat(job.owner)
        yield home


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, elsewhere: Home) -> Ask:
    """Run `lora-studio status` with the project in the environment: (exit code, out, err)."""
    monkeypatch.setenv("SUPABASE_URL", elsewhere.settings.supabase_url)
    monkeypatch.setenv("SUPABASE_KEY", elsewhere.settings.supabase_key)

    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(["status", *arguments])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def test_all_of_the_team_in_a_table(ask: Ask, elsewhere: Home) -> None:
    code, out, _ = ask("--source", "supabase")
    head, *lines = out.splitlines()
    assert code == 0
    assert head.split()[:4] == ["JOB", "NAME", "STATUS", "PROGRESS"]
    assert [line.split()[1] for line in lines] == ["Cat", "Elk", "Dog", "Owl"]
    cat = elsewhere.store.jobs()[0]
    for part in (cat.id, "running: train", f"{cat.progress:.0f}%", "5/10", "0.2500", "ago"):
        assert part in lines[0]


def test_without_a_store_here_supabase_is_read(ask: Ask, studio_folders: StudioFolders) -> None:
    code, out, _ = ask("--json")
    jobs = json.loads(out)["jobs"]
    assert (code, {job["source"] for job in jobs}) == (0, {"supabase"})
    assert {job["name"]: job["status"] for job in jobs} == {
        **{"Cat": "running", "Dog": "failed", "Elk": "stopped", "Owl": "finished"}
    }
    assert not studio_folders.home.exists()  # looking makes no store


def test_a_store_here_comes_first_and_lacks_what_is_elsewhere(
    ask: Ask, studio_folders: StudioFolders, tmp_path: Path
) -> None:
    Settings.from_environment().create_folders()
    assert ask("--source", "local")[1].startswith("No training yet.")
    assert ask()[1].startswith("No training yet.")
    code, out, _ = ask("cat", "--json")
    assert (code, json.loads(out)["source"]) == (0, "supabase")
    assert ask("nobody")[0] == 2


@pytest.mark.parametrize(
    ("name", "code", "said"), [("dog", 3, "The loss is no number. Go slower."), ("owl", 0, "Finished")]
)
def test_one_by_name_with_what_was_said(ask: Ask, name: str, code: int, said: str) -> None:
    given, out, _ = ask(name, "--source", "supabase")
    assert given == code
    assert said in out
    assert "Waiting." in out


def test_by_id_or_its_beginning(ask: Ask, elsewhere: Home) -> None:
    job_id = elsewhere.store.jobs()[0].id
    for given in (job_id, job_id[:6]):
        assert json.loads(ask(given, "--source", "supabase", "--json")[1])["id"] == job_id


def test_silence_is_marked(ask: Ask, postgres: Postgres) -> None:
    with postgres.connect() as connection:
        sql = "update training_jobs set seen_at = now() - interval '5 minutes' where name = 'Cat'"
        connection.execute(sql)
        try:
            _, out, _ = ask("cat", "--source", "supabase")
            stale = json.loads(ask("cat", "--source", "supabase", "--json")[1])["stale"]
        finally:
            connection.execute("update training_jobs set seen_at = now() where name = 'Cat'")
    assert "running, stale" in out
    assert "Stale: it is said to run" in out
    assert stale is True
    assert json.loads(ask("cat", "--source", "supabase", "--json")[1])["stale"] is False


def test_watching_ends_with_the_training(
    ask: Ask, elsewhere: Home, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes on through an outage of the project."""
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        time.sleep(seconds)

    monkeypatch.setattr("lora_studio.cli.status.time", SimpleNamespace(sleep=pause, time=time.time))
    monkeypatch.setattr("lora_studio.cli.status.WATCH_SECONDS_THERE", 0.05)
    job = elsewhere.begin("ant", done=1)
    assert elsewhere.mirror.flush(PATIENCE)

    def go_on() -> None:
        until(lambda: pauses)
        server.stop()
        looks = len(pauses)
        until(lambda: len(pauses) > looks + 1)  # the first may have been answered still
        server.start()
        elsewhere.store.append(job.id, Finished(path="", steps=10, seconds=1.0))

    thread = threading.Thread(target=go_on)
    thread.start()
    code, out, err = ask("ant", "--watch", "--json", "--source", "supabase")
    thread.join()
    states = [json.loads(line)["status"] for line in out.splitlines()]
    assert (code, states[0], states[-1]) == (0, "running", "finished")
    assert "Trying again." in err


@pytest.mark.parametrize("source", ["supabase", "auto"])
def test_where_nothing_can_be_reached(source: str, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPABASE_URL", "http://127.0.0.1:9")
    code, out, err = ask("--source", source)
    assert (code, out) == (4, "")
    assert err.startswith("error: Supabase can't be reached")
    monkeypatch.delenv("SUPABASE_KEY")
    assert ask("--source", "supabase")[0] == 4


def test_a_store_that_can_not_be_read(ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Supabase stands in, where it may."""
    home = tmp_path / "file"
    (home / "studio.db").mkdir(parents=True)  # no database by any means
    monkeypatch.setenv("LORA_STUDIO_HOME", str(home))
    assert ask("--source", "local")[0] == 4
    assert "Cat" in ask()[1]


def test_bars_have_colours_on_a_terminal_only(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = ask("--source", "supabase")[1]
    monkeypatch.setenv("FORCE_COLOR", "1")
    coloured = ask("--source", "supabase")[1]
    for colour in ("36", "90", "31", "32"):
        assert f"\x1b[{colour}m" in coloured
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in plain + ask("--source", "supabase")[1]
    cut = len(plain.splitlines()[0])
    bare = "".join(part.partition("m")[2] for part in ("m" + coloured).split("\x1b["))
    assert bare.splitlines()[0][:cut] == plain.splitlines()[0]


def test_the_script_is_the_command(elsewhere: Home, tmp_path: Path) -> None:
    environment: dict[str, Any] = {**os.environ, "SUPABASE_URL": elsewhere.settings.supabase_url}
    environment["SUPABASE_KEY"] = elsewhere.settings.supabase_key
    command = [sys.executable, str(CHECKOUT / "scripts" / "check_model_status.py"), "dog", "--json"]
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (run.returncode, json.loads(run.stdout)["status"]) == (3, "failed")
