"""Trainings on rented machines, rehearsed on this one: the far end's real body, a folder for the volume."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from lora_studio.catalog import EMBEDDED
from lora_studio.config import TrainConfig
from lora_studio.config_groups import RunGroup
from lora_studio.data.edits.overlay import apply_edits
from lora_studio.data.edits.picture_edits import RemovePicture
from lora_studio.errors import ConfigError, DatasetError, StudioError
from lora_studio.events import (
    CheckpointSaved,
    Event,
    Finished,
    Noted,
    Paused,
    Started,
    StateSaved,
    StepDone,
    Stopped,
)
from lora_studio.jobs.cloud import cloud_run, cloud_worker
from lora_studio.jobs.cloud.cloud_run import Attempt, Channel, folder_of, log_of, run_order
from lora_studio.jobs.cloud.cloud_settings import RATES, CloudSettings
from lora_studio.jobs.cloud.cloud_worker import CloudUnreachable, CloudWorker
from lora_studio.jobs.cloud.local_cloud import LocalCloud
from lora_studio.jobs.cloud.luggage import content_hash, pack
from lora_studio.jobs.modal_worker import ModalWorker
from lora_studio.lora.run_states import state_files, state_folder
from lora_studio.settings import Settings
from lora_studio.trainer import train
from lora_studio.training_request import RunRequest
from tests.support.runs import assert_same_tensors, tensors_of
from tests.support.tiny import make_pictures, tiny_values

HOUR = 3600.0


@pytest.fixture(autouse=True)
def _on_the_cpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    monkeypatch.setattr(cloud_run, "LISTEN_SECONDS", 0.05)
    monkeypatch.setattr(cloud_run, "SEND_SECONDS", 0.05)
    monkeypatch.setattr(cloud_worker, "LOOK_SECONDS", 0.02)
    monkeypatch.setenv("MODAL_CONFIG_PATH", str(tmp_path / "no account"))


@pytest.fixture
def make_config(tiny_base: Path, tmp_path: Path, settings: Settings) -> Callable[..., TrainConfig]:
    pictures = make_pictures(tmp_path / "pictures")

    def make(name: str = "disc", **changes: Any) -> TrainConfig:
        changes = {"save_every_n_steps": 0, "worker": "modal", **changes}
        return TrainConfig.from_values(tiny_values(tiny_base, pictures, settings.loras / name, **changes))

    return make


@pytest.fixture
def volume(settings: Settings) -> Path:
    return settings.home / "modal"


def go(
    config: TrainConfig, settings: Settings, cloud: LocalCloud, *, usd: float = 5.0, **how: Any
) -> list[Event]:
    events: list[Event] = []
    limits = CloudSettings(mode="local", max_usd=usd)
    request = RunRequest(config=config, **how)
    CloudWorker(cloud, settings, limits).run(request, events.append, lambda: False)
    return events


def of(kind: type, events: list[Event]) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


def assert_same_file(one: TrainConfig, other: TrainConfig) -> None:
    assert_same_tensors(tensors_of(one), tensors_of(other))


class Altered:
    """A channel with some of its methods exchanged."""

    def __init__(self, channel: Channel, **methods: Any) -> None:
        self._channel = channel
        vars(self).update(methods)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._channel, name)


def test_what_was_sent_once_is_not_sent_again(
    make_config: Callable[..., TrainConfig], settings: Settings, volume: Path
) -> None:
    class Counting(LocalCloud):
        sent: list[int]

        def upload(self, contents: Mapping[str, Path]) -> int:
            self.sent = [*getattr(self, "sent", []), super().upload(contents)]
            return self.sent[-1]

    cloud = Counting(volume, run_order)
    first = go(make_config("one"), settings, cloud)
    there = sorted(path for path in (volume / "content").rglob("*") if path.is_file())
    go(make_config("two"), settings, cloud)
    assert cloud.sent == [2, 0]  # the pictures and the base; nothing
    assert sorted(path for path in (volume / "content").rglob("*") if path.is_file()) == there
    assert isinstance(first[-1], Finished)
    assert not list((volume / "runs").iterdir())  # all is here now


def test_the_file_is_the_one_of_a_training_here(
    make_config: Callable[..., TrainConfig], settings: Settings, volume: Path
) -> None:
    # A slow machine would save a state in between.
    changes = {"sample_every_n_steps": 2, "save_state_every_n_minutes": 1000}
    there, here = make_config("there", **changes), make_config("here", **changes)
    events = go(there, settings, LocalCloud(volume, run_order))
    heard: list[Event] = []
    train(here, heard.append)
    assert [type(event) for event in events if not isinstance(event, Noted)] == [
        type(event) for event in heard if not isinstance(event, Noted)
    ]
    assert_same_file(there, here)
    folders = [Path(config.output.output_dir) for config in (there, here)]
    ours, theirs = ({path.relative_to(folder) for path in folder.rglob("*.*")} for folder in folders)
    assert {path.as_posix().replace("there", "here") for path in ours} == {path.as_posix() for path in theirs}
    assert str(volume) not in (folders[0] / "training.json").read_text("utf-8")
    assert TrainConfig.from_json(of_json(folders[0] / "training.json")["config"]) == there


def of_json(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text("utf-8")))


def test_a_changed_picture_is_another_content(tmp_path: Path) -> None:
    pictures = make_pictures(tmp_path / "pictures")
    before = content_hash(pictures)
    (pictures / ".hidden").write_text("x", "utf-8")
    assert content_hash(pictures) == before
    (pictures / "picture-00.txt").write_text("another caption", "utf-8")
    assert content_hash(pictures) != before


class MachineTaken(BaseException):
    """What ends a run as if the machine were gone: nothing of it is caught."""


def test_a_run_whose_machine_was_taken_away_goes_on_from_its_last_state(
    make_config: Callable[..., TrainConfig], settings: Settings, volume: Path
) -> None:
    """The function is called again with the same order."""
    config = make_config("taken", max_train_steps=12, save_state_every_n_steps=4)

    def body(order: Mapping[str, Any], folder: Path, channel: Channel) -> Mapping[str, Any]:
        kept = [0]

        def keep() -> None:  # for the states of the steps 4 and 8, and then for nothing any more
            kept[0] += 1
            if kept[0] >= 2:
                raise MachineTaken

        with pytest.raises(MachineTaken):
            run_order(order, folder, Altered(channel, keep=keep))
        return run_order(order, folder, channel)

    events = go(config, settings, LocalCloud(volume, body))
    assert [event.start_step for event in of(Started, events)] == [0, 8]
    assert [event.step for event in of(StepDone, events)] == [*range(1, 13)]
    assert isinstance(events[-1], Finished)
    whole = make_config("whole", max_train_steps=12)
    train(whole)
    assert_same_file(config, whole)
    assert not state_files(state_folder(config.output.output_dir))


def test_the_most_it_may_cost_saves_and_stops_and_more_money_goes_on(
    make_config: Callable[..., TrainConfig],
    settings: Settings,
    volume: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By a clock on which the first step of an attempt takes an hour; the next test has the real one."""

    def spent(attempt: Attempt) -> float:
        log = attempt.folder / "events.jsonl"
        return attempt.earlier + HOUR * (log.is_file() and "StepDone" in log.read_text("utf-8"))

    monkeypatch.setattr(Attempt, "spent", property(spent))
    config = make_config("dear", max_train_steps=12)
    cloud = LocalCloud(volume, run_order)
    seconds = 1.0
    few = CloudSettings().usd_per_hour * seconds / HOUR
    events = go(config, settings, cloud, usd=few)
    last = events[-1]
    assert isinstance(last, Stopped)
    assert 0 < last.step < 12
    assert any(
        note.level == "warning" and "LORA_STUDIO_MODAL_MAX_USD" in note.message for note in of(Noted, events)
    )
    assert tensors_of(config)
    states = state_folder(config.output.output_dir)
    assert state_files(states)
    rest = go(config, settings, cloud, resume_from=states)
    assert of(Started, rest)[0].start_step == last.step
    assert isinstance(rest[-1], Finished)
    whole = make_config("whole", max_train_steps=12)
    train(whole)
    assert_same_file(config, whole)


