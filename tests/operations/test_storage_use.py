"""What the studio takes of the disk, by kind; a clean-up removes what it said, and nothing else."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from lora_studio.config import TrainConfig
from lora_studio.errors import ConfigError, DeviceBusy
from lora_studio.operations import storage_use
from lora_studio.operations.storage_use import CLEANABLE, KINDS, StorageUse, clean_up, count_storage
from lora_studio.settings import Settings
from lora_studio.store.database import Database
from lora_studio.store.job_store import JobStore
from lora_studio.store.trash import Trash
from tests.support.configs import config

OLD = time.time() - 8 * 86400


@pytest.fixture(autouse=True)
def _own_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


def write(path: Path, size: int, at: float | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    if at:
        os.utime(path, (at, at))
    return path


def uses(settings: Settings, database: Database) -> dict[str, StorageUse]:
    return {use.kind.name: use for use in count_storage(settings, database)}


def training(settings: Settings, database: Database, slug: str) -> TrainConfig:
    """One that runs."""
    made = config(output_name=slug, output_dir=str(settings.loras / slug))
    store = JobStore(database)
    store.claim(store.create(made).id, "somebody")
    return made


def test_each_file_counts_once_and_for_its_kind(
    settings: Settings, database: Database, tmp_path: Path
) -> None:
    lora = settings.loras / "ink"
    write(lora / "ink.safetensors", 10)
    write(lora / "previews" / "a.png", 1)
    write(lora / "checkpoints" / "ink-step00000050.safetensors", 200)
    write(lora / "state" / "state-00000050.pt", 3000)
    write(settings.bases / "mine.safetensors", 40_000)
    write(settings.datasets / "0" / "a.png", 5)
    write(settings.images / "a.png", 6)
    write(settings.inputs / "b.png", 7)
    write(settings.cache / "latents" / "c.npz", 8)
    write(tmp_path / "hub" / "models--a--b" / "blobs" / "x", 9)
    (tmp_path / "hub" / "models--a--b" / "link").symlink_to(settings.bases / "mine.safetensors")
    found = uses(settings, database)
    assert list(found) == [kind.name for kind in KINDS]
    sizes = {name: (use.bytes, use.files) for name, use in found.items()}
    assert sizes.pop("jobs")[0] >= settings.database.stat().st_size
    assert sizes == {
        **{"bases": (40_000, 1), "hub": (9, 1), "loras": (11, 2), "checkpoints": (200, 1)},
        **{"states": (3000, 1), "datasets": (5, 1), "images": (13, 2), "caches": (8, 1)},
        **{"trash": (0, 0), "uploads": (0, 0)},
    }


def test_only_old_checkpoints_of_trainings_at_rest_go(settings: Settings, database: Database) -> None:
    kept = [
        write(settings.loras / "busy" / "checkpoints" / "busy-step00000050.safetensors", 1, OLD),
        write(settings.loras / "ink" / "checkpoints" / "ink-step00000100.safetensors", 1),
        write(settings.loras / "ink" / "checkpoints" / "notes.txt", 1, OLD),
        write(settings.loras / "ink" / "ink.safetensors", 1, OLD),
    ]
    old = write(settings.loras / "ink" / "checkpoints" / "ink-step00000050.safetensors", 30, OLD)
    training(settings, database, "busy")
    use = uses(settings, database)["checkpoints"]
    assert (use.freed_files, use.freed_bytes) == (1, 30)
    assert clean_up("checkpoints", settings, database) == (1, 30)
    assert not old.exists()
    assert all(path.exists() for path in kept)


def test_checkpoints_of_an_interrupted_training_stay_until_it_is_ended(
    settings: Settings, database: Database
) -> None:
    old = write(settings.loras / "cut" / "checkpoints" / "cut-step00000050.safetensors", 30, OLD)
    training(settings, database, "cut")
    store = JobStore(database)
    (job,) = store.interrupt_orphans("the next start")
    assert job.resumable
    assert clean_up("checkpoints", settings, database) == (0, 0)
    store.stop(job.id)
    assert clean_up("checkpoints", settings, database) == (1, 30)
    assert not old.exists()


def test_the_trash_goes_for_good(settings: Settings, database: Database) -> None:
    trash = Trash(settings.trash)
    for number, kind in enumerate(("lora", "image", "dataset", "picture")):
        trash.put(kind, "Thing", [write(settings.images / f"{number}.png", 100)])
    use = uses(settings, database)["trash"]
    assert clean_up("trash", settings, database) == (use.freed_files, use.freed_bytes)
    assert use.freed_bytes >= 400
    assert [*settings.trash.iterdir()] == []


def test_caches_stay_while_a_training_reads_them(settings: Settings, database: Database) -> None:
    cached = write(settings.cache / "latents" / "c.npz", 8)
    training(settings, database, "busy")
    with pytest.raises(DeviceBusy, match="A training reads the caches"):
        clean_up("caches", settings, database)
    assert cached.exists()


def test_caches_go(settings: Settings, database: Database) -> None:
    write(settings.cache / "latents" / "c.npz", 8)
    write(settings.cache / "thumbnails" / "images" / "a.png.0.webp", 2)
    assert clean_up("caches", settings, database) == (2, 10)
    assert uses(settings, database)["caches"].files == 0


@pytest.mark.parametrize("name", ["loras", "images", "bases", "", "../x"])
def test_nothing_else_can_be_cleaned_up(name: str, settings: Settings, database: Database) -> None:
    with pytest.raises(ConfigError, match="can't be cleaned up"):
        clean_up(name, settings, database)
    assert set(CLEANABLE) == {"checkpoints", "caches", "trash"}


def test_a_folder_that_cannot_be_read_counts_for_nothing(
    settings: Settings, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(settings.images / "a.png", 6)

    def refuse(folder: object) -> None:
        raise PermissionError

    monkeypatch.setattr(storage_use.os, "scandir", refuse)
    assert uses(settings, database)["images"].bytes == 0
