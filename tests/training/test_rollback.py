"""What goes wrong in the middle of a training, and how it goes on."""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from lora_studio.config import TrainConfig
from lora_studio.errors import DiskFull, Diverged
from lora_studio.events import CheckpointSaved, Event, Noted, Paused, StateSaved, StepDone
from lora_studio.lora.file.lora_files import read_header
from lora_studio.lora.run_states import state_files, state_folder
from lora_studio.trainer import train
from lora_studio.training import loop
from lora_studio.training.resuming import rollback
from lora_studio.training.train_state import read_newest, read_state
from tests.support.configs import ConfigMaker
from tests.support.runs import of, run, state_folder_of, tensor_hash, warnings

Losses = Callable[..., torch.Tensor]


@pytest.fixture
def spoil(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[int]]:
    """`spoil(steps, change, times)`: at these steps the losses go through `change`, so often in all."""

    def set_up(steps: set[int], change: Losses, times: int = 1_000) -> list[int]:
        whole, spoiled = loop.batch_losses, list[int]()

        def losses(engine, data, batch, step):  # type: ignore[no-untyped-def]
            right = whole(engine, data, batch, step)
            if step not in steps or len(spoiled) >= times:
                return right
            spoiled.append(step)
            return change(right)

        monkeypatch.setattr(loop, "batch_losses", losses)
        return spoiled

    return set_up


def nan(losses: torch.Tensor) -> torch.Tensor:
    return losses * float("nan")


def nan_gradient(losses: torch.Tensor) -> torch.Tensor:
    """A loss that is a number, with a gradient that is none."""
    return losses + torch.sqrt(losses - losses.detach())


@pytest.mark.parametrize(
    ("change", "in_memory"),
    [
        pytest.param(nan, True, id="loss, memory"),
        pytest.param(nan_gradient, False, id="gradient, disk"),
        pytest.param(nan, False, id="loss, disk", marks=pytest.mark.slow),
        pytest.param(nan_gradient, True, id="gradient, memory", marks=pytest.mark.slow),
    ],
)
def test_one_bad_step_sends_the_run_back_with_half_the_rate(
    make_config: ConfigMaker,
    spoil: Callable[..., list[int]],
    monkeypatch: pytest.MonkeyPatch,
    change: Losses,
    in_memory: bool,
) -> None:
    if not in_memory:
        monkeypatch.setattr(rollback, "MOST_BYTES", 0)
    spoil({8}, change, times=1)
    result, events = run(make_config(max_train_steps=10, save_state_every_n_steps=2))
    (said,) = warnings(events)
    back = 0 if in_memory else 4  # the older of the two states kept
    assert "fell apart at step 8" in said
    assert f"back from step 7 to step {back} and goes on at half the learning rate" in said
    steps = [(event.step, event.learning_rate) for event in of(StepDone, events)]
    assert steps == [*((n, 0.01) for n in range(1, 8)), *((n, 0.005) for n in range(back + 1, 11))]
    assert result.status == "finished"


def test_a_run_that_stays_bad_is_given_up_with_what_was_saved(
    make_config: ConfigMaker, spoil: Callable[..., list[int]]
) -> None:
    config = make_config(max_train_steps=10, save_every_n_steps=3, save_state_every_n_steps=2)
    spoiled = spoil({8}, nan)
    events: list[Event] = []
    with pytest.raises(Diverged, match="fell apart at step 8") as caught:
        train(config, events.append)
    assert len(spoiled) == 3
    assert len(warnings(events)) == 2
    rates = sorted({event.learning_rate for event in of(StepDone, events)})
    assert rates == [0.0025, 0.005, 0.01]
    assert "disc-step00000006.safetensors is kept" in caught.value.hint
    assert "picture-0" in caught.value.hint, "the pictures of that step are named"
    assert read_header(Path(config.output.output_dir) / "checkpoints" / "disc-step00000006.safetensors")
    assert not list(Path(config.output.output_dir).glob("*.safetensors"))
    assert read_newest(state_folder(config.output.output_dir))[0].point.step == 6


def test_half_the_rate_survives_a_resume(make_config: ConfigMaker, spoil: Callable[..., list[int]]) -> None:
    """Along a falling schedule, too; and the result is that of the run without a break."""
    changes = {"max_train_steps": 8, "lr_scheduler": "linear"}
    spoil({3}, nan, times=1)
    whole, expected = run(make_config("whole", **changes))
    spoil({3}, nan, times=1)
    config = make_config("paused", **changes)
    asked: list[str] = []
    first: list[Event] = []

    def pause() -> str | None:
        if not asked and [event.step for event in of(StepDone, first)][-1:] == [5]:
            asked.append("pause")
            return "pause"
        return None

    train(config, first.append, commands=pause)  # type: ignore[arg-type]
    result, rest = run(config, resume_from=state_folder(config.output.output_dir))
    rates = [event.learning_rate for event in of(StepDone, expected)]
    assert rates[2:] == pytest.approx([0.005 * (8 - n) / 8 for n in range(8)])
    assert [event.learning_rate for event in of(StepDone, rest)] == rates[-3:]
    assert tensor_hash(result) == tensor_hash(whole)


