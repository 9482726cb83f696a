"""Pictures from clients: to redraw, as masks, or to read settings from. Each is checked and kept as a file of
ours before anything else sees it."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from lora_studio.errors import DatasetError, StoreError
from lora_studio.settings import Settings
from lora_studio.ui.client_input.validate import safe_uploads

DATA_URL = re.compile(r"data:image/[a-z0-9.+-]{1,20};base64,")
LARGEST_DATA_URL = 48_000_000
"""Characters: 36 MB."""
SUM = re.compile(r"[0-9a-f]{64}")


@contextmanager
def given_picture(given: Any, settings: Settings) -> Iterator[Path]:
    """The file of an upload or a data URL (`data:image/png;base64,...`) in the block. Raises DatasetError."""
    if isinstance(given, str) and given.startswith("data:"):
        content = _decoded(given)
        with TemporaryDirectory(prefix="sent-", dir=settings.uploads) as folder:
            path = Path(folder) / "picture"
            path.write_bytes(content)
            yield path
        return
    paths = safe_uploads(given, settings)
    if len(paths) != 1:
        raise DatasetError("One picture is needed.", "Upload it, or send it as a data URL.")
    yield paths[0]


def _decoded(url: str) -> bytes:
    head = DATA_URL.match(url)
    if not head:
        raise DatasetError("This is no picture's data URL.", "It begins with data:image/png;base64,")
    if len(url) > LARGEST_DATA_URL:
        raise DatasetError("The picture is too large to be sent as a data URL.", "Upload it as a file.")
    try:
        return base64.b64decode(url[head.end() :], validate=True)
    except (binascii.Error, ValueError):
        raise DatasetError("The data URL is damaged: it is no base64.", "Send it again.") from None


def take_picture(given: Any, settings: Settings, *, mask: bool = False) -> str:
    """Keep a picture to redraw, or a mask; its SHA-256. Raises DatasetError, UnknownFormat, StoreError."""
    from lora_studio.images.input_store import take_in

    with given_picture(given, settings) as path:
        return take_in(path, settings.inputs, mask=mask)


def kept_picture(given: Any, settings: Settings) -> Path:
    """The file of a sum that the page holds. Raises StoreError."""
    from lora_studio.images.input_store import is_here

    if is_here(given, settings.inputs):
        return settings.inputs / f"{given}.png"
    raise StoreError("The picture to redraw is not here any more.", "Put it in again.")
