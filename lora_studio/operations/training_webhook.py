"""Word of trainings that end, sent to an address that whoever runs the studio has named.

It goes out from a thread of its own: a server that is slow or gone holds nothing up. The address is checked
as those of downloads are, so that it leads to no machine of this network.
"""

from __future__ import annotations

import html
import json
import logging
import queue
import ssl
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import httpcore
import httpx

from lora_studio import __version__
from lora_studio.downloads.checked_network import CheckedNetwork, Refused, Stopped, TooMuch, TooSlow, Web
from lora_studio.downloads.file_links import check_link
from lora_studio.errors import StudioError
from lora_studio.formatting import duration
from lora_studio.operations.studio_logs import secrets_here, shown_text
from lora_studio.records import JobRecord, JobStatus
from lora_studio.settings import Settings

logger = logging.getLogger(__name__)

EVENT = "training_ended"
ENDED = {JobStatus.FINISHED, JobStatus.STOPPED, JobStatus.FAILED, JobStatus.INTERRUPTED}
PAUSES = (5.0, 30.0)
"""Seconds before the second and the third try."""
TRY_SECONDS = 10.0
MOST_WAITING = 50
LONGEST_NAME, LONGEST_MESSAGE = 120, 500
BREAK = "\u200b"
"""A space of no width: behind an @ it keeps Mattermost and its like from taking the word for a name."""
AGAIN = {408, 425, 429}
"""Answers after which the same request may be taken, besides those from 500 on."""


class TrainingWebhook:
    """The sender. Off without `settings.webhook`. A failure is said in the log once, until something arrives
    again. `web` and `pauses` are for tests."""

    def __init__(
        self, settings: Settings, *, web: Web | None = None, pauses: tuple[float, ...] = PAUSES
    ) -> None:
        self._settings, self._web, self._pauses = settings, web or Web(), pauses
        self._waiting: queue.Queue[JobRecord | None] = queue.Queue(MOST_WAITING)
        self._lock, self._closing = threading.Lock(), threading.Event()
        self._thread: threading.Thread | None = None
        self._failed = False

    @property
    def is_on(self) -> bool:
        return bool(self._settings.webhook)

    def tell(self, job: JobRecord) -> None:
        """Send word of a training that has ended, and return at once. A wanted pause is no end."""
        if not self.is_on or not (job.status in ENDED or (job.status is JobStatus.PAUSED and job.message)):
            return
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="webhook", daemon=True)
                self._thread.start()
        try:
            self._waiting.put_nowait(job)
        except queue.Full:
            self._fail("it does not keep up; some trainings are left out")

    def close(self, timeout: float = 3.0) -> None:
        """Send what waits, each once and no more, and end; at most `timeout` seconds."""
        self._closing.set()
        if self._thread is not None:
            try:
                self._waiting.put_nowait(None)
            except queue.Full:
                return
            self._thread.join(timeout)

    def _work(self) -> None:
        while (job := self._waiting.get()) is not None:
            try:
                self._deliver(body_of(job, self._settings))
            except Exception:  # the worker: word of the next training shall get out
                logger.exception("the webhook stumbled")

    def _deliver(self, body: Mapping[str, Any]) -> None:
        content = json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")
        for pause in (*self._pauses, None):
            why, try_again = self._send(content)
            if not why:
                self._failed = False
                return
            if not try_again or pause is None or self._closing.wait(pause):
                self._fail(why)
                return

    def _send(self, content: bytes) -> tuple[str, bool]:
        """(what went wrong, empty when it arrived; whether another try may help)."""
        network = CheckedNetwork(web=self._web, deadline=time.monotonic() + TRY_SECONDS, most_bytes=0)
        trust = self._web.trust or ssl.create_default_context()
        try:
            url = httpx.URL(self._settings.webhook)
            check_link(url, self._web.schemes)
            with httpcore.ConnectionPool(ssl_context=trust, network_backend=network) as pool:
                status = _post(pool, url, content)
        except (httpx.InvalidURL, Refused) as error:
            return (error.message if isinstance(error, StudioError) else "it is no address"), False
        except (TooSlow, TooMuch, Stopped, httpcore.TimeoutException):
            return f"no answer within {TRY_SECONDS:.0f} s", True
        except (httpcore.NetworkError, httpcore.ProtocolError) as error:
            return f"it can't be reached ({type(error).__name__})", True
        if 200 <= status < 300:
            return "", False
        return f"it answers with {status}", status >= 500 or status in AGAIN

    def _fail(self, why: str) -> None:
        if not self._failed:
            logger.warning("LORA_STUDIO_WEBHOOK does not hear of trainings: %s.", why)
        self._failed = True


def _post(pool: httpcore.ConnectionPool, url: httpx.URL, content: bytes) -> int:
    """The status of the answer; the rest of it is not read. Redirects are not followed."""
    headers = [
        ("host", url.netloc.decode("ascii")),
        ("content-type", "application/json; charset=utf-8"),
        ("content-length", str(len(content))),
        ("connection", "close"),
        ("user-agent", "lora-studio"),
    ]
    target = httpcore.URL(
        scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path or b"/"
    )
    timeouts = dict.fromkeys(("connect", "read", "write", "pool"), TRY_SECONDS)
    with pool.stream(
        "POST", target, headers=headers, content=content, extensions={"timeout": timeouts}
    ) as answer:
        return answer.status


def body_of(job: JobRecord, settings: Settings) -> dict[str, Any]:
    """The facts of a training that are sent: no settings, no secrets, and the home folder as ~. `content` and
    `text` are one sentence, where Discord and Slack look for it. Names are anybody's words: none calls a
    whole channel together (`@everyone`, `<!channel>`), or looks like a link of Slack's."""
    secrets = secrets_here(settings)
    name, message = (
        " ".join(shown_text(text, secrets).split())[:longest]
        for text, longest in ((job.name, LONGEST_NAME), (job.message, LONGEST_MESSAGE))
    )
    seconds = job.seconds_at_work(job.finished_at or time.time())
    sentence = f"{name}: {job.status} at step {job.step} of {job.total_steps} after {duration(seconds)}."
    sentence = f"{sentence} {message}".strip()
    return {
        "event": EVENT,
        "status": str(job.status),
        "training": job.id,
        "name": name,
        "slug": job.slug,
        "step": job.step,
        "total_steps": job.total_steps,
        "seconds": round(seconds),
        "message": message,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "studio": __version__,
        "content": sentence,
        "allowed_mentions": {"parse": []},  # of Discord: nobody
        "text": html.escape(sentence, quote=False).replace("@", f"@{BREAK}"),
    }