def test_a_loss_that_jumps_sends_the_run_back(
    make_config: ConfigMaker, spoil: Callable[..., list[int]]
) -> None:
    spoil({45}, lambda losses: losses * 1000, times=1)
    result, events = run(make_config(max_train_steps=48, save_every_n_steps=0, learning_rate=1e-4))
    (said,) = warnings(events)
    assert "The loss jumped to" in said
    assert "back from step 45 to step 40" in said
    steps = [event.step for event in of(StepDone, events)]
    assert steps == [*range(1, 45), *range(41, 49)], "the bad step itself is not told"
    assert result.status == "finished"


def test_a_state_of_the_way_that_was_left_is_forgotten(
    make_config: ConfigMaker, spoil: Callable[..., list[int]]
) -> None:
    config = make_config(max_train_steps=10, save_state_every_n_steps=1)
    spoil({8}, nan, times=1)
    found: list[list[int]] = []

    def emit(event: Event) -> None:
        if isinstance(event, Noted):
            found.append([read_state(path).point.step for path in state_files(state_folder_of(config))])

    train(config, emit)
    assert found == [[]]  # back at step 0, before all of them


# --- disk


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """`full_disk(n)`: from the n-th file on, nothing can be written down any more."""
    whole, written = os.fsync, list[int]()

    def after(count: int) -> None:
        written.clear()

        def fsync(handle: int) -> None:
            written.append(handle)
            if len(written) >= count:
                raise OSError(errno.ENOSPC, "No space left on device")
            whole(handle)

        monkeypatch.setattr(os, "fsync", fsync)

    return after


def test_a_full_disk_pauses_the_run_and_it_goes_on_when_there_is_room(
    make_config: ConfigMaker, full_disk: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = {"max_train_steps": 6, "save_every_n_steps": 2, "save_state_every_n_steps": 1}
    whole, _ = run(make_config("whole", **changes))
    config = make_config("full", **changes)
    events: list[Event] = []
    full_disk(6)  # two states and a checkpoint, then another two
    assert train(config, events.append).status == "paused"
    assert isinstance(paused := events[-1], Paused)
    assert "can't be written: No space left on device" in paused.message
    assert "Make room" in paused.hint
    monkeypatch.undo()
    _assert_whole(config, events)
    result, _ = run(config, resume_from=state_folder_of(config))
    assert tensor_hash(result) == tensor_hash(whole)


def _assert_whole(config: TrainConfig, events: list[Event]) -> None:
    """What was said to be there is there, whole, and nothing else."""
    saved = [Path(event.path) for event in of(CheckpointSaved, events)]
    states = [Path(event.path) for event in of(StateSaved, events)][-2:]
    assert saved
    assert states
    for path in saved:
        read_header(path)
    for path in states:
        read_state(path)
    folder = Path(config.output.output_dir)
    assert {path for path in folder.rglob("*") if path.is_file()} == {*saved, *states}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of four megabytes."""
    place = tmp_path / "small"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)]
    if (
        os.name != "posix"
        or os.geteuid() != 0
        or subprocess.run(command, capture_output=True, check=False).returncode
    ):
        pytest.skip("only root can make a small file system")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.slow
def test_a_disk_that_fills_up_pauses_the_run(
    make_config: ConfigMaker, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LORA_STUDIO_KEEP_FREE_GB", "0")
    changes = {"max_train_steps": 8, "save_every_n_steps": 4, "save_state_every_n_steps": 1}
    config = make_config(**changes).with_values({"output_dir": str(small_disk / "disc")})
    whole, _ = run(make_config("whole", **changes))
    file = Path(whole.file).stat().st_size
    events: list[Event] = []

    def fill(event: Event) -> None:
        events.append(event)
        if isinstance(event, StepDone) and event.step == 3:
            left = shutil.disk_usage(small_disk).free
            (small_disk / "filler").write_bytes(b"x" * (left - 2 * file - 60_000))

    result = train(config, fill)
    assert (result.status, result.steps) == ("paused", 3)
    assert isinstance(paused := events[-1], Paused)
    assert re.search(r"has .* left, and to go on from step 3 the training needs .* more", paused.message)
    (small_disk / "filler").unlink()
    result, _ = run(config, resume_from=state_folder_of(config))
    assert tensor_hash(result) == tensor_hash(whole)


def test_what_is_kept_free_is_not_touched(make_config: ConfigMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = {"max_train_steps": 6, "save_every_n_steps": 0, "save_state_every_n_steps": 1}
    whole, _ = run(make_config("whole", **changes))
    config = make_config("short", **changes)
    events: list[Event] = []

    def fill(event: Event) -> None:
        events.append(event)
        if isinstance(event, StepDone) and event.step == 2:
            monkeypatch.setenv("LORA_STUDIO_KEEP_FREE_GB", "900000")

    result = train(config, fill)
    assert (result.status, result.steps) == ("paused", 2)
    assert isinstance(paused := events[-1], Paused)
    assert "from step 2 the training needs " in paused.message
    with pytest.raises(DiskFull, match="This training would take"):
        run(make_config("refused", **changes))
    assert not Path(make_config("refused").output.output_dir).exists()
    monkeypatch.delenv("LORA_STUDIO_KEEP_FREE_GB")
    result, _ = run(config, resume_from=state_folder_of(config))
    assert tensor_hash(result) == tensor_hash(whole)