def test_what_a_run_costs_is_noted_while_it_makes_no_files(
    make_config: Callable[..., TrainConfig],
    settings: Settings,
    volume: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """So that a machine that is taken away in the middle counts for the next attempt."""
    monkeypatch.setattr(cloud_run, "KEEP_SECONDS", 0.01)
    noted: list[float] = []
    attempts: list[Attempt] = []

    def body(order: Mapping[str, Any], folder: Path, channel: Channel) -> Mapping[str, Any]:
        spent = folder / folder_of(order["run"]) / "spent.json"
        log = folder / log_of(order["run"], 1)

        def keep() -> None:
            if not any(kind in log.read_text("utf-8") for kind in ("StateSaved", "CheckpointSaved")):
                noted.append(of_json(spent)["seconds"])

        result = run_order(order, folder, Altered(channel, keep=keep))
        attempts.append(Attempt(run=order["run"], volume=folder, seconds=HOUR))
        return result

    config = make_config("slow", max_train_steps=60, save_state_every_n_steps=60)
    go(config, settings, LocalCloud(volume, body))
    assert len(noted) >= 3
    assert noted == sorted(noted)
    assert noted[0] < noted[-1]
    assert attempts[0].number == 2
    assert attempts[0].earlier >= noted[-1]


def test_nothing_is_lost_or_told_twice_over_a_bad_connection(
    make_config: Callable[..., TrainConfig], settings: Settings, volume: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def body(order: Mapping[str, Any], folder: Path, channel: Channel) -> Mapping[str, Any]:
        count = [0]

        def send(batch: Mapping[str, Any]) -> None:
            count[0] += 1
            if count[0] % 2:
                raise OSError("no connection")
            channel.send(batch)

        return run_order(order, folder, Altered(channel, send=send))

    class Shaky(LocalCloud):
        fetched = 0

        def fetch(self, place: str, target: Path) -> None:
            self.fetched += 1
            if self.fetched % 3 == 0:
                raise CloudUnreachable("No connection.")
            super().fetch(place, target)

    monkeypatch.setattr(cloud_worker, "RETRY_SECONDS", 0.01)
    config = make_config("lossy", max_train_steps=10, save_every_n_steps=1)
    events = go(config, settings, Shaky(volume, body))
    assert [event.step for event in of(StepDone, events)] == [*range(1, 11)]
    assert [event.step for event in of(CheckpointSaved, events)] == [*range(1, 11)]
    assert all(Path(event.path).is_file() for event in of(CheckpointSaved, events))
    assert isinstance(events[-1], Finished)


def test_a_run_that_nobody_listens_to_pauses(
    make_config: Callable[..., TrainConfig], settings: Settings, volume: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cloud_run, "SILENCE_SECONDS", 0.2)

    def body(order: Mapping[str, Any], folder: Path, channel: Channel) -> Mapping[str, Any]:
        def listen() -> tuple[tuple[str, ...], float]:
            begun = "StepDone" in (folder / log_of(order["run"], 1)).read_text("utf-8")
            return (), 0.0 if begun else time.monotonic()

        return run_order(order, folder, Altered(channel, listen=listen))

    events = go(make_config("alone", max_train_steps=2000), settings, LocalCloud(volume, body))
    assert isinstance(events[-1], Paused)
    assert of(StateSaved, events)
    assert Path(of(StateSaved, events)[-1].path).is_file()


def test_files_that_cannot_travel_are_named_before_anything_is_paid(
    make_config: Callable[..., TrainConfig], settings: Settings, tmp_path: Path
) -> None:
    def packed(**changes: Any) -> None:
        pack(RunRequest(config=make_config(**changes)), "run", settings, seconds=1, usd=1)

    with pytest.raises(ConfigError) as raised:
        packed(network_weights=str(tmp_path / "some.safetensors"))
    assert raised.value.field == "network_weights"
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError):
        packed(train_data_dir=str(tmp_path / "empty"))
    dogs = make_pictures(tmp_path / "set" / "10_dog")
    apply_edits(dogs.parent, [RemovePicture("10_dog/picture-00.png")])
    with pytest.raises(ConfigError, match="The edits of 10_dog lie above it") as raised:
        packed(train_data_dir=str(dogs))
    assert raised.value.field == "train_data_dir"


@pytest.mark.parametrize("base", [base.name for base in EMBEDDED])
def test_an_embedded_base_is_there_already(
    make_config: Callable[..., TrainConfig], settings: Settings, base: str
) -> None:
    config = make_config(pretrained_model_name_or_path=base)
    luggage = pack(RunRequest(config=config), "run", settings, seconds=1, usd=1)
    assert list(luggage.order["places"]) == ["train_data_dir"]


def test_limits_are_read_from_the_environment() -> None:
    read = CloudSettings.from_environment
    assert read({}) == CloudSettings(mode="", gpu="L4", max_usd=5.0)
    given = read(
        {"LORA_STUDIO_MODAL": "1", "LORA_STUDIO_MODAL_GPU": "h100", "LORA_STUDIO_MODAL_MAX_USD": "2.5"}
    )
    assert given == CloudSettings(mode="modal", gpu="H100", max_usd=2.5)
    assert given.seconds == pytest.approx(2.5 / given.usd_per_hour * HOUR)
    assert given.usd_per_hour > RATES["H100"]
    for name, value in (
        ("", "maybe"),
        ("_GPU", "H1"),
        ("_MAX_USD", "-1"),
        ("_MAX_USD", "nan"),
        ("_MAX_USD", "x"),
    ):
        with pytest.raises(ConfigError) as raised:
            read({f"LORA_STUDIO_MODAL{name}": value})
        assert raised.value.field == f"LORA_STUDIO_MODAL{name}"


def test_nothing_is_sent_where_the_owner_has_not_allowed_it(
    make_config: Callable[..., TrainConfig], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LORA_STUDIO_MODAL", raising=False)
    with pytest.raises(ConfigError) as raised:
        ModalWorker(settings).run(RunRequest(config=make_config()), lambda event: None, lambda: False)
    assert raised.value.field == "worker"


@pytest.mark.parametrize("changes", [{"num_processes": 2}, {"engine": "sd-scripts"}])
def test_settings_that_modal_has_no_place_for_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="modal"):
        RunGroup(worker="modal", **changes)


def test_a_body_that_breaks_off_is_an_error(
    make_config: Callable[..., TrainConfig], settings: Settings, volume: Path
) -> None:
    def body(order: Mapping[str, Any], folder: Path, channel: Channel) -> Mapping[str, Any]:
        return {"failure": {"message": "It fell.", "hint": "Stand up.", "trace": "at line 1"}}

    with pytest.raises(StudioError) as raised:
        go(make_config(), settings, LocalCloud(volume, body))
    assert (raised.value.message, raised.value.hint) == ("It fell.", "Stand up.")
    with pytest.raises(StudioError):
        go(make_config("other"), settings, LocalCloud(volume, lambda *_: {}))
