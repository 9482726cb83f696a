"""Tensors on their way into a safetensors file, kept on the disk one after the other: what a merge writes may
be larger than memory, and the format has its header first, which knows all shapes."""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import torch
from safetensors.torch import save

from lora_studio.files import check_room, creating, disk_errors
from lora_studio.parsing.plain_text import plain_name

ALIGNMENT = 8
"""The format's own: the first tensor begins at a multiple of it."""
AT_ONCE = 1 << 20


class TensorSpool:
    """Tensors by key, in unnamed files beside the one to be written. They are sorted by the bytes of a
    number, the largest first, as the format's own library does: else some would begin where no number may."""

    def __init__(self, files: contextlib.ExitStack, target: Path) -> None:
        self._open = files
        self._target = target
        self._files: dict[int, IO[bytes]] = {}
        self._places: dict[str, tuple[int, dict[str, Any]]] = {}

    @classmethod
    @contextlib.contextmanager
    def beside(cls, target: Path) -> Iterator[TensorSpool]:
        """A spool whose files are gone after the block. Raises StoreError."""
        # Also on the way out: what a full disk has not taken is tried once more when a file is closed.
        with disk_errors(plain_name(target), "written"), contextlib.ExitStack() as files:
            yield cls(files, target)

    def __contains__(self, key: str) -> bool:
        return key in self._places

    def add(self, key: str, tensor: torch.Tensor) -> None:
        """Take a tensor. Raises StoreError."""
        whole = memoryview(save({key: tensor.contiguous()}))
        body = 8 + int.from_bytes(whole[:8], "little")
        place = json.loads(bytes(whole[8:body]))[key]
        with disk_errors(plain_name(self._target), "written"):
            file = self._file(tensor.itemsize)
            begin = file.tell()
            file.write(whole[body:])
            place["data_offsets"] = [begin, file.tell()]
        self._places[key] = tensor.itemsize, place

    def write(self, metadata: Mapping[str, str]) -> None:
        """Write the file whole, where no file has its name. Raises StoreError."""
        sizes = sorted(self._files, reverse=True)
        lengths = [self._files[size].tell() for size in sizes]
        starts = {size: sum(lengths[:index]) for index, size in enumerate(sizes)}
        table: dict[str, Any] = {"__metadata__": dict(metadata)}
        for key, (size, place) in self._places.items():
            table[key] = {**place, "data_offsets": [starts[size] + one for one in place["data_offsets"]]}
        check_room(self._target, self._target.name, sum(lengths))
        with (
            disk_errors(plain_name(self._target), "written"),
            creating(self._target) as unfinished,
            unfinished.open("xb") as written,
        ):
            written.write(header_of(table))
            for size in sizes:
                self._files[size].seek(0)
                shutil.copyfileobj(self._files[size], written, AT_ONCE)

    def _file(self, size: int) -> IO[bytes]:
        if size not in self._files:
            self._target.parent.mkdir(parents=True, exist_ok=True)
            file = tempfile.TemporaryFile(dir=self._target.parent)  # noqa: SIM115 (closed with the others)
            self._files[size] = self._open.enter_context(file)
        return self._files[size]


def header_of(table: Mapping[str, Any]) -> bytes:
    """The bytes before a file's tensors."""
    header = json.dumps(table).encode()
    header += b" " * (-len(header) % ALIGNMENT)
    return len(header).to_bytes(8, "little") + header
