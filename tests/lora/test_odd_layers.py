"""Layers that no program writes: shapes that don't go together, formats without arithmetic, nothing at all.
Each gives a report or one sentence, and so does every repair of it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

import pytest

from lora_studio.errors import StudioError
from lora_studio.lora.file.tensor_table import DTYPE_BITS
from lora_studio.lora.inspection.file_report import inspect_file
from lora_studio.lora.repair.repair_request import RepairRequest
from lora_studio.lora.repair.repaired_file import merge_files, repair_file
from tests.support.strange_loras import write_header

Parts = dict[str, tuple[str, list[int]]]
LAYER = "lora_unet_mid_block_attentions_0_proj_in"
PAIR = {"lora_down.weight": ("F32", [4, 8]), "lora_up.weight": ("F32", [8, 4])}


def odd_layers() -> Iterator[tuple[str, Parts]]:
    for dtype in DTYPE_BITS:
        yield dtype, {name: (dtype, shape) for name, (_, shape) in PAIR.items()}
    for name, shapes in {
        "no ranks": {"lora_down.weight": [0, 8], "lora_up.weight": [8, 0]},
        "no inputs": {"lora_down.weight": [4, 0], "lora_up.weight": [8, 4]},
        "ranks that differ": {"lora_down.weight": [4, 8], "lora_up.weight": [8, 5]},
        "a core of one side": {"lora_down.weight": [4, 8], "lora_up.weight": [8, 4], "lora_mid.weight": [3]},
        "magnitudes of nobody": {"lora_down.weight": [4, 8], "lora_up.weight": [8, 4], "dora_scale": [3]},
        "LoHa of lines": {f"hada_w{n}_{x}": [4] for n in "12" for x in "ab"},
        "LoHa of nothing": {f"hada_w{n}_{x}": [0, 0] for n in "12" for x in "ab"},
        "LoKr of lines": {"lokr_w1": [4], "lokr_w2": [4]},
        "LoKr with lines and a core": {
            **{"lokr_w1": [4, 4], "lokr_w2_a": [2], "lokr_w2_b": [2], "lokr_t2": [2]},
        },
        "OFT of a line": {"oft_blocks": [4]},
        "OFT of no squares": {"oft_blocks": [4, 3, 2]},
        "OFT of five sides": {"oft_blocks": [1, 1, 4, 3, 3]},
        "a rotation of a line": {"oft_diag": [2]},
        "OFT v2 of no triangle": {"oft_R.weight": [2, 5]},
        "GLoRA of lines": {f"{name}.weight": [2] for name in ("a1", "a2", "b1", "b2")},
        "a difference of nothing": {"diff": [0]},
        "a bias alone": {"diff_b": [3]},
    }.items():
        yield name, {part: ("F32", shape) for part, shape in shapes.items()}


def write(path: Path, parts: Parts, byte: bytes) -> Path:
    header, place = {}, 0
    for part, (dtype, shape) in parts.items():
        size = math.prod(shape) * DTYPE_BITS[dtype] // 8
        header[f"{LAYER}.{part}"] = {"dtype": dtype, "shape": shape, "data_offsets": [place, place + size]}
        place += size
    return write_header(path, json.dumps(header).encode(), byte * place)


REQUESTS = (
    *(RepairRequest(spelling=one) for one in ("kohya", "comfyui", "diffusers")),
    *(RepairRequest(alpha=one) for one in ("folded", "written")),
    RepairRequest(save_precision="fp16"),
    RepairRequest(new_rank=2),
    RepairRequest(dynamic_method="sv_fro", dynamic_param=0.5),
    RepairRequest(strip_private=True),
    RepairRequest(drop_broken=True),
)


@pytest.mark.parametrize("byte", [b"\x01", b"\xff"], ids=["small", "NaN"])
@pytest.mark.parametrize(("name", "parts"), list(odd_layers()))
def test_an_odd_layer_is_described_or_refused_in_a_sentence(
    tmp_path: Path, name: str, parts: Parts, byte: bytes
) -> None:
    file, new = write(tmp_path / "x.safetensors", parts, byte), tmp_path / "y.safetensors"
    sentences = []
    for request in (None, *REQUESTS):
        new.unlink(missing_ok=True)
        try:
            if request is None:
                assert inspect_file(file).kinds
                merge_files([(file, 1.0), (file, 0.5)], RepairRequest(), new)
            else:
                repair_file(file, request, new)
            assert new.exists()
        except StudioError as error:
            sentences.append(str(error))
            assert not new.exists()
    assert all(len(sentence.splitlines()) == 1 for sentence in sentences), name
    assert {path.name for path in tmp_path.iterdir()} <= {file.name, new.name}
