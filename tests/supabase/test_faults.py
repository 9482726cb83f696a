"""Bad networks and killed senders: every event arrives once, the last word is right, nobody here waits."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from lora_studio.errors import MirrorError
from lora_studio.events import Finished, Noted
from lora_studio.jobs.supabase.push import Pace
from lora_studio.records import JobRecord
from lora_studio.settings import Settings
from lora_studio.store import supabase_client as module
from lora_studio.store.supabase_client import Supabase
from lora_studio.store.supabase_errors import (
    ExpiredToken,
    NotAllowed,
    ParentMissing,
    Refused,
    Unreachable,
    seconds_of,
)
from tests.support.serving import CHECKOUT
from tests.support.supabase.databases import Postgres
from tests.support.supabase.faulty import HALF, ON_THE_WIRE, Answering, Faulty, misbehaving
from tests.support.supabase.mirroring import QUICK, Home, open_home, step
from tests.support.supabase.server import Server
from tests.support.waiting import PATIENCE, until

STEPS, KILLS = 120, 5

SENDERS = """
import json, os, signal, sys, time
from contextlib import suppress
from pathlib import Path
import supabase
from tests.support.supabase.faulty import HALF, Faulty
from tests.support.supabase.mirroring import open_home

folder, facts = Path(sys.argv[1]), json.loads(sys.argv[2])
for line in sys.stdin:  # a seed each: one more sender, for the test to kill
    child = os.fork()
    if child:
        print(child, flush=True)
        os.waitpid(child, 0)
    else:
        with open_home(folder, transport=Faulty(HALF, seed=int(line)), **facts) as home:
            home.mirror.start()
            time.sleep(600)
"""


def train(home: Home, job: JobRecord, seed: int) -> None:
    """As fast as a training can be that does nothing but tell."""
    drawn = random.Random(seed)
    for number in range(1, STEPS + 1):
        home.store.append(job.id, step(number, STEPS))
        if number % 40 == 0:
            home.store.append(job.id, Noted(message=f"at {number}", level="warning"))
        time.sleep(drawn.uniform(0, 0.04))
    home.store.append(job.id, Finished(path="", steps=STEPS, seconds=1.0))


@contextmanager
def senders(folder: Path, facts: dict[str, Any]) -> Iterator[Callable[[int], int]]:
    """Start one in a process of its own, with a seed for its faults; its process id."""
    command = [sys.executable, "-c", SENDERS, str(folder), json.dumps(facts)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=CHECKOUT
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        stdin, stdout = process.stdin, process.stdout

        def start(seed: int) -> int:
            stdin.write(f"{seed}\n")
            stdin.flush()
            return int(stdout.readline())

        yield start
        stdin.close()


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="senders are forked here, to be killed quickly")
def test_three_trainings_half_of_all_requests_failing_senders_killed(
    server: Server, postgres: Postgres, tmp_path: Path
) -> None:
    facts = {"supabase_url": server.url, "supabase_key": server.service_key}
    with open_home(tmp_path, transport=Faulty(HALF, seed=1), **facts) as home:
        home.outbox.aim_at("not yet")  # the senders find another project and begin at the beginning
        with senders(tmp_path, facts) as start:
            first = start(0)
            jobs = [home.begin(name, STEPS) for name in ("cat", "dog", "owl")]
            threads = [
                threading.Thread(target=train, args=(home, job, number)) for number, job in enumerate(jobs)
            ]
            for thread in threads:
                thread.start()
            for number in range(1, KILLS + 1):
                until(lambda pid=first: f":{pid}:" in _holder(home))
                time.sleep(random.Random(number).uniform(0.1, 0.5))
                os.kill(first, signal.SIGKILL)
                if number < KILLS:
                    first = start(number)
            for thread in threads:
                thread.join()
        home.mirror.start()
        assert home.mirror.flush(PATIENCE)
        assert home.outbox.dead_letters() == []
        with postgres.connect() as connection:
            for job in jobs:
                here, there = home.store.get(job.id), home.there("job", job.id)
                row = connection.execute(
                    "select status::text, progress, step, seq from training_jobs where id = %s", (there,)
                ).fetchone()
                assert row == ("finished", 100.0, STEPS, here.revision)
                told = connection.execute(
                    "select seq, kind, data->>'step' from job_events where job_id = %s order by seq", (there,)
                ).fetchall()
                events = home.store.events(job.id)
                assert [(seq, kind) for seq, kind, _ in told] == [
                    (stored.sequence, type(stored.event).__name__) for stored in events
                ]
                steps = [int(number) for _, kind, number in told if kind == "StepDone"]
                assert steps == list(range(1, STEPS + 1))


def _holder(home: Home) -> str:
    rows = home.database.read("SELECT value FROM mirror WHERE name = 'sender'")
    return str(rows[0]["value"]) if rows else ""


def test_events_of_a_job_that_is_put_off_are_not_lost(
    server: Server, postgres: Postgres, tmp_path: Path
) -> None:
    """The case that lost events once: the job's row fails and backs off, its events find no parent."""
    facts = {"supabase_url": server.url, "supabase_key": server.service_key}
    with open_home(tmp_path, **facts) as home:
        home.mirror.start()  # a new project forgets what was put off
    with open_home(tmp_path, **facts) as home:
        job = home.begin(done=60)
        (row,) = home.outbox.waiting("job")
        home.outbox.postpone(row, "backing off", 3600)
        home.mirror.start()
        tried = "SELECT 1 FROM outbox WHERE kind = 'events' AND attempts > 0"
        until(lambda: home.database.read(tried))
        assert home.outbox.dead_letters() == []
        home.outbox.postpone(row, "its turn has come", 0)
        assert home.mirror.flush(PATIENCE)
        with postgres.connect() as connection:
            sql = "select count(*) from job_events where job_id = %s"
            assert connection.execute(sql, (home.there("job", job.id),)).fetchone() == (62,)


