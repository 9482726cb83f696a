"""Two processes that train together, on the CPU over gloo, against one that does the same work alone."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest
import torch

from lora_studio.config import TrainConfig
from lora_studio.errors import DatasetError, StudioError
from lora_studio.events import CheckpointSaved, Event, Finished, Noted, Started, StateSaved, StepDone, Stopped
from lora_studio.jobs.processes import ProcessWorker
from lora_studio.jobs.processes.process_worker import FAR_END, far_ends
from lora_studio.lora.file.lora_files import find_file, read_header
from lora_studio.lora.run_states import newest_step, state_files, state_folder
from lora_studio.runtime import DeviceLease
from lora_studio.settings import Settings
from lora_studio.trainer import train
from lora_studio.training_request import RunRequest
from tests.support.runs import tensors_of
from tests.support.waiting import until

DIFFERENT = {
    *("ss_training_started_at", "ss_training_finished_at", "ss_session_id", "ss_output_name"),
    *("sshs_model_hash", "sshs_legacy_hash", "modelspec.hash_sha256", "modelspec.date", "modelspec.title"),
}
"""Metadata that no two runs share."""


@pytest.fixture(autouse=True)
def _on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    monkeypatch.setattr("os.cpu_count", lambda: 2)


def alone(config: TrainConfig) -> list[Event]:
    events: list[Event] = []
    train(config, events.append)
    return events


def together(config: TrainConfig, settings: Settings, folder: Path) -> list[Event]:
    events: list[Event] = []
    worker = ProcessWorker(settings, DeviceLease())
    worker.run(RunRequest(config=config, folder=folder), events.append, lambda: False)
    return events


def kinds(events: list[Event]) -> list[str]:
    """Without the progress of encoding, which one process on a CPU does between the steps, and of looking at
    what was learned of each picture, for which a slow machine takes the time that a quick one has not."""
    told = [event for event in events if not isinstance(event, Noted)]
    told = [event for event in told if getattr(event, "note", "") != "pictures"]
    return [type(event).__name__ for event in told if getattr(event, "phase", "") != "cache"]


def files_of(config: TrainConfig) -> list[str]:
    folder, name = Path(config.output.output_dir), config.output.output_name
    paths = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(path.replace(name, "NAME") for path in paths)


def metadata_of(config: TrainConfig) -> dict[str, str]:
    metadata = read_header(find_file(Path(config.output.output_dir))).metadata
    return {key: value for key, value in metadata.items() if key not in DIFFERENT}


@pytest.mark.slow  # tests/training/test_two_ranks.py has two at each change
def test_two_processes_are_one_that_accumulates_to_the_bit(
    make_config: Callable[..., TrainConfig], settings: Settings, tmp_path: Path
) -> None:
    """With all that is drawn by chance, an odd number of pictures in the last step, previews, checkpoints and
    validation, which rank 0 alone does. That one that accumulates learns what it learns from batches is among
    the invariants."""
    changes = {
        **{"network_dropout": 0.3, "shuffle_caption": True, "caption_dropout_rate": 0.3, "flip_aug": True},
        **{"noise_offset": 0.05, "lr_scheduler": "cosine", "num_repeats": 3, "validation_split": 0.25},
        **{"max_train_steps": 8, "sample_every_n_steps": 4, "save_every_n_steps": 3},
        "save_state_every_n_minutes": 1000,  # a slow machine would save one in between
    }
    one = make_config("one", **changes, gradient_accumulation_steps=2)
    two = make_config("two", **changes, num_processes=2)
    said = alone(one)
    shutil.rmtree(settings.cache / "base-previews")  # so that the second one draws them, too
    heard = together(two, settings, tmp_path / "job")
    assert kinds(heard) == kinds(said)
    assert [(event.loss, event.learning_rate) for event in heard if isinstance(event, StepDone)] == [
        (event.loss, event.learning_rate) for event in said if isinstance(event, StepDone)
    ]
    saved = [event.step for event in heard if isinstance(event, CheckpointSaved)]
    assert saved == [3, 6, 8]
    ours, theirs = tensors_of(two), tensors_of(one)
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    assert ours.keys() == theirs.keys()
    assert files_of(two) == files_of(one)
    told = metadata_of(two)
    assert told.keys() == metadata_of(one).keys()
    different = {key for key, value in metadata_of(one).items() if told[key] != value}
    batches = {"ss_gradient_accumulation_steps", "ss_total_batch_size", "ss_num_batches_per_epoch"}
    assert different <= {*batches, "ss_config", "ss_datasets"}
    assert told["ss_total_batch_size"] == "2"
    assert (
        json.loads((Path(two.output.output_dir) / "training.json").read_text("utf-8"))["result"]["steps"] == 8
    )


@pytest.mark.slow
@pytest.mark.parametrize("rank", ["0", "1"])
def test_when_one_process_dies_the_others_end_and_the_training_goes_on_later(
    make_config: Callable[..., TrainConfig], settings: Settings, tmp_path: Path, rank: str
) -> None:
    config = make_config("two", num_processes=2, max_train_steps=300, save_state_every_n_steps=4)
    worker, events = ProcessWorker(settings, DeviceLease(), grace_seconds=2.0), list[Event]()

    def hear(event: Event) -> None:
        events.append(event)
        if isinstance(event, StateSaved) and event.step == 4:
            for child in psutil.Process().children(recursive=True):
                if FAR_END in child.cmdline() and child.environ().get("RANK") == rank:
                    child.kill()

    with pytest.raises(StudioError) as raised:
        worker.run(RunRequest(config=config, folder=tmp_path / "job"), hear, lambda: False)
    assert raised.value.message
    assert not any(isinstance(event, Finished | Stopped) for event in events)
    until(lambda: not far_ends(tmp_path / "job" / "process"))

    states = state_folder(config.output.output_dir)
    step, stop = newest_step(states), threading.Event()
    assert step >= 4
    if rank == "0":  # what is left is the same
        return

    def stop_soon(event: Event) -> None:
        events.append(event)
        if isinstance(event, StepDone):
            stop.set()

    events.clear()
    request = RunRequest(config=config, folder=tmp_path / "job", resume_from=states)
    worker.run(request, stop_soon, stop.is_set)
    assert [event.start_step for event in events if isinstance(event, Started)] == [step]
    assert isinstance(events[-1], Stopped)
    assert read_header(find_file(Path(config.output.output_dir))).family
    assert state_files(states)


@pytest.mark.slow
def test_an_error_in_all_processes_is_told_once(
    make_config: Callable[..., TrainConfig], settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    config = make_config("two", num_processes=2, train_data_dir=str(tmp_path / "empty"))
    with pytest.raises(StudioError) as raised:
        together(config, settings, tmp_path / "job")
    with pytest.raises(DatasetError) as expected:
        train(config)
    assert (raised.value.message, raised.value.hint) == (expected.value.message, expected.value.hint)
    assert raised.value.hint
