"""LoRAs taken into the library from an address of the web."""

from __future__ import annotations

import contextlib
import shutil
import struct
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lora_studio.access.quotas import Use
from lora_studio.access.roles import Role
from lora_studio.access.visitor import visitor
from lora_studio.errors import StudioError, UnknownFormat
from lora_studio.events import Emit, ShouldStop, ignore, never_stop
from lora_studio.files import disk_errors
from lora_studio.gallery import Gallery
from lora_studio.jobs.action_locks import ActionLocks
from lora_studio.lora.file.tensor_table import HEADER_LIMIT
from lora_studio.records import LoraRecord
from lora_studio.settings import Settings

if TYPE_CHECKING:
    from lora_studio.downloads.checked_network import Web

PREFIX, LEFT_SECONDS = "link-", 86_400.0
CAN_RUN_CODE = "Only .safetensors files are taken: other formats can run code when opened."


@dataclass(frozen=True)
class LoraLinks:
    """The way from an address, or a name on the Hub, into the library; `web` and `hub` are for tests."""

    settings: Settings
    gallery: Gallery
    turns: ActionLocks
    web: Web | None = None
    hub: str = ""

    def add(
        self, link: str, emit: Emit = ignore, should_stop: ShouldStop = never_stop, *, file: str = ""
    ) -> LoraRecord | None:
        """Fetch the LoRA file at an address, or of a model on the Hub (`owner/name`, with `file` where it has
        several), and take it into the library; None when stopped. A failure leaves nothing behind. Raises
        StudioError; SeveralFiles, DeviceBusy while another is fetched, NotAllowed."""
        from lora_studio.downloads.checked_network import Web
        from lora_studio.downloads.web_download import WebDownload

        visitor().needs(Role.CREATOR)
        visitor().within(Use.DISK)
        download = WebDownload(check=check_start, settings=self.settings, web=self.web or Web())
        with self.turns.take("link"):
            with disk_errors("The file", "stored"):
                self.settings.uploads.mkdir(parents=True, exist_ok=True)
                remove_left_behind(self.settings.uploads)
                folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=self.settings.uploads))
            try:
                if not (link := self._link(link, file, should_stop)):
                    return None
                path = download.fetch(link, folder, emit, should_stop)
                if path is None:
                    return None
                with self.turns.take("import", gives_up=False):
                    return self.gallery.import_lora(path)
            finally:
                shutil.rmtree(folder, ignore_errors=True)

    def _link(self, given: str, file: str, should_stop: ShouldStop) -> str:
        """The address of the file that somebody means; empty when stopped."""
        from lora_studio.downloads.checked_network import Web
        from lora_studio.downloads.hub_files import HUB, HubFiles, named_model

        named = named_model(given)
        if named is None:
            return given
        hub = HubFiles(settings=self.settings, web=self.web or Web(), hub=self.hub or HUB)
        return hub.link(named[0], file or named[1], should_stop)


def remove_left_behind(folder: Path) -> None:
    """Remove what killed programs had fetched or repaired: nothing takes as long as it has lain there."""
    for left in folder.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            latest = max(path.stat().st_mtime for path in (left, *left.iterdir()))
            if time.time() - latest > LEFT_SECONDS:
                shutil.rmtree(left)


def check_start(start: bytes) -> None:
    """Refuse by its first bytes what is no safetensors file. Raises UnknownFormat, StudioError."""
    if start.lstrip()[:1] == b"<":
        raise StudioError(
            "The address leads to a web page, not to a file.", "Copy the link of the download button."
        )
    if start.startswith(b"PK"):
        raise UnknownFormat("This is a ZIP or a .pt file, no .safetensors file.", CAN_RUN_CODE)
    length = struct.unpack("<Q", start[:8])[0] if len(start) >= 8 else 0
    if not 2 <= length <= HEADER_LIMIT or start[8:9] != b"{":
        raise UnknownFormat("This is no .safetensors file.", CAN_RUN_CODE)
