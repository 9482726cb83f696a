"""The LoRA files of a model on the Hugging Face Hub, by its name (`owner/name`) or its page's address."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from lora_studio.downloads.checked_network import Web
from lora_studio.downloads.web_download import Limits, WebDownload
from lora_studio.errors import StudioError, UnknownFormat
from lora_studio.events import ShouldStop, never_stop
from lora_studio.formatting import size
from lora_studio.parsing.json_text import read_object
from lora_studio.parsing.numbers import parse_whole
from lora_studio.parsing.plain_text import is_plain, plain_text
from lora_studio.settings import Settings

HUB = "https://huggingface.co"
OWNER_AND_NAME = r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}"
MODEL = re.compile(rf"({OWNER_AND_NAME})((?:/[^/\\]{{1,200}}){{1,8}})?", re.ASCII)
"""A model's name, and a file in it."""
MODEL_PAGE = re.compile(
    rf"https://(?:huggingface\.co|hf\.co)/({OWNER_AND_NAME})(?:/tree/[\w.-]{{1,100}})?/?(?:\?[^/]{{0,100}})?",
    re.ASCII,
)
NO_MODELS = frozenset({"datasets", "spaces", "models", "docs", "api", "papers", "collections"})
"""First words of other pages of the Hub."""
LISTING = Limits(most_bytes=4 << 20, seconds=60.0, least_seconds=30.0)
MOST_FILES, LONGEST_PATH, MOST_NAMED = 100, 400, 5


class SeveralFiles(StudioError):
    """A model with several files, of which one has to be chosen: `files`."""

    def __init__(self, repository: str, files: Sequence[HubFile]) -> None:
        shown = ", ".join(file.path for file in files[:MOST_NAMED])
        rest = f" and {len(files) - MOST_NAMED} more" if len(files) > MOST_NAMED else ""
        super().__init__(f"{repository} has {len(files)} files: {shown}{rest}.", "Name one of them.")
        self.repository, self.files = repository, tuple(files)


@dataclass(frozen=True, kw_only=True)
class HubFile:
    """A .safetensors file of a model: its path there, and its size, 0 where the Hub doesn't say."""

    path: str
    size_bytes: int

    @property
    def words(self) -> str:
        return f"{self.path} ({size(self.size_bytes)})" if self.size_bytes else self.path


def named_model(given: str) -> tuple[str, str] | None:
    """The model and the file (empty where none is named) that a person means; None for another address."""
    text = given.strip()
    if page := MODEL_PAGE.fullmatch(text):
        return None if page[1].split("/")[0] in NO_MODELS else (page[1], "")
    if "//" in text or not (found := MODEL.fullmatch(text)):
        return None
    return found[1], (found[2] or "").removeprefix("/")


@dataclass(frozen=True, kw_only=True)
class HubFiles:
    """The way to a model's files. `web` and `hub` are for tests, which have a Hub of their own."""

    settings: Settings
    web: Web = field(default_factory=Web)
    hub: str = HUB

    def link(self, repository: str, path: str = "", should_stop: ShouldStop = never_stop) -> str:
        """The address of a file of a model; without a path, of its only one. Empty when stopped. Raises
        SeveralFiles, UnknownFormat for a model without such files, StudioError for what servers do."""
        files = self.listed(repository, should_stop)
        if files is None:
            return ""
        if path:
            files = [file for file in files if file.path == path]
        if not files:
            what = f"no file {plain_text(path, 100)}" if path else "no .safetensors file"
            raise UnknownFormat(f"{repository} has {what}.", "Look at its page for another one.")
        if len(files) > 1:
            raise SeveralFiles(repository, files)
        return f"{self.hub}/{repository}/resolve/main/{quote(files[0].path)}"

    def listed(self, repository: str, should_stop: ShouldStop = never_stop) -> list[HubFile] | None:
        """The .safetensors files of a model, by path; None when stopped. Raises StudioError."""
        download = WebDownload(check=check_listing, settings=self.settings, web=self.web, limits=LISTING)
        with tempfile.TemporaryDirectory() as folder:
            try:
                path = download.fetch(
                    f"{self.hub}/api/models/{repository}?blobs=true", Path(folder), should_stop=should_stop
                )
            except StudioError as error:
                raise StudioError(
                    f"The files of {repository} can't be listed: {error.message}",
                    "Check the name. A private model, or one that asks for your consent, is downloaded on its"
                    " page and added as a file.",
                ) from error
            text = path.read_text("utf-8", errors="replace") if path else None
        return None if text is None else files_in(text)


def check_listing(start: bytes) -> None:
    """Refuse by its first bytes what is no listing. Raises StudioError."""
    if start.lstrip()[:1] != b"{":
        raise StudioError("the answer is no list of files.", "Try again later.")


def files_in(text: str) -> list[HubFile]:
    """The .safetensors files in the Hub's answer, a stranger's words, by path."""
    listed = read_object(text, LISTING.most_bytes).get("siblings")
    found = [_file(one) for one in listed] if isinstance(listed, list) else []
    return sorted((one for one in found if one), key=lambda file: file.path)[:MOST_FILES]


def _file(given: Any) -> HubFile | None:
    path = given.get("rfilename") if isinstance(given, dict) else None
    if not isinstance(path, str) or not path.lower().endswith(".safetensors"):
        return None
    parts = path.split("/")
    if len(path) > LONGEST_PATH or not is_plain(path) or plain_text(path, LONGEST_PATH) != path:
        return None
    if any(part in ("", ".", "..") for part in parts) or "\\" in path:
        return None
    return HubFile(path=path, size_bytes=max(0, parse_whole(given.get("size")) or 0))
