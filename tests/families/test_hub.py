"""Base models from the Hub: what is fetched, how it is told, stopped, and used again without the network. The
Hub is a small server of ours; everything on this side of the wire is real."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from lora_studio.errors import DiskFull, FamilyMismatch, ModelFileError, StoreError, UnknownFormat
from lora_studio.events import Event, PhaseAdvanced
from lora_studio.families import family_of
from lora_studio.families.base_files.hub import cached_folder, explain, fetch, needed_files
from lora_studio.families.base_files.locate import find_base
from tests.support.hub_server import PIECE, HubServer, only_hub, point_to
from tests.support.tiny import make_tiny_base, make_tiny_sdxl

NAME = "somebody/tiny"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_base(tmp_path_factory.mktemp("hub") / "tiny")


@pytest.fixture
def hub(tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A Hub with the tiny base as `somebody/tiny`, and an empty cache."""
    shutil.copytree(tiny, tmp_path / "hub" / NAME)
    with only_hub(tmp_path / "hub", tmp_path / "cache", monkeypatch) as server:
        yield server


def test_a_model_is_fetched_once_and_then_loaded_without_the_network(hub: HubServer) -> None:
    (hub.folder / NAME / "README.md").write_text("x" * 100_000)
    (hub.folder / NAME / "safety_checker").mkdir()
    (hub.folder / NAME / "safety_checker" / "model.safetensors").write_bytes(b"x" * 100_000)
    events: list[Event] = []
    folder = fetch(NAME, events.append)
    assert folder is not None
    assert sorted(hub.fetched()) == sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )
    assert "unet/diffusion_pytorch_model.safetensors" in hub.fetched()
    assert not [name for name in hub.fetched() if "README" in name or "safety" in name]
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    last = events[-1]
    assert isinstance(last, PhaseAdvanced)
    assert (last.phase, last.done, last.total) == ("download", size, size)
    assert last.note.startswith(f"{NAME}, ")

    asked = len(hub.asked)
    found = find_base(NAME)
    assert (found.layout, found.family) == ("hub", "sd1")
    assert fetch(NAME) == folder == cached_folder(NAME)
    parts = family_of(found).load()
    assert parts.unet.config.cross_attention_dim == 16
    assert len(hub.asked) == asked, "nothing was asked of the network"


def test_progress_is_told_and_stopping_does_not_wait_for_the_file(hub: HubServer) -> None:
    big = hub.folder / NAME / "unet" / "diffusion_pytorch_model.safetensors"
    hub.pause = 60 / (big.stat().st_size / PIECE)  # the file alone would take a minute
    events: list[PhaseAdvanced] = []

    def listen(event: Event) -> None:
        assert isinstance(event, PhaseAdvanced)
        events.append(event)

    assert fetch(NAME, listen, lambda: len(events) > 2) is None
    assert hub.sent < big.stat().st_size
    assert all(event.total == events[0].total for event in events)
    assert [event.done for event in events] == sorted(event.done for event in events)
    assert 0 < events[-1].done < events[-1].total
    assert cached_folder(NAME) is None
    hub.pause = 0.0
    before = len(hub.fetched())
    assert fetch(NAME) is not None, "what was complete is not fetched again"
    assert "model_index.json" not in hub.fetched()[before:]


