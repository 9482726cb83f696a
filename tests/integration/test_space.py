"""A Space: app.py started with a Space's variables where only the files that go up are."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from gradio_client import Client, handle_file

from lora_studio.cli.deploy.space_files import space_files
from tests.support.hub_accounts import CLIENT, SECRET, Account, hub_accounts
from tests.support.installed import without_python_variables
from tests.support.serving import App, free_port, running
from tests.support.waiting import PATIENCE, until

pytestmark = pytest.mark.slow

NAVIGATES = {"sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
LOGIN = ("ada", "correct horse battery")


@pytest.fixture(scope="module")
def uploaded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Space's own checkout."""
    folder = tmp_path_factory.mktemp("space") / "app"
    for file in space_files("cpu-basic"):
        file.write(folder)
    return folder


@contextmanager
def space(uploaded: Path, bucket: Path, **environment: str) -> Iterator[App]:
    """The Space with a bucket mounted. -S and a path of packages alone: what is installed in editable form,
    this checkout, is not there."""
    variables = {
        "SYSTEM": "spaces",
        "SPACE_ID": "ada/studio",
        "SPACE_HOST": "ada-studio.hf.space",
        "SPACE_AUTHOR_NAME": "ada",
        "CPU_CORES": "2",
        "MEMORY": "16Gi",
        "GRADIO_SERVER_PORT": str(free_port()),
        "LORA_STUDIO_HOME": str(bucket / "home"),
        "LORA_STUDIO_MODELS": str(bucket / "models"),
        "LORA_STUDIO_USER": LOGIN[0],
        "LORA_STUDIO_PASSWORD": LOGIN[1],
        "PYTHONPATH": sysconfig.get_paths()["purelib"],
        "HF_HUB_OFFLINE": "1",
    }
    process = subprocess.Popen(
        [sys.executable, "-S", "-u", "app.py", "--port", variables["GRADIO_SERVER_PORT"]],
        cwd=uploaded,
        env={**without_python_variables(), **variables, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
    )
    with running(process, bucket) as app:
        app.address = app.address.replace("0.0.0.0", "127.0.0.1")
        yield app


def test_a_space_starts_from_what_goes_up(uploaded: Path, tmp_path: Path) -> None:
    files = {path.relative_to(uploaded).as_posix() for path in uploaded.rglob("*") if path.is_file()}
    assert files == {file.path for file in space_files("cpu-basic")}
    with space(uploaded, tmp_path) as app, httpx.Client(base_url=app.address, trust_env=False) as visitor:
        assert visitor.get("healthz").json()["status"] == "ok"
        assert visitor.get("config").status_code == 401
        the_hub_may_frame_it(visitor)
    output = "".join(app.said)
    # Gradio's own, of a thread that lets owners edit a Space while it runs; Spaces bring the package (6.31).
    known = output.count("RuntimeError: `spaces` package is required to run hot-reloading")
    assert output.count("Traceback") == known, output


def the_hub_may_frame_it(visitor: httpx.Client) -> None:
    """And nobody who framed it may call it."""
    host = "ada-studio.hf.space"
    framed = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe"}
    visitor.headers.update({"host": host, "x-forwarded-proto": "https"})
    page = visitor.get("", headers=framed)
    assert page.status_code == 200
    assert "https://huggingface.co" in page.headers["content-security-policy"]
    own = {"origin": f"https://{host}", "sec-fetch-site": "same-origin"}
    login = dict(zip(("username", "password"), LOGIN, strict=True))
    given = visitor.post("login", data=login, headers=own).headers["set-cookie"]
    assert "SameSite=none" in given
    assert "partitioned" in given.lower()
    cookie = given.partition(";")[0]
    visitor.cookies.clear()
    assert visitor.get("config", headers={"cookie": cookie, **own}).status_code == 200
    assert visitor.get("config", headers={"cookie": cookie, **framed}).status_code == 403


def test_the_owner_of_a_space_logs_in_with_hugging_face(uploaded: Path, tmp_path: Path) -> None:
    """The Hub's side is a provider on this machine; what the browser does between the two is done here."""
    with hub_accounts() as hub:
        variables = {
            "OAUTH_CLIENT_ID": CLIENT,
            "OAUTH_CLIENT_SECRET": SECRET,
            "OAUTH_SCOPES": "openid profile",
            "OPENID_PROVIDER_URL": hub.url,
        }
        with (
            space(uploaded, tmp_path, **variables) as app,
            httpx.Client(base_url=app.address, trust_env=False, timeout=PATIENCE) as owner,
            httpx.Client(base_url=app.address, trust_env=False, timeout=PATIENCE) as stranger,
        ):
            assert "login/huggingface" in owner.get("", headers={"accept": "text/html"}).text
            for http, account, status in (
                (stranger, Account("eve", "2"), 403),
                (owner, Account("ada", "1"), 303),
            ):
                begun = http.get("login/huggingface")
                cookie = begun.headers["set-cookie"].partition(";")[0]  # Secure, and this is no HTTPS
                back = f"login/callback?{hub.agree(begun.headers['location'], account)}"
                answer = http.get(
                    back, headers={"cookie": cookie, "sec-fetch-site": "cross-site", **NAVIGATES}
                )
                assert answer.status_code == status, answer.text
            session = {"cookie": answer.headers["set-cookie"].partition(";")[0]}
            assert owner.get("metrics", headers=session).status_code == 200  # an admin's
            assert stranger.get("config").status_code == 401


def test_a_restart_keeps_what_the_bucket_holds(uploaded: Path, tmp_path: Path) -> None:
    """The machine of a Space is taken away without a word; the next one has the same bucket."""
    with space(
        uploaded, tmp_path, LORA_STUDIO_PUBLIC="1", LORA_STUDIO_USER="", LORA_STUDIO_PASSWORD=""
    ) as app:
        client = Client(app.address, verbose=False)
        picture = uploaded / "examples" / "ink" / "fox.png"
        made = client.predict([handle_file(picture)], "Fox", api_name="/upload_dataset")
        options = {"max_train_steps": 100_000, "sample_every_n_steps": 0, "save_state_every_n_steps": 2}
        job = client.predict(
            made["dataset_id"], "Fox", "object", "", "starter", options, api_name="/start_training"
        )["job_id"]
        until(lambda: client.predict(job, api_name="/training_status")["step"] >= 5)
        app.process.kill()
        app.process.wait(PATIENCE)
        client.close()
    with space(
        uploaded, tmp_path, LORA_STUDIO_PUBLIC="1", LORA_STUDIO_USER="", LORA_STUDIO_PASSWORD=""
    ) as app:
        client = Client(app.address, verbose=False)
        until(lambda: client.predict(job, api_name="/training_status")["status"] == "interrupted")
        step = client.predict(job, api_name="/training_status")["step"]
        client.predict(job, api_name="/resume_training")
        until(lambda: client.predict(job, api_name="/training_status")["step"] > step)
        client.predict(job, api_name="/stop_training")
        until(lambda: client.predict(job, api_name="/training_status")["status"] == "stopped")
        assert json.dumps(client.predict("", api_name="/list_loras")).count("fox")
        client.close()
