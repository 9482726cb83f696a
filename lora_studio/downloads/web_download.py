"""One file fetched from the web, within limits of size, time and redirects."""

from __future__ import annotations

import logging
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import httpcore
import httpx

from lora_studio.downloads.checked_network import (
    IDLE_SECONDS,
    LEAST_SECONDS,
    CheckedNetwork,
    Refused,
    Stopped,
    TooMuch,
    TooSlow,
    Web,
)
from lora_studio.downloads.file_links import check_link, name_of_file, parse_link, shown_link
from lora_studio.errors import StudioError
from lora_studio.events import Emit, PhaseAdvanced, ShouldStop, ignore, never_stop
from lora_studio.files import check_room, disk_errors
from lora_studio.formatting import size
from lora_studio.parsing.numbers import parse_whole
from lora_studio.parsing.plain_text import plain_text
from lora_studio.settings import Settings

logger = logging.getLogger(__name__)

MOST_REDIRECTS = 5
REDIRECTS = frozenset({301, 302, 303, 307, 308})
CONNECT_SECONDS = 15.0
LOOKED_AT = 64
"""Bytes from the start that `check` is given."""
ROOM_EVERY = 64 << 20
TELL_EVERY = 1 << 20
TIMEOUTS = {
    "connect": CONNECT_SECONDS,
    "read": IDLE_SECONDS,
    "write": IDLE_SECONDS,
    "pool": CONNECT_SECONDS,
}

Check = Callable[[bytes], None]
"""A function that refuses a file by its first bytes. Raises StudioError."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits of a download: bytes, seconds in all, and seconds in which something has to come."""

    most_bytes: int = 2 << 30
    seconds: float = 3600.0
    least_seconds: float = LEAST_SECONDS


