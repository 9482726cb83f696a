"""The part of Supabase Storage that a mirror needs: rows in PostgreSQL under its policies, bytes on disk.

As the real one it answers almost every error with HTTP 400 and puts the true status, as a string, in the
body.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt
import psycopg

from tests.support.supabase.access import Claims, Connections, Cursor, Keys, Refused

GOOD_KEY = re.compile(r"[A-Za-z0-9_/!\-.*'() &$@=;:+,?]+")
PER_FILE = 50 * 1024 * 1024
"""The free plan's limit for one file, whatever its bucket allows."""


def storage_error(status: int, error: str, message: str) -> Refused:
    return Refused(400, {"statusCode": str(status), "error": error, "message": message})


MISSING = (404, "not_found", "Object not found")


@dataclass(frozen=True)
class Upload:
    """One object to be: `key` without its bucket."""

    bucket: str
    key: str
    content: bytes
    content_type: str
    cache_control: str = "max-age=3600"
    upsert: bool = False
    metadata: dict[str, Any] | None = None


class Objects:
    """Buckets and objects. Every method acts under the role and user of `claims` and raises Refused."""

    def __init__(self, connections: Connections, keys: Keys, folder: Path) -> None:
        self._connections, self._keys, self._folder = connections, keys, folder

    def put(self, claims: Claims, upload: Upload) -> dict[str, str]:
        self.check(upload.bucket, upload.key, upload.content_type, len(upload.content))
        version = hashlib.sha256(upload.content).hexdigest()
        facts = {
            **{"size": len(upload.content), "mimetype": upload.content_type, "eTag": f'"{version[:32]}"'},
            **{"cacheControl": upload.cache_control, "contentLength": len(upload.content)},
        }
        action = "do nothing"
        if upload.upsert:
            action = (
                "do update set metadata = excluded.metadata, version = excluded.version, updated_at = now()"
            )
        (self._folder / version).write_bytes(upload.content)
        with self._transaction(claims) as cursor:
            # As the real one: may this user write here, asked before whether there is something already.
            cursor.execute(
                "insert into storage.objects (bucket_id, name, owner_id, version, metadata, user_metadata)"
                f" values (%s, %s, %s, %s, %s, %s) on conflict (bucket_id, name) {action} returning id::text",
                (
                    *(upload.bucket, upload.key, claims.get("sub"), version, json.dumps(facts)),
                    json.dumps(upload.metadata) if upload.metadata else None,
                ),
            )
            row = cursor.fetchone()
        if row is None:
            raise storage_error(409, "Duplicate", "The resource already exists")
        return {"Key": f"{upload.bucket}/{upload.key}", "Id": row["id"]}

    def may_put(self, claims: Claims, bucket: str, key: str, upsert: bool) -> None:
        """Ask the policies by a write that is taken back."""
        with self._transaction(claims) as cursor:
            action = "update set version = excluded.version" if upsert else "nothing"
            cursor.execute(
                "insert into storage.objects (bucket_id, name, owner_id) values (%s, %s, %s)"
                f" on conflict (bucket_id, name) do {action} returning id",
                (bucket, key, claims.get("sub")),
            )
            if cursor.fetchone() is None:
                raise storage_error(409, "Duplicate", "The resource already exists")
            raise psycopg.Rollback

    def check(self, bucket: str, key: str, content_type: str, size: int) -> None:
        """What a bucket takes at all, whoever asks."""
        if not GOOD_KEY.fullmatch(key):
            raise storage_error(400, "InvalidKey", f"Invalid key: {key}")
        limits = self._bucket(bucket)
        allowed = limits["allowed_mime_types"]
        if allowed and content_type.split(";")[0] not in allowed:
            raise storage_error(415, "invalid_mime_type", f"mime type {content_type} is not supported")
        if size > min(limits["file_size_limit"] or PER_FILE, PER_FILE):
            raise storage_error(413, "Payload too large", "The object exceeded the maximum allowed size")

    def get(self, claims: Claims, bucket: str, key: str) -> tuple[bytes, dict[str, Any]]:
        row = self._row(claims, bucket, key)
        return (self._folder / row["version"]).read_bytes(), row["metadata"]

    def info(self, claims: Claims, bucket: str, key: str) -> dict[str, Any]:
        row = self._row(claims, bucket, key)
        facts = row["metadata"]
        return {
            **{"id": row["id"], "name": row["name"], "version": row["version"], "bucket_id": bucket},
            **{"size": facts["size"], "content_type": facts["mimetype"], "etag": facts["eTag"]},
            **{"cache_control": facts["cacheControl"], "metadata": row["user_metadata"]},
            **{"created_at": row["created_at"], "last_modified": row["updated_at"]},
        }

    def sign(self, claims: Claims, bucket: str, key: str, seconds: int) -> str:
        """The address under /storage/v1 where anybody may read the object for so long."""
        self._row(claims, bucket, key)
        token = self._keys.sign({"url": f"{bucket}/{key}", "exp": time.time() + seconds})
        return f"/object/sign/{bucket}/{key}?token={token}"

    def get_signed(self, bucket: str, key: str, token: str) -> tuple[bytes, dict[str, Any]]:
        try:
            read = self._keys.read(token)
        except jwt.InvalidTokenError as error:
            raise storage_error(400, "InvalidJWT", str(error)) from error
        if read.get("url") != f"{bucket}/{key}":
            raise storage_error(400, "InvalidSignature", "The url do not match the signature")
        return self.get({"role": "service_role"}, bucket, key)

    def remove(self, claims: Claims, bucket: str, keys: Iterable[str]) -> list[dict[str, Any]]:
        """Only the rows that were really removed."""
        with self._transaction(claims) as cursor:
            cursor.execute(
                "delete from storage.objects where bucket_id = %s and name = any(%s)"
                " returning id::text, name, bucket_id, owner_id, version, metadata",
                (bucket, list(keys)),
            )
            return cursor.fetchall()

    def entries(self, claims: Claims, bucket: str, asked: dict[str, Any]) -> list[dict[str, Any]]:
        """What lies directly in a folder: objects, and folders, which have no id."""
        prefix = str(asked.get("prefix") or "").strip("/")
        start = f"{prefix}/" if prefix else ""
        with self._transaction(claims) as cursor:
            cursor.execute(
                "select id::text, name, metadata, to_json(created_at) as created_at,"
                " to_json(updated_at) as updated_at"
                " from storage.objects where bucket_id = %s and starts_with(name, %s) order by name",
                (bucket, start),
            )
            rows = cursor.fetchall()
        found: dict[str, dict[str, Any]] = {}
        for row in rows:
            name, _, deeper = row["name"].removeprefix(start).partition("/")
            folder = {"name": name, "id": None, "metadata": None, "created_at": None, "updated_at": None}
            found.setdefault(name, folder if deeper else {**row, "name": name})
        first = int(asked.get("offset") or 0)
        return list(found.values())[first : first + int(asked.get("limit") or 100)]

    def buckets(self, claims: Claims, bucket: str = "") -> list[dict[str, Any]]:
        with self._transaction(claims) as cursor:
            cursor.execute(
                "select id, name, coalesce(owner_id, '') as owner, public, file_size_limit,"
                " allowed_mime_types, to_json(created_at) as created_at, to_json(updated_at) as updated_at"
                " from storage.buckets where %s in ('', id) order by id",
                (bucket,),
            )
            rows = cursor.fetchall()
        if bucket and not rows:
            raise storage_error(404, "Bucket not found", "Bucket not found")
        return rows

    def _bucket(self, bucket: str) -> dict[str, Any]:
        return self.buckets({"role": "service_role"}, bucket)[0]

    def _row(self, claims: Claims, bucket: str, key: str) -> dict[str, Any]:
        self._bucket(bucket)
        with self._transaction(claims) as cursor:
            cursor.execute(
                "select id::text, name, version, metadata, user_metadata, to_json(created_at) as created_at,"
                " to_json(updated_at) as updated_at from storage.objects where bucket_id = %s and name = %s",
                (bucket, key),
            )
            row = cursor.fetchone()
        if row is None:
            raise storage_error(*MISSING)
        return row

    @contextmanager
    def _transaction(self, claims: Claims) -> Iterator[Cursor]:
        """In somebody's name; what a policy refuses is Storage's 403."""
        try:
            with self._connections.transaction(claims) as cursor:
                yield cursor
        except psycopg.errors.InsufficientPrivilege as error:
            said = error.diag.message_primary or "new row violates row-level security policy"
            raise storage_error(403, "Unauthorized", said) from error
