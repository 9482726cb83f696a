"""Gradio's routes by visitor: files, streams, uploads. Unknown places are the admins' only."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
from starlette.requests import HTTPConnection

from lora_studio.access.visitor import Kind, Visitor
from lora_studio.data.pixels.thumbnails import picture_of
from lora_studio.parsing.slugs import SLUG
from lora_studio.prompts.styles import PREVIEWS
from lora_studio.settings import Settings
from lora_studio.ui.client_input.session_owners import SessionOwners
from lora_studio.ui.client_input.upload_owners import claim_files, sees_upload

API = "/gradio_api"
FILE = re.compile(rf"{API}/file=(?P<path>.*)", re.DOTALL)
EVENT = re.compile(rf"{API}/call/(?:v2/)?[^/]+/(?P<event>[^/]+)/?")
BEAT = re.compile(rf"{API}/heartbeat/(?P<session>[^/]+)/?")
STREAM = f"{API}/queue/data"
UPLOADS = (f"{API}/upload", f"{API}/upload_progress")
CANCEL = f"{API}/cancel"
NOT_YOURS = "This isn't there, or it isn't yours."


class VisitorRoutes:
    """The rules for the routes of one page."""

    def __init__(self, settings: Settings, owners: SessionOwners) -> None:
        self._settings, self._owners = settings, owners

    def lets(self, scope: Mapping[str, Any], path: str, visitor: Visitor) -> bool:
        """Whether a visitor may have the answer of a route. Bodies are not read."""
        name = visitor.name
        query = HTTPConnection(scope).query_params  # type: ignore[arg-type]
        if found := FILE.fullmatch(path):
            return visitor.sees_all or self.sees_file(found["path"], visitor)
        if path.rstrip("/") == STREAM:
            return self._owners.take(f"session {query.get('session_hash', '')}", name)
        if found := BEAT.fullmatch(path):
            return self._owners.take(f"session {found['session']}", name)
        if scope["method"] in {"GET", "HEAD"} and (found := EVENT.fullmatch(path)):
            return self._owners.has(f"event {found['event']}", name)
        if path.rstrip("/") in UPLOADS and (upload := query.get("upload_id")):
            return self._owners.take(f"upload {upload}", name)
        return True

    def lets_cancel(self, body: bytes, visitor: Visitor) -> bool:
        """Whether the event that a body of `cancel` names is the visitor's."""
        try:
            given = orjson.loads(body)
        except orjson.JSONDecodeError:
            return True  # Gradio says what is wrong with it
        if not isinstance(given, dict):
            return True
        session, event = (given.get(name) for name in ("session_hash", "event_id"))
        is_theirs = self._owners.take(f"session {session}", visitor.name)
        return is_theirs and (event is None or self._owners.has(f"event {event}", visitor.name))

    def sees_file(self, given: str, visitor: Visitor) -> bool:
        """Whether a visitor may fetch a file, by its path as it is asked for."""
        path = Path(given)
        if not path.is_absolute() or ".." in path.parts or "\0" in given:
            return False
        if path.is_relative_to(PREVIEWS):
            return True
        if path.is_relative_to(self._settings.uploads):
            return sees_upload(path, visitor, self._settings.uploads)
        thing = self._thing(path)
        return thing is not None and visitor.sees(*thing)

    def _thing(self, path: Path) -> tuple[Kind, str] | None:
        """The thing that a file belongs to."""
        settings = self._settings
        if path.is_relative_to(settings.images):
            return Kind.IMAGE, str(path)
        if path.is_relative_to(settings.inputs):
            return Kind.INPUT, path.stem
        if path.is_relative_to(settings.cache / "live"):
            return Kind.LIVE, path.name
        if path.is_relative_to(settings.cache / "thumbnails"):
            picture = picture_of(path, settings)
            return self._thing(picture) if picture else None
        sets = ((Kind.DATASET, settings.datasets), (Kind.DATASET, settings.edited))
        for kind, top in ((Kind.LORA, settings.loras), *sets):
            if path.is_relative_to(top):
                slug = next(iter(path.relative_to(top).parts), "")
                return (kind, slug) if SLUG.fullmatch(slug) else None
        return None

    def claim_uploads(self, body: bytes, visitor: Visitor) -> None:
        """Record whose the files are that an answer of `upload` lists."""
        try:
            listed = orjson.loads(body)
        except orjson.JSONDecodeError:
            return
        claim_files(listed if isinstance(listed, list) else [], visitor, self._settings.uploads)
