"""What goes wrong in the middle of a training, and how it goes on."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from lora_studio.config import TrainConfig
from lora_studio.errors import Diverged, OutOfMemory, StudioError
from lora_studio.events import CheckpointSaved, Event, Noted, StateSaved, StepDone
from lora_studio.lora.files import find_file, read_header
from lora_studio.trainer import TrainResult, train
from lora_studio.training import guard, loop, memory
from lora_studio.training.state import read_newest, read_state
from lora_studio.training.state_files import state_files, state_folder
from tests.training.conftest import ConfigMaker

Losses = Callable[..., torch.Tensor]


def run(config: TrainConfig, **how: object) -> tuple[TrainResult, list[Event]]:
    events: list[Event] = []
    return train(config, events.append, **how), events  # type: ignore[arg-type]


def of(kind: type, events: list[Event]) -> list:
    return [event for event in events if isinstance(event, kind)]


def warnings(events: list[Event]) -> list[str]:
    return [event.message for event in of(Noted, events) if event.level == "warning"]


def tensor_hash(result: TrainResult) -> str:
    return read_header(find_file(result.path)).tensor_hash


@pytest.fixture
def spoil(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[int]]:
    """`spoil(steps, change, times)`: at these steps the losses go through `change`, so often in all."""

    def set_up(steps: set[int], change: Losses, times: int = 1_000) -> list[int]:
        whole, spoiled = loop._batch_losses, list[int]()

        def losses(engine, data, batch, step):  # type: ignore[no-untyped-def]
            right = whole(engine, data, batch, step)
            if step not in steps or len(spoiled) >= times:
                return right
            spoiled.append(step)
            return change(right)

        monkeypatch.setattr(loop, "_batch_losses", losses)
        return spoiled

    return set_up


def nan(losses: torch.Tensor) -> torch.Tensor:
    return losses * float("nan")


def nan_gradient(losses: torch.Tensor) -> torch.Tensor:
    """A loss that is a number, with a gradient that is none."""
    return losses + torch.sqrt(losses - losses.detach())


@pytest.mark.parametrize("change", [nan, nan_gradient], ids=["loss", "gradient"])
@pytest.mark.parametrize("in_memory", [True, False], ids=["memory", "disk"])
def test_one_bad_step_sends_the_run_back_with_half_the_rate(
    make_config: ConfigMaker,
    spoil: Callable[..., list[int]],
    monkeypatch: pytest.MonkeyPatch,
    change: Losses,
    in_memory: bool,
) -> None:
    if not in_memory:
        monkeypatch.setattr(guard, "MOST_BYTES", 0)
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
    result, events = run(make_config(max_train_steps=48, sample_every_n_steps=0, learning_rate=1e-4))
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


def state_folder_of(config: TrainConfig) -> Path:
    return state_folder(config.output.output_dir)


# --- memory


@pytest.fixture
def run_out(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[int]]:
    """`run_out(while_true)`: the denoiser runs out of memory as long as that holds of (engine's loop)."""
    from lora_studio.families import sd

    def set_up(times: int, at_call: int = 1, widest: int = 1_000) -> list[int]:
        predict, calls, failed = sd.StableDiffusion.predict, list[int](), list[int]()

        def fail(self, parts, noisy, *rest, **more):  # type: ignore[no-untyped-def]
            calls.append(len(noisy))
            if (len(calls) >= at_call and len(failed) < times) or len(noisy) > widest:
                failed.append(len(noisy))
                raise torch.OutOfMemoryError("CUDA out of memory")
            return predict(self, parts, noisy, *rest, **more)

        monkeypatch.setattr(sd.StableDiffusion, "predict", fail)
        return failed

    return set_up


def test_the_ladder_is_climbed_rung_by_rung(
    make_config: ConfigMaker, run_out: Callable[..., list[int]]
) -> None:
    changes = {"max_train_steps": 3, "train_batch_size": 4}
    calm, _ = run(make_config("calm", **changes))
    run_out(times=4, at_call=2)
    result, events = run(make_config("tight", cache_latents=False, **changes, save_every_n_steps=0))
    said = warnings(events)
    assert len(said) == 4
    rungs = ("encoded once and kept", "Gradient checkpointing", "2 pictures at a time", "1 picture at a time")
    for note, words in zip(said, rungs, strict=True):
        assert "memory was not enough for step 2" in note
        assert words in note
    assert "1.5 times as long" in said[1]
    assert [event.step for event in of(StepDone, events)] == [1, 2, 3]
    assert result.status == "finished"
    assert_nearly_equal(calm, result)


def assert_nearly_equal(one: TrainResult, other: TrainResult) -> None:
    """The same batch mathematically, added up in another order."""
    from safetensors.torch import load_file

    first, second = load_file(one.file), load_file(other.file)
    for key, tensor in first.items():
        torch.testing.assert_close(tensor, second[key], rtol=0, atol=2e-3)


def test_a_smaller_batch_is_the_same_batch(make_config: ConfigMaker) -> None:
    """Also where the pictures of a bucket do not fill it: no step sees other pictures."""
    from tests.invariant.test_engine import data_for, engine_for

    seen: dict[int | None, list[torch.Tensor]] = {}
    for at_once in (None, 2, 1):
        engine = engine_for(make_config("batch", train_batch_size=3))
        optimizer = torch.optim.SGD(engine.parameter_groups(), lr=0.1)
        steps = loop.Loop(
            engine=engine,
            data=data_for(engine),
            optimizer=optimizer,
            schedule=torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: 1.0),
            at_once=at_once,
        )
        engine.train_mode(True)
        losses = [steps.advance().loss for _ in range(3)]
        seen[at_once] = [torch.tensor(losses), *engine.lora.state().values()]
    for at_once in (2, 1):
        for one, other in zip(seen[None], seen[at_once], strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_a_resumed_run_needs_as_little_memory_as_before(
    make_config: ConfigMaker, run_out: Callable[..., list[int]]
) -> None:
    config = make_config("tight", max_train_steps=4, train_batch_size=4)
    run_out(times=0, widest=1)  # three rungs: checkpointing, 2 at a time, 1 at a time
    whole, _ = run(make_config("whole", max_train_steps=4, train_batch_size=4))
    first: list[Event] = []
    train(config, first.append, lambda: len(of(StepDone, first)) == 2)
    assert len(warnings(first)) == 3
    result, events = run(config, resume_from=state_folder_of(config))
    assert warnings(events) == []
    assert [event.step for event in of(StepDone, events)] == [3, 4]
    assert tensor_hash(result) == tensor_hash(whole)


def test_memory_that_runs_out_while_weights_move_does_no_damage(
    make_config: ConfigMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    calm, _ = run(make_config("calm", gradient_checkpointing=True))
    step, failed = torch.optim.AdamW.step, list[bool]()

    def half_a_step(self, *rest):  # type: ignore[no-untyped-def]
        result = step(self, *rest)
        if not failed and self.param_groups[0]["params"][0] in self.state:
            failed.append(True)
            raise torch.OutOfMemoryError("CUDA out of memory")
        return result

    monkeypatch.setattr(torch.optim.AdamW, "step", half_a_step)
    result, events = run(make_config("tight"))
    assert len(warnings(events)) == 1
    assert failed
    assert tensor_hash(result) == tensor_hash(calm)


def test_at_the_end_of_the_ladder_the_run_ends_with_a_sentence(
    make_config: ConfigMaker, run_out: Callable[..., list[int]]
) -> None:
    run_out(times=1_000)
    events: list[Event] = []
    with pytest.raises(OutOfMemory, match="memory was not enough for training") as caught:
        train(make_config(train_batch_size=2), events.append)
    assert [note.split(". ")[1][:12] for note in warnings(events)] == ["Gradient che", "Batches are "]
    assert "resolution" in caught.value.hint


def test_previews_without_memory_are_left_out(
    make_config: ConfigMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lora_studio.training.preview import Previews

    save = Previews.save

    def fail(self: Previews, step: int) -> None:
        if step == 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        save(self, step)

    monkeypatch.setattr(Previews, "save", fail)
    result, events = run(make_config(sample_every_n_steps=2, sample_prompts=("zwx",)))
    assert "Those of step 2 are left out" in warnings(events)[0]
    assert result.status == "finished"


def test_another_optimizer_takes_over_at_the_same_rates(make_config: ConfigMaker) -> None:
    from lora_studio.training.optim import build_optimizer
    from lora_studio.training.schedules import build_schedule
    from tests.invariant.test_engine import data_for, engine_for

    config = make_config(lr_scheduler="linear")
    engine = engine_for(config)
    optimizer = build_optimizer(config.optimizer, engine.parameter_groups())
    schedule = build_schedule(config.optimizer, optimizer)
    steps = loop.Loop(engine=engine, data=data_for(engine), optimizer=optimizer, schedule=schedule)
    engine.train_mode(True)
    steps.advance()
    memory.exchange_optimizer(steps, "SGD")
    assert type(steps.optimizer) is torch.optim.SGD
    rates = [steps.advance().learning_rate for _ in range(3)]
    assert rates == pytest.approx([0.0075, 0.005, 0.0025])


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


def test_a_full_disk_ends_the_run_and_it_goes_on_when_there_is_room(
    make_config: ConfigMaker, full_disk: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = {"max_train_steps": 6, "save_every_n_steps": 2, "save_state_every_n_steps": 1}
    whole, _ = run(make_config("whole", **changes))
    config = make_config("full", **changes)
    events: list[Event] = []
    full_disk(6)  # two states and a checkpoint, then another two
    with pytest.raises(StudioError, match="can't be written: no space left on device") as caught:
        train(config, events.append)
    assert "Make room" in caught.value.hint
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
    """A real file system of one megabyte."""
    place = tmp_path / "small"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    if (
        os.name != "posix"
        or os.geteuid() != 0
        or subprocess.run(command, capture_output=True, check=False).returncode
    ):
        pytest.skip("only root can make a small file system")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_disk_that_is_really_full(make_config: ConfigMaker, small_disk: Path) -> None:
    config = make_config(max_train_steps=8, save_every_n_steps=1, save_state_every_n_steps=1).with_values(
        {"output_dir": str(small_disk / "disc")}
    )
    whole, _ = run(make_config("whole", max_train_steps=8, save_every_n_steps=0))
    (small_disk / "filler").write_bytes(b"x" * 200_000)
    events: list[Event] = []
    with pytest.raises(StudioError, match=r"can't be written: no space left"):
        train(config, events.append)
    _assert_whole(config, events)
    (small_disk / "filler").unlink()
    roomy = config.with_values({"save_every_n_steps": 0})
    result, _ = run(roomy, resume_from=state_folder_of(config))
    assert tensor_hash(result) == tensor_hash(whole)
