"""The work of a repair while it goes on: progress, a stop, a time that is said before, and nothing of it held
in memory but the layer in work."""

from __future__ import annotations

import errno
import io
import json
import os
import tempfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from lora_studio.errors import ConfigError, DiskFull, StudioError
from lora_studio.events import Event, Noted, PhaseAdvanced
from lora_studio.lora.file.contents import FULL, FileLayer
from lora_studio.lora.repair import repair_budget
from lora_studio.lora.repair.repair_budget import MOST_OPERATIONS, check_work
from lora_studio.lora.repair.repair_request import RepairRequest
from lora_studio.lora.repair.repaired_file import merge_files, repair_file
from lora_studio.lora.repair.tensor_spool import TensorSpool
from tests.support.layer_formulas import some
from tests.support.serving import CHECKOUT

LAYERS = [f"lora_unet_down_blocks_0_attentions_0_transformer_blocks_{n}_attn1_to_q" for n in range(4)]
SMALLER = RepairRequest(new_rank=1)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "in" / "x.safetensors"
    path.parent.mkdir()
    shapes = {"lora_up.weight": (8, 2), "lora_down.weight": (2, 6)}
    save_file({f"{name}.{part}": some(*sides) for name in LAYERS for part, sides in shapes.items()}, path)
    return path


def test_progress_is_told_between_layers(file: Path, tmp_path: Path) -> None:
    for write in (
        lambda target, emit: repair_file(file, SMALLER, target, emit=emit),
        lambda target, emit: merge_files([(file, 1.0), (file, 0.5)], SMALLER, target, emit=emit),
    ):
        events: list[Event] = []
        assert write(tmp_path / f"{len(list(tmp_path.iterdir()))}.safetensors", events.append) == []
        shares = [event.done for event in events if isinstance(event, PhaseAdvanced)]
        assert shares == [0, 250, 500, 750, 1000]
        assert not [event for event in events if isinstance(event, Noted)]


def test_a_stop_comes_within_a_layer_and_leaves_nothing(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    asked: list[int] = []

    def third_time() -> bool:
        asked.append(1)
        return len(asked) == 3

    for write in (
        lambda: repair_file(file, SMALLER, out / "y.safetensors", should_stop=third_time),
        lambda: merge_files([(file, 1.0)] * 2, SMALLER, out / "y.safetensors", should_stop=third_time),
    ):
        asked.clear()
        assert write() is None
        assert len(asked) == 3
        assert list(out.iterdir()) == []
    assert repair_file(file, SMALLER, out / "y.safetensors") == []


def test_long_ones_say_so_before(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repair_budget, "OPERATIONS_A_SECOND", 10.0)
    events: list[Event] = []
    repair_file(file, SMALLER, tmp_path / "y.safetensors", emit=events.append)
    assert isinstance(events[0], Noted)
    assert "It can be stopped at any time." in events[0].message


def test_whole_differences_of_sdxl_are_let_through_and_not_much_more(tmp_path: Path) -> None:
    """All of its linear layers: twenty minutes, where it was refused before."""
    golden = json.loads((CHECKOUT / "tests" / "golden" / "sdxl_lora_keys.json").read_text("utf-8"))["default"]
    sides = {
        key.removesuffix(".lora_down.weight"): (golden[key.replace("down", "up")][0], shape[1])
        for key, shape in golden.items()
        if key.endswith("lora_down.weight") and key.startswith("lora_unet")
    }
    layers = [
        [FileLayer(kind=FULL, keys={}, shapes={"diff": shape}, spelled=name)] for name, shape in sides.items()
    ]
    seconds = check_work(layers, SMALLER, tmp_path / "y.safetensors")
    assert 10 * 60 < sum(seconds) < 60 * 60
    assert 1 << 45 < sum(seconds) * repair_budget.OPERATIONS_A_SECOND < MOST_OPERATIONS
    with pytest.raises(ConfigError, match="trillion multiplications"):
        check_work(layers * 40, SMALLER, tmp_path / "y.safetensors")


def test_tensors_of_all_formats_come_back_from_the_disk(tmp_path: Path) -> None:
    """Odd numbers of 16 bits before those of 32, which may only begin at a multiple of four."""
    tensors = {
        "half": some(3, 5).half(),
        "alpha": torch.tensor(1.5),
        "brain": some(7).bfloat16(),
        "double": some(1).double(),
        "flag": torch.tensor([True]),
        "float8": some(3).to(torch.float8_e4m3fn),
        "turned": some(4, 2).T,
        "empty": torch.empty(0, 3),
    }
    target = tmp_path / "x.safetensors"
    with TensorSpool.beside(target) as spool:
        for key, tensor in tensors.items():
            spool.add(key, tensor)
            assert key in spool
        spool.write({"some": "thing"})
        with pytest.raises(StudioError):
            spool.write({})
    found = load_file(target)
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[key].float(), tensors[key].float()) for key in tensors)
    assert {key: one.dtype for key, one in found.items()} == {key: one.dtype for key, one in tensors.items()}
    assert os.listdir(tmp_path) == ["x.safetensors"]


def test_a_disk_that_is_full_is_a_sentence_also_on_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that could not be written whole says so again when it is closed."""

    class Full(io.BytesIO):
        def write(self, data: object) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        def close(self) -> None:
            super().close()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(tempfile, "TemporaryFile", lambda dir: Full())
    with pytest.raises(DiskFull, match="can't be written"), TensorSpool.beside(tmp_path / "x") as spool:
        spool.add("key", torch.zeros(3))
