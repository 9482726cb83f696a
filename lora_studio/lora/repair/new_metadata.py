"""A copy of a file with other metadata and the same tensors, to the byte."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from lora_studio.errors import BrokenFile
from lora_studio.files import creating, disk_errors
from lora_studio.lora.file.tensor_table import read_tensor_table
from lora_studio.lora.repair.tensor_spool import AT_ONCE, header_of
from lora_studio.parsing.plain_text import plain_name


def copy_with_metadata(path: Path, metadata: Mapping[str, str], target: Path) -> None:
    """Write the copy to `target`. Raises BrokenFile, UnknownFormat, StoreError where `target` exists."""
    _, _, begin = read_tensor_table(path)  # checks what is read again here
    with (
        disk_errors(plain_name(target), "written"),
        creating(target) as unfinished,
        path.open("rb") as source,
    ):
        length = int.from_bytes(source.read(8), "little")
        if length != begin - 8:
            raise BrokenFile(f"{plain_name(path)} changed while it was read.", "Try again.", path=path)
        table = json.loads(source.read(length))
        table["__metadata__"] = dict(metadata)
        with unfinished.open("xb") as written:
            written.write(header_of(table))
            shutil.copyfileobj(source, written, AT_ONCE)
