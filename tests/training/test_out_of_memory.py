"""Memory that runs out in the middle of a training: the ladder, and the base model held in few bits."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from lora_studio.errors import OutOfMemory
from lora_studio.events import Event, StepDone
from lora_studio.trainer import TrainResult, train
from lora_studio.training import loop, out_of_memory
from tests.support.configs import ConfigMaker
from tests.support.runs import of, run, state_folder_of, tensor_hash, warnings

EIGHT_BITS = ("qfloat8", "qint8")


@pytest.fixture
def run_out(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[int]]:
    """`run_out(while_true)`: the denoiser runs out of memory as long as that holds of (engine's loop)."""
    from lora_studio.families import sd

    def set_up(times: int, at_call: int = 1, widest: int = 1_000) -> list[int]:
        predict, calls, failed = sd.StableDiffusionModel.denoise, list[int](), list[int]()

        def fail(self, noisy, *rest, **more):  # type: ignore[no-untyped-def]
            calls.append(len(noisy))
            if (len(calls) >= at_call and len(failed) < times) or len(noisy) > widest:
                failed.append(len(noisy))
                raise torch.OutOfMemoryError("CUDA out of memory")
            return predict(self, noisy, *rest, **more)

        monkeypatch.setattr(sd.StableDiffusionModel, "denoise", fail)
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
    from tests.support.runs import data_for, engine_for

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
    assert [note.split(". ")[1][:12] for note in warnings(events)] == [
        "Gradient che",
        "Batches are ",
        "The base mod",
        "The base mod",
    ]
    assert "resolution" in caught.value.hint


def test_previews_without_memory_are_left_out(
    make_config: ConfigMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lora_studio.training.evaluation.previews import Previews

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
    from lora_studio.training.optimization.lr_schedules import build_schedule
    from lora_studio.training.optimization.optimizers import build_optimizer
    from tests.support.runs import data_for, engine_for

    config = make_config(lr_scheduler="linear")
    engine = engine_for(config)
    optimizer = build_optimizer(config.optimizer, engine.parameter_groups())
    schedule = build_schedule(config.optimizer, optimizer)
    steps = loop.Loop(engine=engine, data=data_for(engine), optimizer=optimizer, schedule=schedule)
    engine.train_mode(True)
    steps.advance()
    out_of_memory.exchange_optimizer(steps, "SGD")
    assert type(steps.optimizer) is torch.optim.SGD
    rates = [steps.advance().learning_rate for _ in range(3)]
    assert rates == pytest.approx([0.0075, 0.005, 0.0025])


def test_a_run_that_swaps_its_blocks_goes_on_to_the_same_bits(
    make_config: ConfigMaker, run_out: Callable[..., list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = {"max_train_steps": 3, "train_batch_size": 1, "gradient_checkpointing": True}
    calm, _ = run(make_config("calm", **changes))
    monkeypatch.setattr(out_of_memory, "HAVE_OWN_MEMORY", ("cpu", "cuda"))
    run_out(times=1, at_call=2)
    tight, events = run(make_config("tight", **changes))
    assert ["come to the device for their turn" in note for note in warnings(events)] == [True]
    assert tensor_hash(tight) == tensor_hash(calm)


# --- the base model in few bits


@pytest.mark.slow
@pytest.mark.parametrize("qtype", ["nf4", *EIGHT_BITS])
def test_training_on_few_bits_learns_repeats_and_resumes(make_config: ConfigMaker, qtype: str) -> None:
    changes = {"qtype": qtype, "max_train_steps": 4, "gradient_checkpointing": True}
    whole, events = run(make_config("whole", **changes))
    again, _ = run(make_config("again", **changes, blocks_to_swap=2))
    plain, at_full = run(make_config("plain", **{**changes, "qtype": "none"}))
    kept, _ = run(make_config("kept", **{**changes, "gradient_checkpointing": False}))
    if qtype == "qfloat8":
        named, _ = run(make_config("named", **{**changes, "qtype": "none", "fp8_base_unet": True}))
        assert tensor_hash(named) == tensor_hash(whole)
    assert tensor_hash(whole) == tensor_hash(again) == tensor_hash(kept) != tensor_hash(plain)
    assert_same_layers(whole, plain)
    for one, other in zip(of(StepDone, events), of(StepDone, at_full), strict=True):
        assert one.loss == pytest.approx(other.loss, rel=0.05 if qtype in EIGHT_BITS else 0.2)
    config = make_config("parts", **changes)
    first: list[Event] = []
    train(config, first.append, lambda: len(of(StepDone, first)) == 2)
    result, _ = run(config, resume_from=state_folder_of(config))
    assert tensor_hash(result) == tensor_hash(whole)


def assert_same_layers(one: TrainResult, other: TrainResult) -> None:
    """The files hold the same layers in the same format, whatever the base was held in."""
    from safetensors.torch import load_file

    first, second = load_file(one.file), load_file(other.file)
    assert {key: (tensor.shape, tensor.dtype) for key, tensor in first.items()} == {
        key: (tensor.shape, tensor.dtype) for key, tensor in second.items()
    }


def test_a_run_that_went_to_few_bits_resumes_there(
    make_config: ConfigMaker, run_out: Callable[..., list[int]]
) -> None:
    """First to 8 bits, from there to 4."""
    changes = {"max_train_steps": 4, "train_batch_size": 1, "gradient_checkpointing": True}
    run_out(times=2, at_call=1)
    whole, events = run(make_config("whole", **changes))
    assert ["held in 8 bits" in note for note in warnings(events)] == [True, False]
    assert ["held in 4 bits" in note for note in warnings(events)] == [False, True]
    run_out(times=2, at_call=1)
    config = make_config("parts", **changes)
    first: list[Event] = []
    train(config, first.append, lambda: len(of(StepDone, first)) == 2)
    result, events = run(config, resume_from=state_folder_of(config))
    assert warnings(events) == []
    assert tensor_hash(result) == tensor_hash(whole)