@pytest.mark.parametrize("how", ON_THE_WIRE)
def test_whatever_answers_nothing_is_taken_for_done(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SECONDS", 0.3)
    with misbehaving(how) as address:
        remote = Supabase(settings(tmp_path, address))
        try:
            with pytest.raises(Unreachable):
                remote.upsert("loras", [{"id": "x"}])
            with pytest.raises(Unreachable):
                remote.select("loras")
        finally:
            remote.close()


def settings(folder: Path, url: str = "http://127.0.0.1:9", **more: Any) -> Settings:
    return Settings(home=folder, models=folder, supabase_url=url, supabase_key="sb_secret_word", **more)


def body(**facts: Any) -> bytes:
    return json.dumps({"code": None, "message": "", **facts}).encode()


CLASSES = [
    *((status, b"{}", Unreachable) for status in (408, 425, 429, 500, 502, 503, 520, 540)),
    *((status, b"<html>", Unreachable) for status in (404, 500)),
    (400, body(), Unreachable),
    (401, body(message="Invalid API key"), ExpiredToken),
    (401, body(code="PGRST301"), ExpiredToken),
    (401, body(code="42501"), NotAllowed),
    (403, body(code="42501", message="permission denied for table loras"), NotAllowed),
    (404, body(code="PGRST205"), NotAllowed),
    (400, body(code="PGRST204"), NotAllowed),
    (409, body(code="23503"), ParentMissing),
    (409, body(code="23505"), Refused),
    (400, body(code="23514"), Refused),
    (400, body(code="22P02"), Refused),
    (400, body(code="23502"), Refused),
    (500, body(code="23514"), Unreachable),
]


@pytest.mark.parametrize(("status", "content", "kind"), CLASSES)
def test_each_answer_has_its_class(
    status: int, content: bytes, kind: type[MirrorError], tmp_path: Path
) -> None:
    remote = Supabase(settings(tmp_path), transport=Answering(status, content))
    with pytest.raises(MirrorError) as caught:
        remote.upsert("loras", [{"id": "x"}])
    assert type(caught.value) is kind
    remote.close()


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        ({"statusCode": "404", "error": "not_found", "message": "Object not found"}, Refused),
        ({"statusCode": "413", "error": "Payload too large", "message": "too large"}, Refused),
        ({"statusCode": "403", "error": "Unauthorized", "message": "policy"}, Refused),
        ({"statusCode": "401", "error": "Unauthorized", "message": "jwt"}, ExpiredToken),
        ({"statusCode": "503", "error": "Down", "message": "down"}, Unreachable),
    ],
)
def test_storage_hides_the_status_in_the_body(
    content: dict[str, str], kind: type[MirrorError], tmp_path: Path
) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(b"x")
    transport = Answering(400, json.dumps(content).encode(), content_type="application/json")
    remote = Supabase(settings(tmp_path), transport=transport)
    with pytest.raises(MirrorError) as caught:
        remote.upload("images", "a/b.png", file, "image/png")
    assert type(caught.value) is kind
    remote.close()


