"""Uploads of files to Storage, where they are switched on: finished LoRAs, one preview of each, and pictures.

An object's name is the hash of its content, so a file is sent once and never changes. Small ones go in one
request, larger ones by the TUS protocol 1.0.0 (tus.io/protocols/resumable-upload), a chunk a round: statuses
go out between two chunks, and after a restart the server says where to go on. A failure here never reaches a
training.
"""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from lora_studio.errors import MirrorError, StoreError
from lora_studio.files import sha256
from lora_studio.jobs.supabase.push import Pace
from lora_studio.jobs.supabase.rows import mirror_id
from lora_studio.lora.lora_folder import best_preview
from lora_studio.store.job_store import JobStore
from lora_studio.store.library import Library
from lora_studio.store.outbox import Outbox, Waiting
from lora_studio.store.supabase_client import Supabase
from lora_studio.store.supabase_errors import NotAllowed, Refused, Unreachable

logger = logging.getLogger(__name__)

CHUNK = 6 << 20
"""Bytes of a chunk: Storage takes just this size but for the last; no more go in one request."""
LORAS, IMAGES = "loras", "images"
KINDS = {".safetensors": "application/octet-stream", ".png": "image/png", ".webp": "image/webp"}
KINDS |= {".jpg": "image/jpeg", ".jpeg": "image/jpeg"}
# Not by tuspy (1.1): it brings aiohttp, requests and tinydb, and an HTTP stack of its own beside the one that
# renews the key, sorts faults into those to retry and those to bury, and goes nowhere but to the project.
RESUMABLE = "/storage/v1/upload/resumable"
TUS = {"Tus-Resumable": "1.0.0", "x-upsert": "true"}
TRIES = 5
"""Times that an upload which the server broke off is begun anew."""


class _BrokenOff(MirrorError):
    """The server no longer knows the upload, or disagrees about where it is."""


