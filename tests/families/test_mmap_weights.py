from __future__ import annotations

import resource
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from lora_studio.families.weights.loading import free_model, place_model
from lora_studio.families.weights.mmap_weights import MAPS, MappedFiles

pytestmark = pytest.mark.skipif(not MAPS.exists(), reason="only Linux tells which memory is a file's")
MEGABYTES = 32


@pytest.fixture
def file(tmp_path: Path) -> Path:
    numbers = torch.arange(MEGABYTES * 2**18, dtype=torch.float32).reshape(-1, 1024)
    save_file({"weight": numbers, "bias": torch.arange(8.0)}, tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def linear(file: Path) -> torch.nn.Linear:
    stored = load_file(file)
    with torch.device("meta"):
        model = torch.nn.Linear(1024, len(stored["weight"]), bias=False)
    model.weight = torch.nn.Parameter(stored["weight"], requires_grad=False)
    return model


def test_weights_of_a_file_are_told_from_others(file: Path) -> None:
    stored = load_file(file)
    files = MappedFiles()
    assert files.holds(stored["weight"])
    assert files.holds(stored["bias"])
    assert not files.holds(stored["weight"].clone())
    assert not files.holds(torch.empty(0))


def test_pages_are_read_ahead_and_given_back_and_come_again(file: Path) -> None:
    weight, before = load_file(file)["weight"], resident()
    files = MappedFiles()
    files.read_ahead(weight)
    assert resident() - before > 0.9 * MEGABYTES * 2**20
    files.give_back(weight)
    assert resident() - before < 0.1 * MEGABYTES * 2**20
    assert weight[-1, -1] == MEGABYTES * 2**18 - 1


def test_memory_that_is_no_files_is_never_given_back() -> None:
    weight = torch.ones(2**20)
    MappedFiles().give_back(weight)
    assert weight.sum() == 2**20


def test_converting_needs_the_memory_of_the_result_only(file: Path) -> None:
    wanted = load_file(file)["weight"].to(torch.bfloat16)
    model, before = linear(file), resident()
    place_model(model, "cpu", torch.bfloat16)
    assert torch.equal(model.weight, wanted)
    assert resident() - before < 0.6 * MEGABYTES * 2**20


def test_what_stays_as_it_is_stays_in_the_file(file: Path) -> None:
    model = linear(file)
    place_model(model, "cpu", torch.float32)
    assert MappedFiles().holds(model.weight)
    before = resident()
    free_model(model)
    assert before - resident() > 0.9 * MEGABYTES * 2**20


def test_trained_weights_stay_exact_and_the_same_objects() -> None:
    model = torch.nn.Linear(4, 4).half()
    weight = model.weight
    place_model(model, "cpu", torch.bfloat16)
    assert model.weight is weight
    assert weight.dtype == torch.float32
    assert sys.getrefcount(weight) > 1
