"""Resumable uploads by the TUS protocol 1.0.0, as Storage takes them for large files.

Unlike the rest of Storage this part answers errors with their own status and a line of plain text.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from threading import Lock

from tests.support.supabase.access import Claims, Refused
from tests.support.supabase.storage import PER_FILE, Objects, Upload, storage_error

VERSION = {"Tus-Resumable": "1.0.0"}


@dataclass
class _Unfinished:
    length: int
    upload: Upload
    received: bytearray = field(default_factory=bytearray)


class Resumable:
    """Uploads that are under way. They outlive a restart of the server, as they do on disk there."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self.unfinished: dict[str, _Unfinished] = {}
        self._lock = Lock()

    def create(self, claims: Claims, headers: Mapping[str, str]) -> str:
        """The id of a new upload. Size, type, key and right are asked before a byte is taken."""
        said = dict(_metadata(headers.get("upload-metadata", "")))
        length = int(headers.get("upload-length", "-1"))
        if length < 0 or not {"bucketName", "objectName"} <= set(said):
            raise Refused(400, {"message": "Upload-Length or Upload-Metadata header is invalid"})
        if length > PER_FILE:
            raise Refused(413, {"message": "Maximum size exceeded"})
        upload = Upload(
            bucket=said["bucketName"],
            key=said["objectName"],
            content=b"",
            content_type=said.get("contentType", "application/octet-stream"),
            cache_control=f"max-age={said.get('cacheControl', '3600')}",
            upsert=headers.get("x-upsert") == "true",
        )
        self._objects.check(upload.bucket, upload.key, upload.content_type, length)
        self._objects.may_put(claims, upload.bucket, upload.key, upload.upsert)
        number = secrets.token_urlsafe(16)
        self.unfinished[number] = _Unfinished(length, upload)
        return number

    def state(self, number: str) -> tuple[int, int]:
        """(bytes received, bytes in all). Raises Refused for an unknown upload."""
        found = self._find(number)
        return len(found.received), found.length

    def append(self, claims: Claims, headers: Mapping[str, str], number: str, chunk: bytes) -> int:
        """The bytes received after this chunk; with the last one the object is there. The right to write is
        asked for each chunk, and so is x-upsert."""
        upsert = headers.get("x-upsert") == "true"
        with self._lock:
            found = self._find(number)
            self._objects.may_put(claims, found.upload.bucket, found.upload.key, upsert)
            if headers.get("upload-offset") != str(len(found.received)):
                raise Refused(409, {"message": "Upload-Offset conflict"})
            if len(found.received) + len(chunk) > found.length:
                raise Refused(413, {"message": "upload's size exceeded"})
            found.received += chunk
            received = len(found.received)
            if received == found.length:
                del self.unfinished[number]
                self._objects.put(claims, replace(found.upload, content=bytes(found.received), upsert=upsert))
            return received

    def _find(self, number: str) -> _Unfinished:
        found = self.unfinished.get(number)
        if found is None:
            raise Refused(404, {"message": "The file for this url was not found"})
        return found


def _metadata(header: str) -> list[tuple[str, str]]:
    pairs = (part.strip().partition(" ") for part in header.split(",") if part.strip())
    try:
        return [(key, base64.b64decode(value).decode()) for key, _, value in pairs]
    except ValueError as error:
        raise storage_error(400, "InvalidRequest", "Upload-Metadata is not base64") from error
