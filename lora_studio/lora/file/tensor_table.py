"""The header of a safetensors file, read within bounds and checked as the format's own library checks it.

Layout and rules: https://github.com/huggingface/safetensors (8 bytes header length, a JSON table of tensors,
their bytes one after the other without a hole). Standard library only. A header that the library refuses is
refused here in a sentence; beyond that, no header may cost more than about a second.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Mapping
from itertools import accumulate
from pathlib import Path
from typing import Any

from lora_studio.errors import BrokenFile, UnknownFormat
from lora_studio.files import read_errors
from lora_studio.parsing.plain_text import plain_name, plain_table, plain_text

HEADER_LIMIT = 32 << 20
"""Bytes. A LoRA's is some 100 kB; tables of tags and pictures in the metadata make it a few MB."""
MOST_TENSORS, LONGEST_TENSOR_NAME = 10_000, 200
"""SDXL's largest files have some 5,000: every layer as LoHa with Tucker's cores, alphas and magnitudes."""
MOST_QUOTES, MOST_BRACKETS, LONGEST_SKELETON = 12 * MOST_TENSORS, 8 * MOST_TENSORS, 80 * MOST_TENSORS
"""Limits on what a header's reading takes time by: quotes, and brackets and characters outside of strings."""
DEEPEST = 120
LEVELS = {**dict.fromkeys(b"[{", 1), **dict.fromkeys(b"]}", -1)}
NO_BRACKETS = bytes(set(range(256)) - LEVELS.keys())
MOST_SIDES, LONGEST_SIDE = 64, 1 << 48
LONG_NUMBER = re.compile(rb"[0-9]{20}")
SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
DTYPE_BITS = {
    **{"F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "BOOL": 8, "U8": 8, "I8": 8, "F8_E8M0": 8},
    **{"F8_E4M3": 8, "F8_E5M2": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8},
    **{"I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32},
    **{"I64": 64, "U64": 64, "F64": 64, "C64": 64},
}
Tensors = Mapping[str, tuple[str, tuple[int, ...]]]


def read_tensor_table(path: Path) -> tuple[dict[str, str], Tensors, int]:
    """(metadata, tensors, offset of the first tensor byte) of any safetensors file. The metadata has passed
    `plain_table`. Raises BrokenFile, UnknownFormat."""
    if path.suffix.lower() != ".safetensors":
        raise UnknownFormat(
            f"{plain_name(path)} is no .safetensors file.",
            "Other formats can run code when opened; convert the file to .safetensors first.",
            path=path,
        )
    raw, size = _read_raw(path)
    _check_cost(path, raw)
    try:
        text = raw.decode("utf-8")
        header = json.loads(text, object_pairs_hook=_each_once, parse_constant=_refuse)
        if SURROGATE.search(text):
            json.dumps(header, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError) as error:
        raise broken(path, "its header is not readable") from error
    if not isinstance(header, dict):
        raise broken(path, "its header is not a table")
    metadata = header.pop("__metadata__", None) or {}
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise broken(path, "its metadata is not a table of texts")
    return plain_table(metadata), _checked_tensors(path, header, size - 8 - len(raw)), 8 + len(raw)


def broken(path: Path, why: str) -> BrokenFile:
    return BrokenFile(f"{plain_name(path)} is damaged: {why}.", "Copy or download the file again.", path=path)


def _read_raw(path: Path) -> tuple[bytes, int]:
    """The header's bytes and the file's size."""
    with read_errors(path, BrokenFile, plain_name(path)), path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(0)
        head = file.read(8)
        length = struct.unpack("<Q", head)[0] if len(head) == 8 else -1
        if not 2 <= length <= size - 8:
            raise broken(path, "its header is cut off or not what it says")
        if length > HEADER_LIMIT:
            raise broken(path, f"its header is longer than {HEADER_LIMIT >> 20} MB")
        return file.read(length), size


def _check_cost(path: Path, raw: bytes) -> None:
    """Refuse a header before a long parsing: all of this runs at the speed of memory."""
    bare = raw.replace(b"\\\\", b"").replace(b'\\"', b"") if b"\\" in raw else raw
    if bare.count(b'"') > MOST_QUOTES:
        raise broken(path, "its header has too many entries")
    skeleton = b"".join(bare.split(b'"')[::2])
    brackets = skeleton.translate(None, NO_BRACKETS)
    if len(skeleton) > LONGEST_SKELETON or len(brackets) > MOST_BRACKETS:
        raise broken(path, "its header has too many entries")
    if LONG_NUMBER.search(skeleton):
        raise broken(path, "a number in its header is too large")
    if max(accumulate(map(LEVELS.__getitem__, brackets)), default=0) > DEEPEST:
        raise broken(path, "its header is nested too deeply")


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a key stands twice")
    return table


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def _checked_tensors(path: Path, header: Mapping[str, Any], data_bytes: int) -> Tensors:
    if len(header) > MOST_TENSORS:
        raise broken(path, "its header has too many entries")
    tensors: dict[str, tuple[str, tuple[int, ...]]] = {}
    spans = []
    for name, entry in header.items():
        try:
            dtype, shape, (begin, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
            read = _bytes_of(dtype, shape) if type(begin) is type(end) is int else -1
        except (TypeError, KeyError, ValueError):
            read = -1
        if read < 0 or len(name) > LONGEST_TENSOR_NAME:
            raise broken(path, f"the entry of {plain_text(name, 80)} is not readable")
        if end - begin != read:
            raise broken(path, "it is shorter than its header says, or its table is wrong")
        tensors[name] = (dtype, tuple(shape))
        spans.append((begin, end))
    spans.sort()
    ends = [0, *(end for _, end in spans)]
    if any(begin != end for (begin, _), end in zip(spans, ends, strict=False)) or ends[-1] != data_bytes:
        raise broken(path, "its tensors overlap, leave holes, or are not all that it holds")
    return tensors


def _bytes_of(dtype: Any, shape: Any) -> int:
    """The bytes of a tensor; -1 for an unknown format and for a shape that no tensor has."""
    if not isinstance(shape, list) or len(shape) > MOST_SIDES or dtype not in DTYPE_BITS:
        return -1
    bits = DTYPE_BITS[dtype]
    for side in shape:
        if type(side) is not int or not 0 <= side <= LONGEST_SIDE:
            return -1
        bits *= side
    return bits // 8 if bits % 8 == 0 else -1
