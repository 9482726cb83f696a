"""Checkpoint files on the Hub: `owner/name/file.safetensors`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from lora_studio.catalog import BASES, SDXL
from lora_studio.errors import BrokenFile, FamilyMismatch, ModelFileError
from lora_studio.events import Event, PhaseAdvanced, ignore, never_stop
from lora_studio.families.base_files import locate
from lora_studio.families.base_files.fetched_base import fetched_base
from lora_studio.families.base_files.hub import cached, must_fetch
from lora_studio.families.base_files.locate import HUB_ID, find_base, known_base
from lora_studio.families.weights.loading import weight_files
from tests.support.hub_server import HubServer, only_hub
from tests.support.single_file import write_single_file
from tests.support.tiny import make_tiny_sdxl

REPOSITORY, FILE = "somebody/noob", "Noob-XL v1.0.safetensors"
NAME = f"{REPOSITORY}/{FILE}"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    folder = tmp_path_factory.mktemp("checkpoint")
    base = make_tiny_sdxl(folder / "xl")
    return dict(load_file(write_single_file(base, folder / "xl.safetensors")))


@pytest.fixture
def hub(
    tmp_path: Path, checkpoint: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> Iterator[HubServer]:
    folder = tmp_path / "hub" / REPOSITORY
    folder.mkdir(parents=True)
    empty = np.zeros(0, np.float32)
    save_file({**checkpoint, "v_pred": empty, "ztsnr": empty}, folder / FILE)
    with only_hub(tmp_path / "hub", tmp_path / "cache", monkeypatch) as server:
        yield server


def test_a_file_is_told_by_its_header_and_fetched_alone(hub: HubServer) -> None:
    (hub.folder / REPOSITORY / "README.md").write_text("x")
    found = find_base(NAME)
    assert (found.layout, found.family, must_fetch(found)) == ("hub", "", True)
    asked = known_base(NAME)
    assert (asked.family, asked.facts.zero_snr, asked.predicts_velocity) == (SDXL, True, True)
    assert asked.repository == REPOSITORY
    events: list[Event] = []
    here = fetched_base(found, events.append, never_stop)
    assert here is not None
    assert (here.layout, here.family, here.zero_snr) == ("file", SDXL, True)
    assert here == find_base(NAME)
    assert weight_files(here) == [cached(NAME)] == [Path(here.path_or_id)]
    last = events[-1]
    assert isinstance(last, PhaseAdvanced)
    assert last.done == last.total == (hub.folder / REPOSITORY / FILE).stat().st_size
    count = len(hub.asked)
    assert fetched_base(find_base(NAME), ignore, never_stop) == here
    assert len(hub.asked) == count, "nothing was asked of the network"


def test_what_the_catalog_knows_counts_where_the_file_is_silent(
    hub: HubServer, checkpoint: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    save_file(checkpoint, hub.folder / REPOSITORY / FILE)
    entry = replace(BASES["noobai-v"], name="noob", source=NAME)
    monkeypatch.setitem(locate.BASES, "noob", entry)  # type: ignore[index]
    found = find_base("noob")
    assert (found.layout, found.family, found.predicts_velocity, found.zero_snr) == ("hub", SDXL, True, True)
    here = fetched_base(found, ignore, never_stop)
    assert here is not None
    assert here.facts.marked
    assert (here.entry, here.predicts_velocity, here.zero_snr) == (entry, True, True)


def test_what_is_no_checkpoint_is_told_before_it_is_fetched(hub: HubServer) -> None:
    folder = hub.folder / REPOSITORY
    (folder / "broken.safetensors").write_bytes(b"x" * 50_000)
    with pytest.raises(BrokenFile):
        known_base(f"{REPOSITORY}/broken.safetensors")
    with pytest.raises(ModelFileError) as caught:
        known_base(f"{REPOSITORY}/missing.safetensors")
    assert "missing.safetensors" in caught.value.message
    tensors = {"model.diffusion_model.joint_blocks.3.x_block.attn.qkv.weight": np.zeros((2, 2), np.float32)}
    save_file(tensors, folder / "other.safetensors")
    with pytest.raises(FamilyMismatch):
        known_base(f"{REPOSITORY}/other.safetensors")
    assert cached(f"{REPOSITORY}/other.safetensors") is None


@pytest.mark.parametrize(
    "name",
    [
        "a/b/../c.safetensors",
        "a/b/c/d.safetensors",
        "a/b/c.ckpt",
        "a/b/.safetensors",
        "../a/b.safetensors",
        "a/b/c.safetensors/d",
        "a/b/c\n.safetensors",
        "https://a/b.safetensors",
    ],
)
def test_ids_name_nothing_else(name: str) -> None:
    assert HUB_ID.fullmatch(name) is None


def test_the_catalogs_sources_are_ids_and_their_numbers_fit() -> None:
    for base in BASES.values():
        assert not base.source or HUB_ID.fullmatch(base.source)
        assert bool(base.source) == bool(base.download_bytes)
        assert base.licence
        assert base.predicts_velocity or not base.zero_snr