def test_a_model_in_part_is_completed(hub: HubServer) -> None:
    folder = fetch(NAME)
    assert folder is not None
    (folder / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    for blob in (folder.parents[1] / "blobs").iterdir():
        if (
            blob.read_bytes()
            == (hub.folder / NAME / "vae" / "diffusion_pytorch_model.safetensors").read_bytes()
        ):
            blob.unlink()
    assert cached_folder(NAME) is None
    before = len(hub.fetched())
    assert fetch(NAME) == folder
    assert "vae/diffusion_pytorch_model.safetensors" in hub.fetched()[before:]
    assert "unet/diffusion_pytorch_model.safetensors" not in hub.fetched()[before:]


def test_of_two_number_formats_the_half_is_fetched(hub: HubServer) -> None:
    top = hub.folder / NAME
    for file in list(top.glob("*/*.safetensors")):
        shutil.copy(file, file.with_suffix(".fp16.safetensors"))
    folder = fetch(NAME)
    assert folder is not None
    assert {path.name for path in folder.glob("*/*.safetensors")} == {
        "model.fp16.safetensors",
        "diffusion_pytorch_model.fp16.safetensors",
    }
    assert cached_folder(NAME) == folder
    assert family_of(find_base(NAME)).load().unet is not None


def test_the_family_is_asked_of_the_hub(hub: HubServer) -> None:
    make_tiny_sdxl(hub.folder / "somebody" / "xl")
    assert family_of("somebody/xl").found.family == "sdxl"
    (hub.folder / NAME / "model_index.json").write_text('{"_class_name": "SanaPipeline"}')
    with pytest.raises(FamilyMismatch, match="is a SanaPipeline"):
        family_of(NAME)


def test_what_is_not_to_be_had_is_told_in_a_sentence(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        ModelFileError, match=r"There is no model nobody/nothing on the Hub, or it is private\."
    ):
        fetch("nobody/nothing")
    (hub.folder / "somebody" / "single").mkdir()
    (hub.folder / "somebody" / "single" / "model.safetensors").write_bytes(b"x")
    with pytest.raises(
        UnknownFormat, match=r"no base model in diffusers' layout: it has no model_index\.json"
    ):
        fetch("somebody/single")
    hub.gated.add(NAME)
    with pytest.raises(ModelFileError, match="only given to those who have agreed to its licence") as caught:
        fetch(NAME)
    assert "hf auth login" in caught.value.hint
    hub.gated.clear()
    (hub.folder / NAME / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(UnknownFormat, match="lacks parts of a base model"):
        fetch(NAME)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(
        ModelFileError, match="somebody/other is not on this machine and could not be fetched"
    ):
        fetch("somebody/other")


@pytest.mark.slow  # the library tries again for a while
def test_without_a_connection_one_sentence(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    point_to("http://127.0.0.1:9", monkeypatch)
    with pytest.raises(ModelFileError, match="is not on this machine and could not be fetched") as caught:
        fetch(NAME)
    assert "models/base" in caught.value.hint


def test_a_full_disk_is_told() -> None:
    error = explain(NAME, OSError(28, "No space left on device"))
    assert isinstance(error, StoreError)
    assert error.message == f"The disk is full: {NAME} can't be stored."


INDEX = {
    "_class_name": "StableDiffusionPipeline",
    "unet": ["diffusers", "UNet2DConditionModel"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
    "image_encoder": [None, None],
}
UNET, TEXT = "unet/diffusion_pytorch_model", "text_encoder/model"
SPLIT = [f"{UNET}.safetensors.index.json", *(f"{UNET}-0000{n}-of-00002.safetensors" for n in (1, 2))]


@pytest.mark.parametrize(
    ("files", "wanted"),
    [
        (
            [f"{UNET}.safetensors", f"{TEXT}.safetensors", f"{UNET}.bin"],
            [f"{UNET}.safetensors", f"{TEXT}.safetensors"],
        ),
        (
            [f"{UNET}.fp16.safetensors", f"{UNET}.safetensors", f"{TEXT}.safetensors"],
            [f"{UNET}.safetensors", f"{TEXT}.safetensors"],
        ),
        ([f"{UNET}.bin", "text_encoder/pytorch_model.bin"], []),  # a pickle runs code while it is read
        ([*SPLIT, f"{UNET}.non_ema.safetensors", f"{TEXT}.safetensors"], [*SPLIT, f"{TEXT}.safetensors"]),
    ],
)
def test_of_many_files_those_that_drawing_needs_are_chosen(files: list[str], wanted: list[str]) -> None:
    small = ["unet/config.json", "text_encoder/config.json", "tokenizer/vocab.json", "tokenizer/merges.txt"]
    others = [
        "README.md",
        "v1-5-pruned.safetensors",
        "safety_checker/model.safetensors",
        "unet/sub/more.json",
    ]
    sizes = {name: len(name) for name in [*files, *small, *others, "model_index.json"]}
    assert sorted(needed_files(INDEX, sizes)) == sorted([*wanted, *small, "model_index.json"])


def test_what_does_not_fit_on_the_disk_is_not_fetched(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LORA_STUDIO_KEEP_FREE_GB", "900000")
    with pytest.raises(DiskFull, match=f"{NAME} would take"):
        fetch(NAME)
    assert not [name for name in hub.fetched() if name.endswith(".safetensors")]
