"""A run that was broken off goes on as if it had never been: the same bits in the same file."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from lora_studio.config import TrainConfig
from lora_studio.errors import BrokenFile, ConfigError, ModelFileError
from lora_studio.events import (
    CheckpointSaved,
    Command,
    Event,
    Finished,
    Noted,
    Paused,
    PreviewSaved,
    Started,
    StateSaved,
    StepDone,
    Stopped,
)
from lora_studio.lora.file.lora_files import find_file, read_header
from lora_studio.lora.run_states import state_files
from lora_studio.trainer import train
from lora_studio.training.train_state import MARK, read_newest, read_state
from tests.support.configs import ConfigMaker
from tests.support.runs import ALL_ON, of, once, paused_at, state_folder_of, tensor_hash
from tests.support.tiny import make_pictures


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="plain", marks=pytest.mark.slow),
        pytest.param(ALL_ON, id="all-on"),
        pytest.param(
            {**ALL_ON, "cache_latents": False, "optimizer_type": "SGD", "lr_scheduler": "linear"},
            id="uncached-sgd",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            {"network_train_unet_only": True, "sample_every_n_steps": 2, "sample_prompts": ("zwx",)},
            id="previews",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_pauses_leave_no_trace_in_the_result(make_config: ConfigMaker, changes: dict) -> None:
    changes = {"max_train_steps": 7, **changes}
    whole = train(make_config("whole", **changes))
    config = make_config("paused", **changes)
    torch.rand(3)  # the caller's random numbers are no part of the run
    paused_at(config, 1)
    paused_at(config, 4, resume_from=state_folder_of(config))
    events: list[Event] = []
    result = train(config, events.append, resume_from=state_folder_of(config))
    assert result.status == "finished"
    assert of(Started, events)[0].start_step == 4
    assert [event.step for event in of(StepDone, events)] == [5, 6, 7]
    assert tensor_hash(result) == tensor_hash(whole)
    assert result.final_loss == whole.final_loss
    assert not state_folder_of(config).exists()
    assert result.seconds > 0


def test_a_stopped_run_can_be_resumed_into_its_folder(make_config: ConfigMaker) -> None:
    whole = train(make_config("whole"))
    config = make_config("stopped")
    done: list[Event] = []
    stopped = train(config, done.append, lambda: len(of(StepDone, done)) == 2)
    assert stopped.status == "stopped"
    assert isinstance(done[-1], Stopped)
    assert find_file(stopped.path)
    result = train(config, resume_from=state_folder_of(config))
    assert tensor_hash(result) == tensor_hash(whole)
    training = json.loads((Path(result.path) / "training.json").read_text())
    assert (training["result"]["status"], training["result"]["steps"]) == ("finished", 4)


def test_the_metadata_of_a_resumed_run_is_of_the_whole_run(make_config: ConfigMaker) -> None:
    config = make_config("paused")
    paused_at(config, 2)
    before, _ = read_newest(state_folder_of(config))
    metadata = read_header(train(config, resume_from=state_folder_of(config)).file).metadata
    assert metadata["ss_steps"] == "4"
    assert metadata["ss_session_id"] == str(before.session_id)


@pytest.mark.slow
def test_previews_that_the_pause_cut_off_are_made_up_for(make_config: ConfigMaker) -> None:
    config = make_config("paused", sample_every_n_steps=2, sample_prompts=("zwx",))
    first = paused_at(config, 2)
    assert [event.step for event in of(PreviewSaved, first)] == [0]
    events: list[Event] = []
    result = train(config, events.append, resume_from=state_folder_of(config))
    assert [event.step for event in of(PreviewSaved, events)] == [2, 4]
    listed = json.loads((Path(result.path) / "training.json").read_text())["result"]["previews"]
    assert [preview["step"] for preview in listed] == [0, 2, 4]


@pytest.mark.slow
def test_a_pause_before_the_first_step_begins_at_the_beginning(make_config: ConfigMaker) -> None:
    config = make_config("early")
    events: list[Event] = []
    result = train(config, events.append, commands=once(lambda: "pause"))
    assert (result.status, result.steps) == ("paused", 0)
    assert events[-1] == Paused(step=0)
    assert not state_folder_of(config).exists()
    assert tensor_hash(train(config)) == tensor_hash(train(make_config("whole")))


@pytest.mark.slow
def test_states_are_written_as_often_as_wished_and_two_are_kept(make_config: ConfigMaker) -> None:
    events: list[Event] = []
    config = make_config("often", max_train_steps=7, save_state_every_n_steps=2)
    kept: list[list[str]] = []

    def emit(event: Event) -> None:
        events.append(event)
        if isinstance(event, StateSaved):
            kept.append([path.name for path in state_files(state_folder_of(config))])

    train(config, emit)
    assert [event.step for event in of(StateSaved, events)] == [2, 4, 6]
    assert kept[-1] == ["state-00000006.pt", "state-00000004.pt"]
    config = make_config("never", save_state_every_n_steps=0)
    events.clear()
    train(config, events.append)
    assert not of(StateSaved, events)
    events.clear()
    train(make_config("clock", save_state_every_n_minutes=1e-9), events.append)
    assert [event.step for event in of(StateSaved, events)] == [1, 2, 3]


@pytest.fixture
def two_states(make_config: ConfigMaker) -> TrainConfig:
    """A run that ended in the dark at step 5, with states of steps 3 and 4."""

    class Killed(Exception):
        pass

    def emit(event: Event) -> None:
        if isinstance(event, StepDone) and event.step == 5:
            raise Killed

    config = make_config("killed", max_train_steps=6, save_state_every_n_steps=1)
    with pytest.raises(Killed):
        train(config, emit)
    assert [path.name for path in state_files(state_folder_of(config))] == [
        *("state-00000004.pt", "state-00000003.pt")
    ]
    return config


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "no mark"])
def test_a_damaged_state_gives_way_to_the_one_before(
    two_states: TrainConfig, make_config: ConfigMaker, damage: str
) -> None:
    newest = state_files(state_folder_of(two_states))[0]
    content = newest.read_bytes()
    middle = len(content) // 2
    newest.write_bytes(
        {
            "cut": content[:middle],
            "flipped": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
            "empty": b"",
            "no mark": content[10:],
        }[damage]
    )
    events: list[Event] = []
    result = train(two_states, events.append, resume_from=state_folder_of(two_states))
    assert of(Started, events)[0].start_step == 3
    assert "state-00000004.pt is damaged" in of(Noted, events)[0].message
    assert "step 3 is taken instead" in of(Noted, events)[0].message
    assert tensor_hash(result) == tensor_hash(train(make_config("whole", max_train_steps=6)))


def test_with_no_whole_state_there_is_a_sentence(two_states: TrainConfig, tmp_path: Path) -> None:
    for path in state_files(state_folder_of(two_states)):
        path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(BrokenFile, match="damaged or was cut short"):
        train(two_states, resume_from=state_folder_of(two_states))
    with pytest.raises(ModelFileError, match="There is no saved state"):
        train(two_states, resume_from=tmp_path)


@pytest.mark.slow
def test_one_state_file_can_be_named(two_states: TrainConfig) -> None:
    older = state_files(state_folder_of(two_states))[1]
    events: list[Event] = []
    train(two_states, events.append, resume_from=older)
    assert [event.step for event in of(StepDone, events)] == [4, 5, 6]


class Trap:
    def __reduce__(self) -> tuple:
        return print, ("run",)


def test_a_state_runs_no_code_when_it_is_read(tmp_path: Path) -> None:
    torch.save(Trap(), payload := io.BytesIO())
    content = payload.getvalue()
    trap = tmp_path / "state-00000009.pt"
    trap.write_bytes(MARK + hashlib.sha256(content).digest() + content)
    with pytest.raises(ModelFileError, match="another version"):
        read_state(trap)


def test_a_schedule_over_all_steps_keeps_their_number(make_config: ConfigMaker) -> None:
    config = make_config("paused", lr_scheduler="linear")
    paused_at(config, 2)
    with pytest.raises(ConfigError, match="max_train_steps was 4"):
        train(config.with_values({"max_train_steps": 6}), resume_from=state_folder_of(config))


@pytest.mark.slow
def test_a_fork_is_a_new_run_with_the_weights_of_the_state(make_config: ConfigMaker, tmp_path: Path) -> None:
    config = make_config("paused")
    paused_at(config, 2)
    data = make_pictures(tmp_path / "others", sizes=((64, 64),) * 2)
    events: list[Event] = []
    fork = make_config("fork", data=data, learning_rate=1e-9, max_train_steps=1)
    result = train(fork, events.append, resume_from=state_folder_of(config), fork=True)
    assert of(Started, events)[0].start_step == 0
    assert "begins with the weights that another one had at step 2" in of(Noted, events)[0].message
    assert [event.step for event in of(StepDone, events)] == [1]
    state, _ = read_newest(state_folder_of(config))
    tensors = load_file(result.file)
    for key, weight in state.point.lora.items():
        torch.testing.assert_close(tensors[key], weight, rtol=0, atol=1e-6)
    assert state_files(state_folder_of(config)), "the other run can still be resumed"
    with pytest.raises(ConfigError, match="another kind or size") as caught:
        train(make_config("fork-2", network_dim=8), resume_from=state_folder_of(config), fork=True)
    assert caught.value.field == "network_dim"


@pytest.mark.slow
def test_save_now_and_preview_now_take_effect_within_a_step(make_config: ConfigMaker) -> None:
    events: list[Event] = []
    waiting: list[Command] = []

    def emit(event: Event) -> None:
        events.append(event)
        if isinstance(event, StepDone) and event.step == 2:
            waiting.extend(["save", "preview"])

    config = make_config("now", save_every_n_steps=0, sample_prompts=("zwx",))
    result = train(config, emit, commands=lambda: waiting.pop(0) if waiting else None)
    assert [event.step for event in of(CheckpointSaved, events)] == [2, 4]
    previews = of(PreviewSaved, events)
    assert [event.step for event in previews] == [0, 2]
    assert Path(previews[0].path).read_bytes() != Path(previews[1].path).read_bytes()
    assert of(Finished, events)
    assert tensor_hash(result) == tensor_hash(train(make_config("whole", save_every_n_steps=0)))
    base = make_config("base", sample_every_n_steps=4, sample_prompts=("zwx",))
    train(base)
    first = Path(base.output.output_dir) / "previews" / "base-0.png"
    assert first.read_bytes() == Path(previews[0].path).read_bytes(), "drawn late, but without the LoRA"