@pytest.mark.parametrize("url", ["nonsense", "ftp://x", "http://", "http://[", "https://a b"])
def test_an_address_that_is_none_pauses(url: str, tmp_path: Path) -> None:
    remote = Supabase(settings(tmp_path, url))
    with pytest.raises(MirrorError) as caught:
        remote.select("loras")
    assert "Supabase" in str(caught.value) or "SUPABASE_URL" in str(caught.value)
    remote.close()


def test_retry_after_is_honoured(tmp_path: Path) -> None:
    transport = Answering(429, b"{}", retry_after="1")
    facts = {"supabase_url": "http://127.0.0.1:9", "supabase_key": "k" * 20}
    with open_home(tmp_path, transport=transport, **facts) as home:
        home.begin(done=5)
        home.mirror.start()
        until(lambda: len(transport.times) == 2)
    waits = [later - earlier for earlier, later in zip(transport.times, transport.times[1:], strict=False)]
    assert min(waits) >= 0.95


def test_a_dead_server_is_asked_once_a_back_off(tmp_path: Path) -> None:
    """However much waits: the first request is the probe, and it fails for all."""
    transport = Answering(503, b"{}")
    facts = {"supabase_url": "http://127.0.0.1:9", "supabase_key": "k" * 20}
    with open_home(
        tmp_path, transport=transport, pace=Pace(look=0.01, first=1e6, longest=1e6), **facts
    ) as home:
        for number in range(20):
            home.begin(f"lora-{number}", done=20)
        home.mirror.start()
        until(lambda: transport.times)
        time.sleep(0.4)
        assert home.mirror.state().state == "waiting"
        assert len(transport.times) == 1
        begun = time.monotonic()
        home.mirror.close()
        assert time.monotonic() - begun < PATIENCE  # closing does not wait for the back-off


def test_back_off_grows_with_jitter_up_to_its_limit() -> None:
    pace = Pace(first=1.0, longest=60.0)
    drawn = {failures: [pace.after(failures) for _ in range(400)] for failures in (1, 3, 100)}
    assert [max(waits) <= most for waits, most in zip(drawn.values(), (2, 8, 60), strict=True)] == [True] * 3
    assert [max(waits) > 0.8 * most for waits, most in zip(drawn.values(), (2, 8, 60), strict=True)] == [
        *[True] * 3
    ]
    assert all(min(waits) < 0.2 * max(waits) for waits in drawn.values())
    assert pace.after(1, asked=30) == 30
    assert pace.after(1, asked=1e9) == 600


@pytest.mark.parametrize(
    ("header", "least", "most"),
    [
        *(("7", 7, 7), ("1.5", 1.5, 1.5), ("", 0, 0), ("soon", 0, 0), ("-3", 0, 0)),
        *(("Wed, 21 Oct 2015 07:28:00 GMT", 0, 0), ("in 90 s", 80, 91)),
    ],
)
def test_retry_after_is_a_number_or_a_date(header: str, least: float, most: float) -> None:
    if header == "in 90 s":
        header = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 90))
    assert least <= seconds_of(header) <= most


def test_nobody_here_waits_for_a_server_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SECONDS", 30.0)
    with ExitStack() as serving:
        facts = {"supabase_url": serving.enter_context(misbehaving("hang")), "supabase_key": "k" * 20}
        with open_home(tmp_path, pace=QUICK, **facts) as home:
            job = home.begin()
            home.mirror.start()
            time.sleep(0.2)  # its request hangs now
            begun = time.monotonic()
            for number in range(1, 101):
                home.store.append(job.id, step(number, 100))
                home.mirror.state()
            assert time.monotonic() - begun < 25
            serving.close()  # the end of a home waits for what hangs


def test_a_bug_in_the_sender_does_not_end_it(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    facts = {"supabase_url": server.url, "supabase_key": server.service_key}
    with open_home(tmp_path, **facts) as home:
        home.begin()
        whole, left = home.outbox.__class__.waiting, [2]

        def stumble(*given: Any) -> Any:
            left[0] -= 1
            if left[0] >= 0:
                raise ZeroDivisionError
            return whole(*given)

        monkeypatch.setattr("lora_studio.store.outbox.Outbox.waiting", stumble)
        home.mirror.start()
        assert home.mirror.flush(PATIENCE)
    assert "the mirror stumbled" in caplog.text