@dataclass(frozen=True, kw_only=True)
class WebDownload:
    """A download into a folder of its own. `check` looks at the first bytes."""

    check: Check
    settings: Settings
    web: Web = field(default_factory=Web)
    limits: Limits = field(default_factory=Limits)

    def fetch(
        self, link: str, folder: Path, emit: Emit = ignore, should_stop: ShouldStop = never_stop
    ) -> Path | None:
        """Fetch the file at an address into a folder; None when stopped. Emits PhaseAdvanced in bytes. A
        file that isn't whole is removed. Raises StudioError: Refused for an address that nothing is fetched
        from, DiskFull, others for what servers do."""
        url = parse_link(link, self.web.schemes)
        network = CheckedNetwork(
            web=self.web,
            deadline=time.monotonic() + self.limits.seconds,
            most_bytes=self.limits.most_bytes,
            least_seconds=self.limits.least_seconds,
            should_stop=should_stop,
        )
        trust = self.web.trust or ssl.create_default_context()
        # Without httpx's client, which would ask proxies of the environment: they look names up themselves.
        with httpcore.ConnectionPool(ssl_context=trust, network_backend=network) as pool:
            try:
                return self._follow(pool, url, folder, emit)
            except Stopped:
                return None
            except TooSlow:
                minutes = round(self.limits.seconds / 60)
                raise StudioError(
                    f"The file did not come within {minutes} minutes, or hardly anything of it.",
                    "Download it yourself and upload it.",
                ) from None
            except TooMuch:
                raise self._too_large() from None
            except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError) as error:
                raise self._unreachable(url, error) from error

    def _follow(self, pool: httpcore.ConnectionPool, url: httpx.URL, folder: Path, emit: Emit) -> Path:
        for _ in range(MOST_REDIRECTS + 1):
            with _answer(pool, url) as response:
                headers = _headers(response)
                if response.status not in REDIRECTS:
                    return self._store(response, headers, url, folder, emit)
            try:
                url = url.join(headers.get("location", "")[:4000])
                url.raw_path.decode("ascii")
            except (httpx.InvalidURL, ValueError) as error:
                raise Refused(f"{shown_link(url)} leads to no address.", "Check the link.") from error
            check_link(url, self.web.schemes)
        raise Refused(f"The address leads on and on ({MOST_REDIRECTS} redirects).", "Check the link.")

    def _store(
        self,
        response: httpcore.Response,
        headers: Mapping[str, str],
        url: httpx.URL,
        folder: Path,
        emit: Emit,
    ) -> Path:
        if response.status != 200:
            raise _said_no(response.status, url)
        if headers.get("content-encoding", "identity").strip().lower() != "identity":
            raise StudioError(f"{shown_link(url)} sends the file packed.", "Download it and upload it.")
        total = parse_whole(headers.get("content-length", "")) or 0
        self._check_size(total)
        check_room(folder, "The file", total, self.settings)
        target = folder / name_of_file(url, headers)
        with disk_errors("The file", "stored"):
            folder.mkdir(parents=True, exist_ok=True)
            try:
                with target.open("xb") as file:
                    received = self._write(response, file, total, emit)
            except BaseException:
                target.unlink(missing_ok=True)
                raise
        if total and received != total:
            target.unlink(missing_ok=True)
            raise StudioError(f"{shown_link(url)} broke off.", "Try again.")
        return target

    def _write(self, response: httpcore.Response, file: BinaryIO, total: int, emit: Emit) -> int:
        """Write what comes and return the number of bytes."""
        name = Path(file.name).name
        received, reported, room_at = 0, 0, ROOM_EVERY
        start, is_checked = b"", False
        emit(PhaseAdvanced(phase="download", done=0, total=total, note=name))
        for chunk in response.iter_stream():
            received += len(chunk)
            self._check_size(received)
            if not is_checked:
                start += chunk[:LOOKED_AT]
                if is_checked := len(start) >= LOOKED_AT:
                    self.check(start[:LOOKED_AT])
            if received >= room_at:
                check_room(Path(file.name).parent, "The file", settings=self.settings)
                room_at = received + ROOM_EVERY
            file.write(chunk)
            if received - reported >= TELL_EVERY:
                reported = received
                emit(PhaseAdvanced(phase="download", done=received, total=total, note=name))
        if not is_checked:
            self.check(start)
        emit(PhaseAdvanced(phase="download", done=received, total=total or received, note=name))
        return received

    def _check_size(self, count: int) -> None:
        if count > self.limits.most_bytes:
            raise self._too_large()

    def _too_large(self) -> StudioError:
        return StudioError(
            f"The file is larger than {size(self.limits.most_bytes)}.", "Such a file is no LoRA."
        )

    def _unreachable(self, url: httpx.URL, error: Exception) -> StudioError:
        logger.info("%s: %s: %s", shown_link(url), type(error).__name__, plain_text(str(error), 200))
        if isinstance(error, httpcore.TimeoutException):
            return StudioError(f"{plain_text(url.host, 100)} does not answer.", "Try again later.")
        if "CERTIFICATE" in str(error).upper():
            return StudioError(
                f"The certificate of {plain_text(url.host, 100)} is not right.",
                "Check the address; without a certificate nobody knows whose file it is.",
            )
        return StudioError(
            f"{plain_text(url.host, 100)} can't be reached, or broke off.",
            "Check the address and the connection, or download the file and upload it.",
        )


@contextmanager
def _answer(pool: httpcore.ConnectionPool, url: httpx.URL) -> Iterator[httpcore.Response]:
    headers = [
        ("host", url.netloc.decode("ascii")),
        ("accept", "*/*"),
        ("accept-encoding", "identity"),
        ("connection", "close"),
        ("user-agent", "lora-studio"),
    ]
    target = httpcore.URL(
        scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path or b"/"
    )
    with pool.stream("GET", target, headers=headers, extensions={"timeout": TIMEOUTS}) as response:
        yield response


def _headers(response: httpcore.Response) -> dict[str, str]:
    """The response's headers by name, as text; of several of a name the last."""
    return {name.decode("latin-1").lower(): _as_text(value) for name, value in response.headers}


def _as_text(value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _said_no(status: int, url: httpx.URL) -> StudioError:
    where = shown_link(url)
    if status in {401, 403}:
        return StudioError(
            f"{where} is not for everybody ({status}).",
            "Log in there, download the file and upload it, or use a link with its own token.",
        )
    if status in {404, 410}:
        return StudioError(f"There is nothing at {where} ({status}).", "Check the link.")
    return StudioError(f"{where} answers with {status}.", "Try again later, or download it yourself.")
