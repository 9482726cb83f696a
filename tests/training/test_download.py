"""A base model that is fetched from the hub while a training or an estimate begins."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from lora_studio.events import Event, PhaseAdvanced, Stopped
from lora_studio.training.measure import measure
from tests.support.configs import ConfigMaker
from tests.support.hub_server import PIECE, HubServer, only_hub
from tests.support.runs import of, run_until


@pytest.fixture
def hub(tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A Hub with the tiny base as `somebody/tiny`, and an empty cache."""
    shutil.copytree(tiny_base, tmp_path / "hub" / "somebody" / "tiny")
    with only_hub(tmp_path / "hub", tmp_path / "cache", monkeypatch) as server:
        yield server


def test_a_base_from_the_hub_is_fetched_once_and_told_in_bytes(
    make_config: ConfigMaker, hub: HubServer
) -> None:
    result, events = run_until(make_config(base="somebody/tiny"))
    assert result.status == "finished"
    assert events[0].phases[:3] == ("download", "load", "cache")  # type: ignore[union-attr]
    told = [event for event in of(PhaseAdvanced, events) if event.phase == "download"]
    assert told[-1].done == told[-1].total > 10_000
    first_load = next(at for at, event in enumerate(events) if getattr(event, "phase", "") == "load")
    assert events.index(told[-1]) < first_load
    asked = len(hub.asked)
    _, events = run_until(make_config("again", base="somebody/tiny"))
    assert events[0].phases[0] == "load"  # type: ignore[union-attr]
    assert len(hub.asked) == asked


def test_stopping_a_download_is_a_stop_before_the_first_step(
    make_config: ConfigMaker, hub: HubServer
) -> None:
    big = hub.folder / "somebody" / "tiny" / "unet" / "diffusion_pytorch_model.safetensors"
    hub.pause = 60 / (big.stat().st_size / PIECE)  # the file alone would take a minute
    config = make_config(base="somebody/tiny")
    result, events = run_until(config, lambda heard: any(isinstance(event, PhaseAdvanced) for event in heard))
    hub.pause = 0.0
    assert hub.sent < big.stat().st_size
    assert (result.status, result.path, result.steps) == ("stopped", "", 0)
    assert events[-1] == Stopped(step=0, path="")
    assert {event.phase for event in of(PhaseAdvanced, events)} == {"download"}
    assert not Path(config.output.output_dir).exists()


def test_a_plan_downloads_as_openly_and_stops_as_soon(make_config: ConfigMaker, hub: HubServer) -> None:
    config = make_config(base="somebody/tiny")
    heard: list[Event] = []
    assert measure(config, heard.append, lambda: bool(heard)) is None
    assert {event.phase for event in of(PhaseAdvanced, heard)} == {"download"}
