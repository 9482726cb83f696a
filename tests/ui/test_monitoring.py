"""/healthz and /metrics at the gate, over a real studio: who gets them, and that the numbers are right."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from lora_studio import __version__
from lora_studio.access.roles import Role
from lora_studio.events import Emit, ImageSaved, ShouldStop, StepDone
from lora_studio.jobs.generation_queue import GenerationResult
from lora_studio.store.people.visitors import Visitors
from lora_studio.studio import Studio
from lora_studio.ui.serving.gate import Gate
from lora_studio.ui.serving.login import Access
from lora_studio.ui.serving.monitoring import Monitoring
from lora_studio.ui.serving.request_origin import Names
from tests.support.asgi import Answered, Pair, Sent, answer_to
from tests.support.configs import named_config
from tests.support.waiting import PATIENCE

OPEN, LOCKED = Access(), Access(username="ada", password="correct horse")
LOCAL, ANYONE = Names.of("127.0.0.1", anyone=False), Names.of("0.0.0.0", anyone=True)
TOKEN = "a token for the watcher"
HOST: Pair = ("host", "localhost:7860")
INNER = 404


async def inside(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": INNER, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def gate(studio: Studio, access: Access = OPEN, names: Names = LOCAL, token: str = "") -> Gate:
    made = Gate(access, names)
    made.cookie, made.tokens = "session", {"known": "ada"}
    watched = replace(studio, settings=replace(studio.settings, metrics_token=token))
    made.monitoring = Monitoring(watched, closed=names.answered is None and not access.password)
    return made


def ask(opened: Gate, path: str, headers: Sequence[Pair] = (), **sent: Any) -> Answered:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await opened(scope, receive, send, inside)

    return asyncio.run(answer_to(app, Sent(headers=[HOST, *headers], path=path, **sent)))


def numbers(answered: Answered) -> dict[tuple[str, ...], float]:
    """The samples by name and labels' values."""
    assert answered.status == 200
    families = text_string_to_metric_families(answered.body.decode())
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
    }


def test_health_is_for_everybody_and_says_nothing_private(studio: Studio) -> None:
    for access, names in ((OPEN, LOCAL), (LOCKED, ANYONE), (OPEN, ANYONE)):
        answered = ask(gate(studio, access, names), "/healthz")
        assert answered.status == 200
        facts = {"status": "ok", "version": __version__, "database": "ok", "disk": "ok"}
        assert json.loads(answered.body) == facts
        assert answered.header("x-content-type-options") == "nosniff"
    foreign = [("origin", "http://evil.example"), ("sec-fetch-site", "cross-site")]
    assert ask(gate(studio), "/healthz", foreign).status == 403
    assert ask(gate(studio), "/healthz", method="POST").status == INNER


def test_health_without_a_database_or_room(studio: Studio) -> None:
    full = replace(studio, settings=replace(studio.settings, keep_free_gb=900_000.0))
    assert Monitoring(full).health() == {
        "status": "ok",
        "version": __version__,
        "database": "ok",
        "disk": "full",
    }
    with sqlite3.connect(studio.settings.database) as raw:
        raw.execute("ALTER TABLE jobs RENAME TO jobs_elsewhere")
    raw.close()
    answered = ask(gate(studio, LOCKED, ANYONE), "/healthz")
    assert answered.status == 503
    assert json.loads(answered.body)["database"] == "failing"
    assert ask(gate(studio), "/metrics").status == 503


@pytest.mark.parametrize(
    ("access", "names", "token", "headers", "status"),
    [
        (OPEN, LOCAL, "", [], 200),
        (LOCKED, ANYONE, "", [], 401),
        (LOCKED, ANYONE, "", [("cookie", "session=known")], 200),
        (LOCKED, ANYONE, "", [("authorization", "Bearer ")], 401),
        (LOCKED, ANYONE, TOKEN, [], 401),
        (LOCKED, ANYONE, TOKEN, [("authorization", f"Bearer {TOKEN}")], 200),
        (LOCKED, ANYONE, TOKEN, [("authorization", f"bearer  {TOKEN}")], 200),
        (LOCKED, ANYONE, TOKEN, [("authorization", f"Basic {TOKEN}")], 401),
        (LOCKED, ANYONE, TOKEN, [("authorization", f"Bearer {TOKEN[:-1]}")], 401),
        (OPEN, ANYONE, "", [], 401),
        (OPEN, ANYONE, TOKEN, [("authorization", f"Bearer {TOKEN}")], 200),
    ],
)
def test_who_reads_the_metrics(
    studio: Studio, access: Access, names: Names, token: str, headers: list[Pair], status: int
) -> None:
    answered = ask(gate(studio, access, names, token), "/metrics", headers)
    assert answered.status == status
    assert (b"lora_studio_jobs" in answered.body) == (status == 200)


def test_of_people_only_admins_read_the_metrics(studio: Studio) -> None:
    visitors = Visitors.over(studio.database, admin="ada", is_open=False)
    made = Gate(LOCKED, ANYONE, visitors=visitors)
    made.cookie, made.monitoring = "session", Monitoring(studio)
    for name, role, status in (("grace", Role.TRAINER, 401), ("mary", Role.ADMIN, 200)):
        visitors.people.add(name, role, "correct horse")
        made.tokens[name] = name
        assert ask(made, "/metrics", [("cookie", f"session={name}")]).status == status
        assert ask(made, "/healthz", [("cookie", f"session={name}")]).status == 200


def test_the_numbers(studio: Studio, tmp_path: Path) -> None:
    opened = gate(studio)
    store = studio.jobs._store
    for name in ("cat", "dog"):
        job = store.create(named_config(name, 20, tmp_path, studio.settings.loras))
    assert store.claim(job.id, "me")
    store.append(
        job.id, StepDone(step=7, total_steps=20, loss=0.5, average_loss=0.5, learning_rate=1e-4, seconds=1)
    )
    before = numbers(ask(opened, "/metrics"))
    assert before["lora_studio_jobs", "queued"] == 1
    assert before["lora_studio_jobs", "running"] == 1
    assert before["lora_studio_jobs", "failed"] == 0
    assert before["lora_studio_queue_length", "training"] == 1
    assert before["lora_studio_queue_length", "generation"] == 0
    assert before["lora_studio_steps_trained_total",] == 7
    assert before["lora_studio_images_drawn_total",] == 0
    assert before["lora_studio_info", __version__] == 1
    if sys.platform == "linux":
        assert before["process_resident_memory_bytes",] > 1e6

    def draw(emit: Emit, should_stop: ShouldStop) -> GenerationResult:
        for image in (1, 2):
            emit(ImageSaved(path="x.png", seed=1, image=image, images=2))
        return GenerationResult()

    ticket = studio.generation_queue.submit(draw)
    studio.generation_queue.wait(ticket.id, PATIENCE)
    studio.database.change("UPDATE jobs SET step = 3")
    for path in ("/nothing", "/nothing", "/gradio_api/openapi.json"):
        ask(opened, path)
    after = numbers(ask(opened, "/metrics"))
    assert after["lora_studio_images_drawn_total",] == 2
    assert after["lora_studio_steps_trained_total",] == 7 + 3
    assert after["lora_studio_http_answers_total", "4xx"] == 3
    assert after["lora_studio_http_answers_total", "2xx"] == 1