class Uploads:
    """The sender of files. Raises StoreError."""

    def __init__(
        self,
        outbox: Outbox,
        jobs: JobStore,
        library: Library,
        remote: Supabase,
        *,
        machine: str,
        pace: Pace,
    ) -> None:
        self._outbox, self._jobs, self._library, self._remote = outbox, jobs, library, remote
        self._machine, self._pace = machine, pace

    def round(self) -> bool:
        """Send one small file, or one chunk of a large one. False when nothing may be tried now."""
        sending: tuple[tuple[str, Callable[[Waiting], bool]], ...]
        sending = (("file", self._send_lora), ("picture", self._send_picture))
        for kind, send in sending:
            for item in self._outbox.waiting(kind, 1):
                self._try(item, send)
                return True
        return False

    def _try(self, item: Waiting, send: Callable[[Waiting], bool]) -> None:
        """Send a thing and settle its faults; `send` gives False while chunks are missing."""
        try:
            if send(item):
                self._outbox.acknowledge([(item.kind, item.key, item.version)])
        except Unreachable as error:
            self._outbox.postpone(item, error.message, self._pace.after(item.attempts + 1, error.retry_after))
        except NotAllowed as error:
            self._outbox.postpone(item, error.message, 10 * self._pace.longest)
        except (MirrorError, OSError) as error:
            if isinstance(error, _BrokenOff) and item.attempts < TRIES:
                self._outbox.keep_note(item, "")
                self._outbox.postpone(item, error.message, self._pace.after(item.attempts + 1))
                return
            reason = error.message if isinstance(error, MirrorError) else f"the file can't be read: {error}"
            logger.warning("the %s of %s was not uploaded: %s", item.kind, item.key[:64], reason)
            self._outbox.bury(item.kind, item.key, item.version, reason)

    def _send_lora(self, item: Waiting) -> bool:
        """Upload a LoRA that was trained here: others are there already, or not ours to give."""
        try:
            record = self._library.lora(item.key)
        except StoreError:
            return True
        if self._jobs.newest_of(item.key) is None:
            return True
        if not self._outbox.is_known("lora", item.key):
            raise Unreachable("Its row is not there yet.")
        file = Path(record.path)
        stored = self._store(item, file, LORAS)
        if not stored:
            return False
        values = {
            "artifact_bucket": LORAS,
            "artifact_path": stored,
            "artifact_bytes": file.stat().st_size,
            "artifact_sha256": Path(stored).stem,
        }
        preview = self._send_preview(best_preview(record.previews))
        values |= {"preview_path": preview} if preview else {}
        self._remote.update("loras", values, id=mirror_id(self._machine, "lora", item.key))
        return True

    def _send_preview(self, picture: str) -> str:
        """Upload a preview and return its name there; empty when there is none or it was refused."""
        file = Path(picture)
        if not picture or not file.is_file() or file.stat().st_size > CHUNK:
            return ""
        try:
            path = self._name(file, sha256(file))
            self._remote.upload(IMAGES, path, file, KINDS[file.suffix.lower()])
        except (Refused, KeyError) as error:
            logger.warning("the preview %s was not uploaded: %s", file.name, error)
            return ""
        return path

    def _send_picture(self, item: Waiting) -> bool:
        try:
            record = self._library.image(item.key)
        except StoreError:
            return True
        if not self._outbox.is_known("image", item.key):
            raise Unreachable("Its row is not there yet.")
        stored = self._store(item, Path(record.path), IMAGES)
        if not stored:
            return False
        values = {"bucket": IMAGES, "path": stored}
        self._remote.update("generated_images", values, id=mirror_id(self._machine, "image", item.key))
        return True

    def _name(self, file: Path, digest: str) -> str:
        """The object's name: a signed-in account may only write below its own id."""
        return f"{self._remote.user_id() or self._machine}/{digest}{file.suffix.lower()}"

    def _store(self, item: Waiting, file: Path, bucket: str) -> str:
        """Upload a file by chunks; the object's name once all of it is there, before that empty."""
        state = file.stat()
        progress: dict[str, Any] = json.loads(item.note or "{}")
        if [progress.get("size"), progress.get("changed")] != [state.st_size, state.st_mtime_ns]:
            progress = {"size": state.st_size, "changed": state.st_mtime_ns, "hash": sha256(file)}
        path = self._name(file, progress["hash"])
        if progress.get("stored") == path:
            return path
        if state.st_size <= CHUNK:
            self._remote.upload(bucket, path, file, KINDS.get(file.suffix.lower(), KINDS[".safetensors"]))
        else:
            progress["url"] = progress.get("url") or self._begin(bucket, path, file)
            self._outbox.keep_note(item, json.dumps(progress))
            if not self._send_chunk(progress["url"], file):
                return ""
        self._outbox.keep_note(item, json.dumps({**progress, "url": "", "stored": path}))
        return path

    def _begin(self, bucket: str, path: str, file: Path) -> str:
        """A new resumable upload. The server refuses what is too large before a byte is sent."""
        kind = KINDS.get(file.suffix.lower(), KINDS[".safetensors"])
        facts = {"bucketName": bucket, "objectName": path, "contentType": kind, "cacheControl": "3600"}
        metadata = ",".join(
            f"{key} {base64.b64encode(text.encode()).decode()}" for key, text in facts.items()
        )
        headers = {**TUS, "Upload-Length": str(file.stat().st_size), "Upload-Metadata": metadata}
        answer = self._remote.request("POST", RESUMABLE, headers=headers)
        number = urlsplit(answer.headers.get("location", "")).path.rpartition("/upload/resumable/")[2]
        if not number:
            raise Unreachable("Supabase did not say where to upload to.")
        return f"{RESUMABLE}/{number}"

    def _send_chunk(self, url: str, file: Path) -> bool:
        """Send the next chunk; True when the server has all of the file."""
        try:
            reached = int(self._remote.request("HEAD", url, headers=TUS).headers["upload-offset"])
            with file.open("rb") as opened:
                opened.seek(reached)
                chunk = opened.read(CHUNK)
            if chunk:
                kind = {"Content-Type": "application/offset+octet-stream", "Upload-Offset": str(reached)}
                answer = self._remote.request("PATCH", url, headers={**TUS, **kind}, content=chunk)
                reached = int(answer.headers["upload-offset"])
        except Refused as error:
            raise _BrokenOff(error.message) from error
        except (KeyError, ValueError) as error:
            raise Unreachable("Supabase did not say how far the upload is.") from error
        return reached >= file.stat().st_size
