"""No key, password or token is in the page, its configuration, an answer, a log, a file of the home folder or
an error: they are planted and looked for."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

from lora_studio.cli.main import main
from lora_studio.errors import MirrorError
from lora_studio.jobs.supabase.sync import MirrorState
from lora_studio.settings import Settings
from lora_studio.store.supabase_client import Supabase
from lora_studio.studio import open_studio
from lora_studio.ui.blocks import build
from lora_studio.ui.supabase_badge import badge
from tests.support.gradio_leftovers import IGNORE
from tests.support.serving import CHECKOUT, App, running_app
from tests.support.supabase.faulty import Answering
from tests.support.supabase.mirroring import open_home
from tests.support.supabase.server import Server
from tests.support.waiting import PATIENCE, until

pytestmark = IGNORE

KEY, WORD, PAGE_WORD = "sb_secret_planted0key1", "planted-account-word", "planted-page-word"
TOKEN = "hf_planted2token3"
PLANTED = (KEY, WORD, PAGE_WORD, TOKEN)
BY_ENVIRONMENT = {
    **{"SUPABASE_KEY": KEY, "SUPABASE_EMAIL": "eve@example.org", "SUPABASE_PASSWORD": WORD},
    **{"LORA_STUDIO_USER": "me", "LORA_STUDIO_PASSWORD": PAGE_WORD, "HF_TOKEN": TOKEN},
}
JWT = re.compile(rb"eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.")


def found_in(where: bytes | str, *more: str) -> list[str]:
    """Which of the planted secrets are there, and access tokens of any account."""
    text = where if isinstance(where, bytes) else where.encode()
    return [secret for secret in (*PLANTED, *more) if secret.encode() in text] + [
        token.decode() for token in JWT.findall(text)
    ]


def found_below(folder: Path, *more: str) -> dict[str, list[str]]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    return {str(path): found for path in files if (found := found_in(path.read_bytes(), *more))}


def test_the_search_finds_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "log.txt").write_bytes(b"\x00 key=" + KEY.encode())
    (tmp_path / "b").write_text("Bearer eyJhbGciOiJIUzI1NiJ9x.eyJzdWIiOiIxMjM0In0x.sig")
    assert len(found_below(tmp_path)) == 2


@pytest.fixture(scope="module")
def app(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """With an account that the project does not know: the error's way out is looked at too."""
    environment = {**BY_ENVIRONMENT, "SUPABASE_URL": server.url, "SUPABASE_KEY": server.anon_key}
    with running_app(tmp_path_factory.mktemp("app"), **environment) as running:
        yield running


@pytest.fixture(scope="module")
def logged_in(app: App) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=app.address, timeout=PATIENCE, trust_env=False) as client:
        client.post("login", data={"username": "me", "password": PAGE_WORD}).raise_for_status()
        yield client


@pytest.fixture(scope="module")
def job_id(app: App) -> str:
    """A training that failed, by the API; what it left is searched below."""
    client = Client(app.address, auth=("me", PAGE_WORD), verbose=False)
    files = [handle_file(path) for path in sorted((CHECKOUT / "examples" / "ink").iterdir())[:4]]
    dataset = client.predict(files, "Ink", api_name="/upload_dataset")
    started = client.predict(
        dataset_id=dataset["dataset_id"],
        name="Ink",
        kind="style",
        options={"max_train_steps": 1, "sample_every_n_steps": 0, "resolution": 64},
        api_name="/start_training",
    )
    ended = ("finished", "failed", "stopped")
    until(
        lambda: client.predict(started["job_id"], api_name="/training_status")["status"] in ended, seconds=120
    )
    with pytest.raises(AppError):
        client.predict("no-such-job", api_name="/training_status")
    client.close()
    return str(started["job_id"])


@pytest.mark.slow
def test_nothing_is_in_the_page_or_any_answer(
    app: App, logged_in: httpx.Client, job_id: str, server: Server
) -> None:
    paths = ["", "config", "gradio_api/info", "gradio_api/openapi.json", "theme.css"]
    private = ["studio.db", "machine-id", f"jobs/{job_id}/log.txt", f"jobs/{job_id}/events.jsonl"]
    paths += [f"gradio_api/file={app.home / name}" for name in private]
    answers = {path: logged_in.get(path) for path in paths}
    assert [answers[path].status_code for path in ("", "config")] == [200, 200]
    assert "masthead" in answers["config"].text
    assert "Supabase" in answers["config"].text
    assert all(answers[path].status_code in (403, 404) for path in paths[5:])
    assert {path: found_in(answer.content, server.anon_key) for path, answer in answers.items()} == {
        path: [] for path in paths
    }


