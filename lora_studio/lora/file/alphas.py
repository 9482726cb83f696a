"""The alphas of a file's layers: from tensors of their own, else from the metadata of diffusers and PEFT, a
rank and an alpha for all layers with patterns for those that differ."""

from __future__ import annotations

import contextlib
import json
import math
import struct
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from lora_studio.lora.file.contents import LOHA, LOKR, LORA, Contents, Table, contents_of
from lora_studio.lora.file.keys import ALPHA, DENOISERS, DOWN
from lora_studio.lora.file.tensor_table import HEADER_LIMIT

HEADER_KEY = "lora_adapter_metadata"
CONFIG_FILE = "adapter_config.json"
CONFIG_LIMIT = 4_000_000
"""Bytes of JSON that are read."""
LARGEST = 1e6
MOST_READ = 1000
SCALED_KINDS = (LORA, LOHA, LOKR)
PARTS = ("unet", "text_encoder", "text_encoder_2", "transformer")


@dataclass(frozen=True, kw_only=True)
class Scaling:
    """PEFT's configuration of one part's alphas; `patterns` map ends of module paths to alphas."""

    alpha: float | None
    patterns: Mapping[str, float] = field(default_factory=dict)
    rank_stabilized: bool = False

    @cached_property
    def _places(self) -> Mapping[str, int]:
        return {end: place for place, end in enumerate(self.patterns)}

    def alpha_of(self, module: str, rank: int) -> float | None:
        """The alpha that gives PEFT's scale when it is divided by the rank (rsLoRA divides by the rank's
        root); None when the configuration has none."""
        names = module.split(".")
        ends = {".".join(names[start:]) for start in range(len(names))} & self.patterns.keys()
        # PEFT takes the first that fits; a stranger's table is not gone through for each layer.
        alpha = self.patterns[min(ends, key=self._places.__getitem__)] if ends else self.alpha
        return alpha * math.sqrt(rank) if alpha and self.rank_stabilized else alpha


def scalings(metadata: Mapping[str, str], file: Path | str | None = None) -> dict[str, Scaling]:
    """The scaling by part of the model (`unet`, ...; empty for a file of one model) from the header or, where
    that has none, from the `adapter_config.json` beside the file. Nonsense counts as nothing."""
    config = _table(metadata.get(HEADER_KEY, ""))
    found = {part: scaling for part in PARTS if (scaling := _scaling(config, f"{part}."))}
    if not found and (whole := _scaling(config, "")):
        return {"": whole}
    if not found and file is not None:
        whole = _scaling(_table(_text(Path(file).parent / CONFIG_FILE)), "")
        return {"": whole} if whole else {}
    return found


def alpha_of(scalings: Mapping[str, Scaling], spelled: str, rank: int) -> float | None:
    """The alpha of a layer by its name in the file; None when no scaling covers it."""
    module = spelled.removeprefix("base_model.model.")
    part, _, inside = module.partition(".")
    if part in scalings:
        return scalings[part].alpha_of(inside, rank)
    if "" not in scalings:
        return None
    for start in (*DENOISERS, "text_encoder.", "text_encoder_2.", "transformer."):
        if module.startswith(start):
            module = module.removeprefix(start)
            break
    return scalings[""].alpha_of(module, rank)


def common_alpha(path: Path, contents: Contents, metadata: Mapping[str, str]) -> float:
    """The alpha of most scaled layers, from their tensors or from the metadata; 0 when nothing tells it."""
    scaled = [layer for layer in contents.layers.values() if layer.kind in SCALED_KINDS]
    keys = [layer.keys[ALPHA] for layer in scaled if ALPHA in layer.keys]
    if keys:
        alphas = read_scalars(path, keys[:MOST_READ])
    else:
        scaling = scalings(metadata, path)
        alphas = [
            alpha_of(scaling, layer.spelled, layer.shapes[DOWN][0]) or 0.0
            for layer in scaled
            if scaling and layer.shapes.get(DOWN)
        ]
    counted = Counter(alpha for alpha in alphas if _is_number(alpha))
    return counted.most_common(1)[0][0] if counted else 0.0


def config_beside(path: Path, metadata: Mapping[str, str], table: Table) -> Path | None:
    """PEFT's `adapter_config.json` beside a file with this header, where it tells alphas that the header
    doesn't; else None."""
    config = path.parent / CONFIG_FILE
    if not config.is_file():
        return None
    contents = contents_of(table)
    scaled = [layer for layer in contents.layers.values() if layer.kind in SCALED_KINDS]
    silent = any(ALPHA not in layer.keys for layer in scaled) and not scalings(metadata)
    return config if silent and scalings({}, path) else None


def read_scalars(path: Path, keys: Iterable[str]) -> list[float]:
    """Single numbers of a file whose header was checked, but keys in formats without a plain reading."""
    found: list[float] = []
    damaged = (OSError, ValueError, KeyError, TypeError, RecursionError, struct.error)
    with contextlib.suppress(*damaged), path.open("rb") as file:
        length = struct.unpack("<Q", file.read(8))[0]
        table = json.loads(file.read(min(length, HEADER_LIMIT)))
        for key in keys:
            entry = table[key]
            if math.prod(entry["shape"]) == 1 and entry["dtype"] in SCALARS:
                file.seek(8 + length + entry["data_offsets"][0])
                found.append(SCALARS[entry["dtype"]](file.read(8)))
    return found


SCALARS: Mapping[str, Callable[[bytes], float]] = {
    "F64": lambda data: struct.unpack("<d", data[:8])[0],
    "F32": lambda data: struct.unpack("<f", data[:4])[0],
    "F16": lambda data: struct.unpack("<e", data[:2])[0],
    "BF16": lambda data: struct.unpack("<f", b"\0\0" + data[:2])[0],
    "I64": lambda data: float(struct.unpack("<q", data[:8])[0]),
    "I32": lambda data: float(struct.unpack("<i", data[:4])[0]),
}


def _scaling(config: Mapping[str, Any], start: str) -> Scaling | None:
    alpha = config.get(f"{start}lora_alpha", config.get(f"{start}alpha"))
    patterns = config.get(f"{start}alpha_pattern")
    numbers = {
        _plain(path): value
        for path, value in (patterns.items() if isinstance(patterns, dict) else ())
        if _is_number(value)
    }
    if not _is_number(alpha) and not numbers:
        return None
    return Scaling(
        alpha=float(alpha) if _is_number(alpha) else None,
        patterns={path: float(value) for path, value in numbers.items()},
        rank_stabilized=config.get(f"{start}use_rslora") is True,
    )


def _plain(pattern: str) -> str:
    """A pattern as the end of a module path. PEFT's patterns are regular expressions, but those that PEFT
    writes itself are module paths. A stranger's expression is never run."""
    return pattern.replace("\\", "").removeprefix("^").removesuffix("$").removeprefix(".*").strip(".")


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return 0 < value <= LARGEST  # False for NaN


def _table(text: str) -> dict[str, Any]:
    if not text or len(text) > CONFIG_LIMIT:
        return {}
    with contextlib.suppress(ValueError, RecursionError):
        found = json.loads(text)
        return found if isinstance(found, dict) else {}
    return {}


def _text(file: Path) -> str:
    with contextlib.suppress(OSError, ValueError):
        if file.stat().st_size <= CONFIG_LIMIT:
            return file.read_text("utf-8")
    return ""
