"""Limits of request bodies, counted while they stream in, before anything is parsed."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.datastructures import Headers

from lora_studio.errors import DiskFull
from lora_studio.files import check_room

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]

KILO, MEGA, GIGA = 10**3, 10**6, 10**9
LARGEST_UPLOAD = "600mb"
"""Size of one file, in Gradio's form."""
STRUCTURE = (b",", b":", b"[", b"{")
MOST_FILES = 1000
MOST_FIELDS, LARGEST_FIELDS = 20, 64 * KILO
"""Texts of a form, and bytes of all of them: the parser holds them in memory."""
LONGEST_BOUNDARY = 200
UPLOADED = "This upload"
ROOM_STEP = 64 * MEGA
"""Bytes of an upload between looks at the disk: few requests say their length, and several may come."""


@dataclass(frozen=True, kw_only=True)
class Limit:
    """The limit of a request: `size` in bytes of its body; `values` bounds the commas, colons and brackets of
    JSON, which take time and memory (a picture as a data URL has none); `form` watches a form's parts."""

    size: int
    values: int | None = None
    form: bool = False


NOTHING = Limit(size=8 * KILO)
LOGIN = Limit(size=8 * KILO)
CALL = Limit(size=100 * MEGA, values=100_000)
"""Limit of a call: a picture and its mask as data URLs, 48 MB each, and a thousand files by name."""
UPLOAD = Limit(size=4 * GIGA, form=True)


class TooMuch(Exception):
    """A body over its limit, in a sentence."""


class Body:
    """An ASGI `receive` that ends in a disconnect once a body is over its limit; `refused` and `status` then
    say why. `disk` is the place of a form's files."""

    def __init__(
        self, receive: Receive, limit: Limit, content_type: str = "", *, disk: Path | None = None
    ) -> None:
        self._receive, self._limit = receive, limit
        self._size = self._values = self._roomy = 0
        self._disk = disk if limit.form else None
        self._form: FormWatch | None = None
        self.refused, self.status = "", 413
        try:
            self._form = form_watch(content_type) if limit.form else None
        except TooMuch as error:
            self.refused = str(error)

    async def __call__(self) -> Message:
        if self.refused:
            return {"type": "http.disconnect"}
        message = await self._receive()
        if message["type"] == "http.request":
            try:
                self._count(message.get("body", b""))
            except TooMuch as error:
                self.refused = str(error)
            except DiskFull as error:
                self.refused, self.status = str(error), 507
            if self.refused:
                return {"type": "http.disconnect"}
        return message

    def _count(self, chunk: bytes) -> None:
        self._size += len(chunk)
        check_size(self._size, self._limit)
        if self._limit.values is not None:
            self._values += sum(map(chunk.count, STRUCTURE))
            if self._values > self._limit.values:
                raise TooMuch(f"The request holds more than {self._limit.values:,} values.")
        if self._form:
            self._form.feed(chunk)
        if self._disk and chunk and self._size > self._roomy:
            check_room(self._disk, UPLOADED, ROOM_STEP)
            self._roomy = self._size + ROOM_STEP


def check_size(size: int, limit: Limit) -> None:
    """Refuse a body over its limit. Raises TooMuch."""
    if size > limit.size:
        raise TooMuch(f"The request is too large: {limit.size:,} bytes are the most here.")


def form_watch(content_type: str) -> FormWatch | None:
    """A watch for a form with files; None for a body that the form's parser refuses. Raises TooMuch for a
    boundary that can't be watched, but that the parser would take."""
    kind, options = parse_options_header(content_type)
    boundary = options.get(b"boundary")
    if kind != b"multipart/form-data" or boundary is None:
        return None
    if not 0 < len(boundary) <= LONGEST_BOUNDARY:
        raise TooMuch(f"The form's boundary is empty, or longer than {LONGEST_BOUNDARY} characters.")
    return FormWatch(boundary)


class FormWatch:
    """A second reader of a form, since its parser holds all texts in memory, however many there are."""

    def __init__(self, boundary: bytes) -> None:
        self._files = self._fields = self._field_bytes = 0
        self._header = self._value = self._disposition = b""
        self._is_file = False
        self._broken = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": self._add_header,
                "on_header_value": self._add_value,
                "on_header_end": self._end_header,
                "on_headers_finished": self._end_headers,
                "on_part_data": self._add_data,
            },
        )

    def feed(self, chunk: bytes) -> None:
        """Read a chunk. Raises TooMuch. A form that can't be read is left to its own parser."""
        if self._broken:
            return
        try:
            self._parser.write(chunk)
        except FormParserError:
            self._broken = True

    def _begin(self) -> None:
        self._disposition = b""

    def _add_header(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _add_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value
        self._header = self._value = b""

    def _end_headers(self) -> None:
        self._is_file = b"filename" in parse_options_header(self._disposition)[1]
        self._files += self._is_file
        self._fields += not self._is_file
        if self._files > MOST_FILES:
            raise TooMuch(f"The form has more than {MOST_FILES} files. Send them in several requests.")
        if self._fields > MOST_FIELDS:
            raise TooMuch(f"The form has more than {MOST_FIELDS} fields.")

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        if not self._is_file:
            self._field_bytes += end - start
            if self._field_bytes > LARGEST_FIELDS:
                raise TooMuch(f"The form's texts have more than {LARGEST_FIELDS:,} bytes.")


async def read_small(receive: Receive) -> bytes:
    """A body as far as NOTHING allows."""
    content = b""
    while len(content) <= NOTHING.size:
        message = await receive()
        content += message.get("body", b"")
        if message["type"] != "http.request" or not message.get("more_body"):
            break
    return content


def replayed(content: bytes, receive: Receive) -> Receive:
    """An ASGI `receive` that begins with a body that was read by `read_small`. One that was too long is
    refused by its length, whatever comes behind it."""
    begun = False

    async def again() -> Message:
        nonlocal begun
        if begun:
            return await receive()
        begun = True
        return {"type": "http.request", "body": content, "more_body": False}

    return again


def announced(scope: MutableMapping[str, Any]) -> int:
    """The bytes that a request says its body has; 0 without a word."""
    given = Headers(scope=scope).get("content-length", "")
    return int(given) if given.isascii() and given.isdigit() and len(given) < 20 else 0


def upload_disk() -> Path:
    """A folder on the disk that uploads come to."""
    return Path(os.environ.get("GRADIO_TEMP_DIR") or ".")
