"""LoRA files on disk: what a .safetensors header says, checked before anybody believes it.

Standard library only: the gallery reads files without loading torch. Layout of the format:
https://github.com/huggingface/safetensors (8 bytes header length, JSON header, tensor bytes).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import re
import struct
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lora_studio.catalog import family_from_version
from lora_studio.errors import BrokenFile, UnknownFormat
from lora_studio.lora.keys import DORA, DOWN, OFT, read_key
from lora_studio.lora.origin import Part, Tensors, family_of_layers, what_else

HEADER_LIMIT = 100_000_000
DTYPE_BYTES = {
    **{"BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "I16": 2, "U16": 2, "F16": 2, "BF16": 2},
    **{"I32": 4, "U32": 4, "F32": 4, "I64": 8, "U64": 8, "F64": 8},
}
ALGOS = {DOWN: "lora", "hada_w1_b": "loha", "lokr_w1": "lokr", "lokr_w1_a": "lokr", OFT: "diag-oft"}
"""Kinds by a tensor that only they have."""
CHECKPOINT = re.compile(r".+-step(\d{8})\.safetensors")
DIFFUSERS_SKIPS = ("scheduler", "optimizer", "checkpoint")


@dataclass(frozen=True, kw_only=True)
class LoraHeader:
    """`tensors` maps a name to (safetensors dtype, shape); `tensor_hash` is the SHA-256 of the tensor
    bytes, which renaming or new metadata does not change; `family` is a catalog family name, empty when
    nothing tells it; `algo` the kind of network (lora, loha, lokr, diag-oft), `dora` whether it is a DoRA."""

    path: Path
    family: str
    base: str
    network_dim: int
    network_alpha: float
    metadata: Mapping[str, str]
    tensors: Tensors
    tensor_hash: str
    size_bytes: int
    algo: str = "lora"
    dora: bool = False


def read_header(path: Path | str) -> LoraHeader:
    """Read and check a LoRA file. Raises BrokenFile, UnknownFormat (also for files that hold no LoRA)."""
    path = Path(path)
    metadata, tensors, data_start = read_tensor_table(path)
    parts = [(*read_key(name), shape) for name, (_, shape) in tensors.items()]
    algo = next((ALGOS[part] for _, part, shape in parts if part in ALGOS and shape), "")
    if not algo:
        what, hint = what_else(tensors)
        raise UnknownFormat(f"{path.name} is {what}, not a LoRA.", hint, path=path)
    dim = _number(metadata.get("ss_network_dim")) or _dim_from_shapes(parts)
    return LoraHeader(
        path=path,
        family=_family_from_words(metadata) or family_of_layers(parts),
        base=metadata.get("ss_sd_model_name", ""),
        network_dim=int(dim),
        network_alpha=_number(metadata.get("ss_network_alpha")) or float(dim),
        metadata=metadata,
        tensors=tensors,
        tensor_hash=_hash_from(path, data_start),
        size_bytes=path.stat().st_size,
        algo=algo,
        dora=any(part == DORA for _, part, _ in parts),
    )


def read_tensor_table(path: Path) -> tuple[dict[str, str], Tensors, int]:
    """(metadata, tensors, offset of the first tensor byte) of any safetensors file. Raises BrokenFile,
    UnknownFormat."""
    if path.suffix.lower() != ".safetensors":
        raise UnknownFormat(
            f"{path.name} is no .safetensors file.",
            "Other formats can run code when opened; convert the file to .safetensors first.",
            path=path,
        )
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(8)
            length = struct.unpack("<Q", head)[0] if len(head) == 8 else -1
            if not 2 <= length <= min(HEADER_LIMIT, size - 8):
                raise _broken(path, "its header is cut off or not what it says")
            header = json.loads(file.read(length))
    except OSError as error:
        raise BrokenFile(f"{path.name} can't be read: {error.strerror or error}.", path=path) from error
    except (ValueError, RecursionError) as error:
        raise _broken(path, "its header is not readable") from error
    if not isinstance(header, dict):
        raise _broken(path, "its header is not a table")
    said = header.pop("__metadata__", None) or {}
    if not isinstance(said, dict):
        raise _broken(path, "its metadata is not a table")
    tensors = _checked_tensors(path, header, size - 8 - length)
    return {str(key): str(value) for key, value in said.items()}, tensors, 8 + length


def find_file(folder: Path | str) -> Path:
    """The LoRA file of a result folder. Raises UnknownFormat when there is none."""
    folder = Path(folder)
    files = sorted(p for p in folder.glob("*.safetensors") if p.is_file() and not p.name.startswith("."))
    named = [path for path in files if path.stem == folder.name]
    if not files:
        raise UnknownFormat(f"There is no .safetensors file in the folder {folder.name}.", path=folder)
    return (named or files)[0]


def checkpoint_files(folder: Path | str) -> dict[int, Path]:
    """The checkpoints in a result folder by their step."""
    found = {}
    for path in sorted(Path(folder).glob("checkpoints/*.safetensors")):
        match = CHECKPOINT.fullmatch(path.name)
        if match:
            found[int(match[1])] = path
    return found


def file_name(slug: str) -> str:
    """The name of a LoRA's file in its folder. diffusers, given a folder, leaves out files whose names
    contain some words; such LoRAs get diffusers' own standard name instead."""
    skipped = any(word in slug for word in DIFFUSERS_SKIPS)
    return "pytorch_lora_weights.safetensors" if skipped else f"{slug}.safetensors"


def write_atomically(path: Path, data: bytes | str) -> None:
    """Write a whole file or nothing: temporary name in the same folder, fsync, rename. Makes the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise


def _checked_tensors(path: Path, header: dict[str, Any], data_bytes: int) -> Tensors:
    tensors: dict[str, tuple[str, tuple[int, ...]]] = {}
    for name, entry in header.items():
        try:
            dtype, shape = entry["dtype"], tuple(int(side) for side in entry["shape"])
            begin, end = (int(offset) for offset in entry["data_offsets"])
        except (TypeError, KeyError, ValueError, OverflowError) as error:
            raise _broken(path, f"the entry of {name[:80]} is not readable") from error
        if not isinstance(dtype, str):
            raise _broken(path, f"the entry of {name[:80]} is not readable")
        wanted = math.prod(shape) * DTYPE_BYTES.get(dtype, 0)
        fits = 0 <= begin <= end <= data_bytes and min(shape, default=0) >= 0
        if not fits or (dtype in DTYPE_BYTES and end - begin != wanted):
            raise _broken(path, "it is shorter than its header says, or its table is wrong")
        tensors[name] = (dtype, shape)
    return tensors


def _broken(path: Path, why: str) -> BrokenFile:
    return BrokenFile(f"{path.name} is damaged: {why}.", "Copy or download the file again.", path=path)


def _dim_from_shapes(parts: Sequence[Part]) -> int:
    """The largest rank of a layer; for OFT the largest block, for LoKr without any rank 0."""
    axes = {DOWN: 0, "hada_w1_b": 0, "lokr_w2_b": 0, "lokr_w1_b": 0, OFT: 1}
    return max((shape[axes[part]] for _, part, shape in parts if len(shape) > axes.get(part, 9)), default=0)


def _family_from_words(metadata: Mapping[str, str]) -> str:
    said = (metadata.get(key, "") for key in ("ss_base_model_version", "modelspec.architecture"))
    return next((family for version in said if (family := family_from_version(version))), "")


def _number(text: str | None) -> float:
    try:
        value = float(text or 0)
    except ValueError:
        return 0.0
    return value if math.isfinite(value) else 0.0


def _hash_from(path: Path, offset: int) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        file.seek(offset)
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
