"""LoRA files that say strange things of themselves, written byte by byte: no library would write them."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

LAYER = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_k"
SHAPES = {f"{LAYER}.lora_down.weight": (4, 16), f"{LAYER}.lora_up.weight": (16, 4), f"{LAYER}.alpha": ()}


def strange_lora(path: Path, metadata: Any = None, *, value: float = 1.0) -> Path:
    """A sound LoRA with any metadata; `value` makes other tensors."""
    header: dict[str, Any] = {} if metadata is None else {"__metadata__": metadata}
    data = b""
    for name, shape in SHAPES.items():
        count = 1
        for side in shape:
            count *= side
        block = struct.pack("<f", value if shape else 4.0) * count
        header[name] = {
            "dtype": "F32",
            "shape": list(shape),
            "data_offsets": [len(data), len(data) + len(block)],
        }
        data += block
    return write_header(path, json.dumps(header).encode(), data)


def write_header(path: Path, header: bytes, data: bytes = b"") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack("<Q", len(header)) + header + data)
    return path


HALF = "a \ud800 b"
REFUSED: dict[str, Any] = {
    "half a surrogate pair in the title": {"modelspec.title": HALF},
    "half a surrogate pair in a key": {HALF: "x"},
    "a number for a text": {"ss_steps": 5},
    "a list for a table": ["modelspec.title"],
}
"""Metadata that makes a file one that no library opens."""
STRANGE: dict[str, Any] = {
    "a title of 5 MB": {"modelspec.title": "T" * 5_000_000},
    "a title of two lines": {"modelspec.title": "One\n# Two\x00\x1b[31m\u202e"},
    "a trigger of 5 MB": {"modelspec.trigger_phrase": "zwx " * 1_250_000},
    "a long trigger": {"modelspec.trigger_phrase": "word, " * 5000},
    "steps of 5,000 digits": {"ss_steps": "9" * 5000},
    "a dim of 1e30": {"ss_network_dim": "1e30", "ss_network_alpha": "1e300"},
    "a dim below 0": {"ss_network_dim": "-8", "ss_network_alpha": "-inf"},
    "no numbers": {"ss_network_dim": "nan", "ss_network_alpha": "inf", "ss_steps": "many"},
    "20 MB of tags": {"ss_tag_frequency": '{"a tag": 1}' * 1_700_000},
    "5,000 keys": {f"ss_key_{number}": "x" * 100 for number in range(5000)},
    "NUL everywhere": {"modelspec.title": "\x00", "ss_sd_model_name": "a\x00b", "ss_output_name": "c\x00d"},
    "null": None,
}
"""Metadata that is nonsense in a file that can be used."""
