from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from lora_studio.errors import ConfigError, DiskFull
from lora_studio.estimate import TrainingEstimate
from lora_studio.files import check_room, free_bytes, has_room
from lora_studio.settings import KEEP_FREE_GB, Settings

PLENTY = "900000"
"""More gigabytes than any disk has."""


def settings(tmp_path: Path, keep_free_gb: float) -> Settings:
    return Settings(home=tmp_path, models=tmp_path, keep_free_gb=keep_free_gb)


def test_the_room_is_that_of_the_disk_a_path_would_lie_on(tmp_path: Path) -> None:
    found = free_bytes(tmp_path / "not" / "there")
    assert found is not None
    assert abs(found - shutil.disk_usage(tmp_path).free) < 1e9
    assert has_room(tmp_path, settings=settings(tmp_path, 0))
    assert not has_room(tmp_path, 10**18, settings(tmp_path, 0))


def test_what_does_not_fit_is_said_with_its_size(tmp_path: Path) -> None:
    with pytest.raises(DiskFull, match=r"These pictures would take 1000000000 GB") as caught:
        check_room(tmp_path, "These pictures", 10**18, settings(tmp_path, 0.25))
    assert "250 MB are kept free" in caught.value.message
    assert "LORA_STUDIO_KEEP_FREE_GB" in caught.value.hint
    with pytest.raises(DiskFull, match="A training can't be stored"):
        check_room(tmp_path, "A training", settings=settings(tmp_path, float(PLENTY)))


def test_the_reserve_is_a_setting() -> None:
    assert Settings.from_environment({}).keep_free_gb == KEEP_FREE_GB
    assert Settings.from_environment({"LORA_STUDIO_KEEP_FREE_GB": "0"}).keep_free_bytes == 0
    for wrong in ("-1", "nan", "much", "1e9"):
        with pytest.raises(ConfigError) as caught:
            Settings.from_environment({"LORA_STUDIO_KEEP_FREE_GB": wrong})
        assert caught.value.field == "keep_free_gb"


def test_a_plan_says_when_it_does_not_fit_and_what_calls_the_lora_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORA_STUDIO_KEEP_FREE_GB", "0.5")

    def plan(free: int | None) -> TrainingEstimate:
        return TrainingEstimate(
            steps=1, images=1, bucket=(64, 64), seconds_per_step=1, load_seconds=1, cache_seconds=1,
            train_seconds=1, preview_seconds=1, ram_bytes=1, device_bytes=0, disk_bytes=400_000_000,
            device="CPU", disk_free_bytes=free, trigger_word="zwx",
        )  # fmt: skip

    assert plan(None).warning == plan(900_000_000).warning == ""
    assert "800 MB left" in plan(800_000_000).warning
    assert plan(800_000_000).warning in plan(800_000_000).sentence
    assert plan(None).sentence.endswith('You will call it with "zwx".')