@pytest.mark.slow
def test_nothing_is_in_the_log_or_the_home_folder(app: App, job_id: str, server: Server) -> None:
    assert (app.home / "jobs" / job_id / "log.txt").is_file()
    assert found_in("".join(app.said), server.anon_key) == []
    assert found_below(app.home, server.anon_key) == {}
    assert found_below(app.models, server.anon_key) == {}


def test_nothing_is_in_what_a_working_mirror_leaves(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    user = server.user("dora@example.org")
    account = {"supabase_email": user.email, "supabase_password": user.password}
    facts = {"supabase_url": server.url, "supabase_key": server.anon_key, "supabase_uploads": True}
    with caplog.at_level(logging.DEBUG), open_home(tmp_path, **facts, **account) as home:
        home.finish(home.begin(done=3))
        home.draw("a cat")
        home.mirror.start()
        assert home.mirror.flush(PATIENCE)
        state = home.mirror.state()
    secrets = (server.anon_key, user.password)
    assert found_in(caplog.text, *secrets) == []
    assert found_in(repr((home, state)), *secrets) == []
    assert found_below(tmp_path, *secrets) == {}


def settings(tmp_path: Path) -> Settings:
    folders = {"LORA_STUDIO_HOME": str(tmp_path / "home"), "LORA_STUDIO_MODELS": str(tmp_path / "models")}
    return Settings.from_environment({**BY_ENVIRONMENT, **folders, "SUPABASE_URL": "http://127.0.0.1:9"})


def test_settings_do_not_show_them(tmp_path: Path) -> None:
    given = settings(tmp_path)
    assert given.supabase_key == KEY
    assert (given.supabase_password, given.password) == (WORD, PAGE_WORD)
    assert found_in(repr(given) + str(given)) == []


def test_the_studio_and_its_page_do_not_show_them(tmp_path: Path) -> None:
    studio = open_studio(settings(tmp_path), start_worker=False)
    try:
        page = build(studio)
        assert found_in(json.dumps(page.get_config_file(), default=repr)) == []
        assert found_in(repr(studio)) == []
    finally:
        studio.close()


@pytest.mark.slow
@pytest.mark.parametrize("status", [200, 400, 401, 403, 409, 413, 429, 500])
@pytest.mark.parametrize("kind", ["application/json", "text/plain", "text/html"])
def test_a_server_that_repeats_them_is_not_believed(tmp_path: Path, status: int, kind: str) -> None:
    """What a server says may hold what it was sent."""
    said = json.dumps({"code": KEY, "message": f"{KEY} {WORD}", "error": KEY, "access_token": 1})
    given = settings(tmp_path)
    remote = Supabase(given, transport=Answering(status, said.encode(), content_type=kind))
    file = tmp_path / "a.png"
    file.write_bytes(b"x")
    asked: list[Any] = [
        lambda: remote.upsert("loras", [{"id": "x"}]),
        lambda: remote.upload("images", "a/b.png", file, "image/png"),
        lambda: remote.request("POST", "/storage/v1/upload/resumable"),
        lambda: list(remote.download("loras", "a/b")),
    ]
    for ask in asked:
        with pytest.raises(MirrorError) as caught:
            ask()
        told = caught.value
        assert found_in(f"{told} {told.message} {told.hint} {told!r} {told.args}") == []
    remote.close()


def test_the_badge_says_a_reason_as_words_only() -> None:
    shown = badge(MirrorState(state="paused", waiting=3, reason='<script>alert("x")</script>', refused=1))
    assert "<script>" not in shown
    assert "3 waiting" in shown


def test_a_bug_report_leaves_the_command_lines_password_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LORA_STUDIO_HOME", str(tmp_path / "home"))
    for arguments in (["--pass", PAGE_WORD], ["--password", PAGE_WORD], [f"--password={PAGE_WORD}"]):
        command = ["serve", *arguments]
        monkeypatch.setattr("sys.argv", ["lora-studio", *command])
        monkeypatch.setattr("lora_studio.cli.serve.run", lambda _: 1 // 0)
        assert main(command) == 1
    said = capsys.readouterr()
    assert found_in(said.out + said.err) == []
    assert "--pass" in next((tmp_path / "home" / "logs").iterdir()).read_text()
    assert found_below(tmp_path) == {}
