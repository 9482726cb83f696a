"""Word of a training's end goes out in the background, to public servers only, and hurts nothing."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from lora_studio.downloads.checked_network import Web
from lora_studio.errors import ConfigError
from lora_studio.events import Failed, Started, StepDone
from lora_studio.jobs.training_queue import TrainingQueue
from lora_studio.operations import training_webhook
from lora_studio.operations.training_webhook import TrainingWebhook, body_of
from lora_studio.records import JobRecord, JobStatus
from lora_studio.settings import Settings
from lora_studio.store.database import Database
from lora_studio.store.job_store import JobStore
from tests.support.configs import config
from tests.support.file_server import Answer, FileServer, serve_files
from tests.support.stepping_worker import SteppingWorker
from tests.support.waiting import until

SECRET = "planted-secret-word"


@pytest.fixture
def job(database: Database, settings: Settings) -> JobRecord:
    """One that failed."""
    store = JobStore(database)
    made = store.create(config(output_name="mimi", output_dir=str(settings.loras / "mimi")))
    store.claim(made.id, "somebody")
    store.append(made.id, Started(total_steps=20, phases=("train",), device="cpu", dtype="fp32"))
    step = StepDone(step=3, total_steps=20, loss=1, average_loss=1, learning_rate=1e-4, seconds=0.1)
    store.append(made.id, step)
    store.append(made.id, Failed(message=f"No room in {Path.home()}/x, password={SECRET}.", hint="Try."))
    return store.get(made.id)


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serve_files() as made:
        made.answers["/hook"] = Answer()
        yield made


def to(server: FileServer, settings: Settings, path: str = "/hook") -> TrainingWebhook:
    named = replace(settings, webhook=server.url(path))
    return TrainingWebhook(named, web=server.web(), pauses=(0.01, 0.01))


def test_what_is_sent(job: JobRecord, server: FileServer, settings: Settings) -> None:
    with closing(to(server, settings)) as webhook:
        webhook.tell(job)
    (posted,) = server.posted
    body = json.loads(posted)
    assert body == {**body_of(job, settings), "at": body["at"], "seconds": body["seconds"]}
    assert (body["event"], body["status"], body["training"]) == ("training_ended", "failed", job.id)
    assert (body["slug"], body["step"], body["total_steps"]) == ("mimi", 3, 20)
    assert body["content"] == body["text"]
    assert "failed at step 3 of 20" in body["content"]
    assert SECRET not in posted.decode()
    assert str(Path.home()) not in body["message"]
    assert "~/x" in body["message"]


def test_a_name_calls_nobody_and_is_no_link(job: JobRecord, settings: Settings) -> None:
    body = body_of(replace(job, name="@everyone <!channel> <https://x.example|Log in>"), settings)
    assert body["allowed_mentions"] == {"parse": []}
    assert "@everyone" in body["content"]
    assert "@everyone" not in body["text"]
    assert "<" not in body["text"]
    assert "&lt;!channel&gt;" in body["text"]


@pytest.mark.parametrize(
    ("status", "message", "sent"),
    [
        (JobStatus.FINISHED, "", 1),
        (JobStatus.STOPPED, "", 1),
        (JobStatus.INTERRUPTED, "", 1),
        (JobStatus.PAUSED, "Paused: the disk is full.", 1),
        (JobStatus.PAUSED, "", 0),
        (JobStatus.RUNNING, "", 0),
    ],
)
def test_ends_are_told_and_pauses_that_were_asked_for_are_none(
    job: JobRecord, server: FileServer, settings: Settings, status: JobStatus, message: str, sent: int
) -> None:
    with closing(to(server, settings)) as webhook:
        webhook.tell(replace(job, status=status, message=message))
    assert len(server.posted) == sent


def test_a_server_that_fails_is_tried_three_times_and_named_once(
    job: JobRecord, server: FileServer, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    server.answers["/hook"] = Answer(status=503)
    with closing(to(server, settings)) as webhook:
        webhook.tell(job)
        until(lambda: len(server.posted) == 3)
        webhook.tell(job)
        until(lambda: len(server.posted) == 6)
        server.answers["/hook"] = Answer(status=404)
        webhook.tell(job)
        until(lambda: len(server.posted) == 7)
    assert [record.getMessage() for record in caplog.records] == [
        "LORA_STUDIO_WEBHOOK does not hear of trainings: it answers with 503."
    ]
    assert server.url("/hook") not in caplog.text


def test_a_redirect_is_not_followed(job: JobRecord, server: FileServer, settings: Settings) -> None:
    server.answers["/hook"] = Answer(status=307, headers={"Location": server.url("/other")})
    server.answers["/other"] = Answer()
    with closing(to(server, settings)) as webhook:
        webhook.tell(job)
    assert [path for path, _ in server.asked] == ["/hook"]


@pytest.mark.parametrize("url", ["https://127.0.0.1:9/hook", "https://localhost/hook", "https://[::1]/hook"])
def test_no_machine_of_this_network_is_asked(
    url: str, job: JobRecord, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(TrainingWebhook(replace(settings, webhook=url), pauses=())) as webhook:
        webhook.tell(job)
    assert "of this machine or of a private network" in caplog.text


def test_a_silent_server_holds_nothing_up(
    job: JobRecord, server: FileServer, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_webhook, "TRY_SECONDS", 0.2)
    server.answers["/hook"] = Answer(endless=b"X-A: b\r\n", pause=0.05)
    webhook = to(server, settings)
    begun = time.thread_time()
    for _ in range(training_webhook.MOST_WAITING + 5):
        webhook.tell(job)
    assert time.thread_time() - begun < 1
    webhook.close(timeout=0.1)
    server.answers["/hook"] = Answer()


def test_without_an_address_nothing_is_begun(job: JobRecord, settings: Settings) -> None:
    webhook = TrainingWebhook(settings, web=Web())
    webhook.tell(job)
    assert not webhook.is_on
    webhook.close()


@pytest.mark.parametrize(
    "url", ["http://hooks.example/x", "https://", "hooks.example", "https://a b", "ftp://x"]
)
def test_an_address_of_another_form_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ConfigError, match="LORA_STUDIO_WEBHOOK") as refused:
        Settings.from_environment({"LORA_STUDIO_WEBHOOK": url})
    assert url not in str(refused.value).replace("https://hooks.example/…", "")
    assert Settings.from_environment({"LORA_STUDIO_WEBHOOK": f" https://hooks.example/{SECRET} "}).webhook
    assert SECRET not in repr(
        Settings.from_environment({"LORA_STUDIO_WEBHOOK": f"https://a.example/{SECRET}"})
    )


def test_a_training_of_a_process_that_died_has_ended_too(database: Database, settings: Settings) -> None:
    store, ended = JobStore(database), list[JobRecord]()
    made = store.create(config(output_dir=str(settings.loras / "mimi")))
    store.claim(made.id, "nobody")
    TrainingQueue(store, SteppingWorker(), on_ended=ended.append).clear_up()
    assert [(job.id, job.status) for job in ended] == [(made.id, JobStatus.INTERRUPTED)]
