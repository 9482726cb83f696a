"""The app of deploy/modal_app.py without an account: its function's body here, and what a start says."""

from __future__ import annotations

import importlib.util
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from lora_studio.config import TrainConfig
from lora_studio.errors import ConfigError, DiskFull, StudioError
from lora_studio.events import CheckpointSaved, Noted, event_to_json
from lora_studio.jobs.cloud.cloud_run import log_of, run_order
from lora_studio.jobs.cloud.cloud_settings import CloudSettings
from lora_studio.jobs.cloud.cloud_worker import Heard, Landing
from lora_studio.jobs.cloud.local_cloud import LocalCloud
from lora_studio.jobs.cloud.luggage import pack
from lora_studio.jobs.cloud.sweep import read_values, run_sweep, sweep
from lora_studio.jobs.failure import error_of_far_end, failure_of
from lora_studio.jobs.modal_worker import ModalCloud
from lora_studio.lora.file.lora_files import find_file
from lora_studio.settings import CHECKOUT, Settings
from lora_studio.training_request import RunRequest
from tests.support.waiting import until

HOUR = 3600.0


@pytest.fixture(autouse=True)
def _nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MODAL_CONFIG_PATH", str(tmp_path / "no account"))


@pytest.fixture
def volume(settings: Settings) -> Path:
    return settings.home / "modal"


def test_a_sweep_is_one_training_for_each_combination(make_config: Callable[..., TrainConfig]) -> None:
    config = make_config()
    values = read_values(["learning_rate=1e-4,5e-5", "network_dim=4, 8"])
    found = sweep(config, values)
    assert [(one.optimizer.learning_rate, one.network.network_dim) for one in found] == [
        *((1e-4, 4), (1e-4, 8), (5e-5, 4), (5e-5, 8))
    ]
    assert len({one.output.output_dir for one in found}) == 4
    assert {Path(one.output.output_dir).parent for one in found} == {Path(config.output.output_dir).parent}
    assert sweep(config, {}) == [config]
    for wrong in ("learning_rate", "learning_rat=1", "output_dir=/etc", "network_dim="):
        with pytest.raises(ConfigError):
            read_values([wrong])
    with pytest.raises(ConfigError):
        sweep(config, {"seed": [str(number) for number in range(101)]})
    with pytest.raises(ConfigError):
        sweep(config, {"network_dim": ["a"]})


