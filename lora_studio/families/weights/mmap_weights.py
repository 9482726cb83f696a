"""Weights that lie in a file mapped into memory: read ahead in one go, and given back once they are copied.

A mapped page counts as used memory from its first reading until it is given back; it can be read again at any
time. Linux tells which addresses are such pages; elsewhere nothing is done here, which costs memory only.
"""

from __future__ import annotations

import bisect
import ctypes
import functools
import logging
import mmap
from pathlib import Path

import torch

log = logging.getLogger(__name__)

MAPS = Path("/proc/self/maps")
GIVE_BACK, READ_AHEAD = 4, 22
"""MADV_DONTNEED and MADV_POPULATE_READ in Linux; the kernel refuses what it doesn't know."""


class MappedFiles:
    """The .safetensors files that are mapped into this process now."""

    def __init__(self) -> None:
        self._spans: list[tuple[int, int]] = []
        if MAPS.exists():
            lines = MAPS.read_text(encoding="utf-8", errors="replace").splitlines()
            self._spans = sorted(_span(line) for line in lines if _is_weights(line))

    def holds(self, tensor: torch.Tensor) -> bool:
        """Whether the tensor's memory is a file's."""
        if tensor.device.type != "cpu" or not tensor.nbytes:
            return False
        place = bisect.bisect(self._spans, (tensor.data_ptr(), 2**64)) - 1
        return place >= 0 and tensor.data_ptr() + tensor.nbytes <= self._spans[place][1]

    def read_ahead(self, tensor: torch.Tensor) -> None:
        """Read the whole tensor now, faster than page by page at first use."""
        if self.holds(tensor):
            _advise(tensor, READ_AHEAD, whole_pages=False)

    def give_back(self, tensor: torch.Tensor) -> None:
        """Drop the tensor's pages from memory. The next use reads them from the file again; what was written
        to them is lost, so only for weights that are as the file has them."""
        if self.holds(tensor):
            _advise(tensor, GIVE_BACK, whole_pages=True)


def _span(line: str) -> tuple[int, int]:
    start, end = line.split(" ", 1)[0].split("-")
    return int(start, 16), int(end, 16)


def _is_weights(line: str) -> bool:
    """Whether a path names a file of weights, also one of the hub's cache, whose real names are hashes."""
    path = line.split(maxsplit=5)[5:]
    return bool(path) and (path[0].endswith(".safetensors") or "/blobs/" in path[0])


def _advise(tensor: torch.Tensor, advice: int, *, whole_pages: bool) -> None:
    page, start = mmap.PAGESIZE, tensor.data_ptr()
    end = start + tensor.nbytes
    start = (start + page - 1 if whole_pages else start) // page * page
    end = end // page * page if whole_pages else end
    if end > start and _libc().madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), advice):
        log.debug("madvise %d was refused, errno %d", advice, ctypes.get_errno())


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