@pytest.fixture
def modal_app(monkeypatch: pytest.MonkeyPatch, volume: Path) -> ModuleType:
    pytest.importorskip("modal")
    monkeypatch.setenv("LORA_STUDIO_VOLUME", str(volume))
    spec = importlib.util.spec_from_file_location("modal_app", CHECKOUT / "deploy" / "modal_app.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "modal_app", module)
    spec.loader.exec_module(module)
    return module


@pytest.mark.filterwarnings("ignore:.*olume")
def test_a_sweep_brings_home_what_each_training_made(
    modal_app: ModuleType, make_config: Callable[..., TrainConfig], settings: Settings, volume: Path
) -> None:
    def train_all(orders: Sequence[Mapping[str, Any]]) -> Iterator[Any]:
        yield from (modal_app.train.local(dict(order)) for order in orders[:2])
        yield RuntimeError("The machine is gone.\nmore")
        yield {"failure": {"message": "It fell.", "hint": "Stand up."}}

    configs = sweep(make_config(), {"network_dim": ["2", "4", "6", "8"]})
    cloud, limits = LocalCloud(volume, run_order), CloudSettings(mode="local")
    outcomes = list(run_sweep(configs, cloud, train_all, settings, limits))
    assert [config for config, _ in outcomes] == configs
    assert [text.partition(":")[0] for _, text in outcomes[:2]] == ["Finished", "Finished"]
    assert [text for _, text in outcomes[2:]] == ["It broke off: The machine is gone.", "It fell. Stand up."]
    for config, _ in outcomes[:2]:
        assert find_file(Path(config.output.output_dir)).stem == config.output.output_name
    assert not Path(configs[2].output.output_dir).exists()


def test_a_sweep_whose_connection_breaks_off_brings_home_what_is_there(
    make_config: Callable[..., TrainConfig], settings: Settings, volume: Path
) -> None:
    """Two of three had come to their end by then, one of which nobody had heard of."""

    def train_all(orders: Sequence[Mapping[str, Any]]) -> Iterator[Any]:
        cloud = LocalCloud(volume, run_order)
        for order in orders[:2]:
            call = cloud.start(order, seconds=HOUR)
            until(lambda call=call: call.result() is not None)
        yield {}
        raise ConnectionError("The network is gone.\nmore")

    configs = sweep(make_config(), {"network_dim": ["2", "4", "6"]})
    cloud, limits = LocalCloud(volume, run_order), CloudSettings(mode="local")
    outcomes = [text for _, text in run_sweep(configs, cloud, train_all, settings, limits)]
    assert [text.partition(":")[0] for text in outcomes] == ["Finished", "Finished", "It broke off"]
    for config in configs[:2]:
        assert find_file(Path(config.output.output_dir)).is_file()


@pytest.mark.filterwarnings("ignore:.*olume")
def test_the_function_at_modal_runs_the_same_body_here(
    modal_app: ModuleType, make_config: Callable[..., TrainConfig], settings: Settings, volume: Path
) -> None:
    config = make_config("there")
    luggage = pack(RunRequest(config=config), "run", settings, seconds=HOUR, usd=1)
    LocalCloud(volume, run_order).upload(luggage.contents)
    assert modal_app.train.local(dict(luggage.order)) == {}
    assert '"kind": "Finished"' in (volume / log_of("run", 1)).read_text("utf-8").splitlines()[-1]
    assert find_file(volume / "runs" / "run" / "lora").is_file()
    failed = modal_app.train.local({**luggage.order, "version": 0})
    assert failed["failure"]["hint"]


def test_without_an_account_one_sentence_comes_at_once(
    modal_app: ModuleType, make_config: Callable[..., TrainConfig]
) -> None:
    import modal

    begun = time.process_time()
    with pytest.raises(ConfigError) as raised:
        ModalCloud("L4").start({"run": "run"}, seconds=60)
    assert raised.value.field == "worker"
    assert "modal setup" in raised.value.hint
    with pytest.raises(ConfigError):
        ModalCloud("L4").upload({"content/x/pictures": CHECKOUT / "README.md"})
    with pytest.raises(modal.exception.Error):
        modal_app.train.remote({"run": "run"})
    assert time.process_time() - begun < 60


@pytest.mark.parametrize("inside", ["/etc/cron.d/x", "../x", "", "a/../../x"])
def test_no_file_comes_down_outside_of_the_training(
    make_config: Callable[..., TrainConfig], volume: Path, inside: str
) -> None:
    config = make_config()
    landing = Landing(cloud=LocalCloud(volume, run_order), run="run", config_json=config.to_json())
    with pytest.raises(StudioError):
        landing.land(CheckpointSaved(step=1, path=f"/vol/runs/run/lora/{inside}"))


def test_a_batch_that_comes_before_its_file_waits_for_it(volume: Path) -> None:
    events = [event_to_json(Noted(message=str(number))) for number in range(6)]
    log = volume / log_of("run", 1)
    log.parent.mkdir(parents=True)
    cloud = LocalCloud(volume, lambda *_: {})
    cloud.start({"run": "run"}, seconds=1)
    channel = cloud._channels["run"]
    heard = Heard(cloud, "run")
    found: list[str] = []
    for first, end, written in ((0, 2, 0), (4, 6, 1), (6, 6, 6)):
        log.write_text("".join(json.dumps(event) + "\n" for event in events[:written]), "utf-8")
        channel.send({"attempt": 1, "first": first, "events": events[first:end]})
        found += [event.message for event in heard.new() if isinstance(event, Noted)]
    assert found == ["0", "1", "2", "3", "4", "5"]


def test_an_error_that_passes_is_known_again() -> None:
    failure = failure_of(DiskFull("The disk is full.", "Make room."))
    error = error_of_far_end("DiskFull", failure)
    assert isinstance(error, DiskFull)
    assert (error.message, error.hint) == ("The disk is full.", "Make room.")
    assert type(error_of_far_end("SystemExit", failure)) is StudioError
