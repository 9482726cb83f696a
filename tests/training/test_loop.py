from __future__ import annotations

import math

import pytest
import torch

from lora_studio.data.training_set.folders import read_folder
from lora_studio.errors import Diverged
from lora_studio.events import ignore, never_stop
from lora_studio.families.base_files.locate import find_base
from lora_studio.runtime import find_device
from lora_studio.training.loop import LossMean
from lora_studio.training.model import Engine, load_engine
from lora_studio.training.optimization.lr_schedules import build_schedule
from lora_studio.training.optimization.optimizers import build_optimizer
from lora_studio.training.preparation.training_data import TrainingData, prepare_data
from tests.support.configs import ConfigMaker
from tests.support.runs import run_steps


def load(config) -> tuple[Engine, TrainingData]:
    engine = load_engine(
        config, find_base(config.model.pretrained_model_name_or_path), find_device(), torch.float32
    )
    data = prepare_data(engine, read_folder(config.dataset), ignore, never_stop)
    assert data is not None
    return engine, data


def steps_of(engine: Engine, data: TrainingData):
    settings = engine.config.optimizer
    optimizer = build_optimizer(settings, engine.parameter_groups())
    return run_steps(engine, data, optimizer, build_schedule(settings, optimizer))


def test_the_mean_loss_is_kohyas() -> None:
    mean = LossMean()
    assert mean.add(0, 4.0) == 4.0
    assert mean.add(1, 2.0) == 3.0
    assert mean.add(2, 0.0) == 2.0
    assert mean.add(0, 1.0) == 1.0  # the second epoch's first step replaces the first epoch's
    assert mean.add(1, 2.0) == 1.0


def test_steps_count_epochs_and_end_in_the_middle_of_one(make_config: ConfigMaker) -> None:
    engine, data = load(make_config(max_train_steps=6, lr_scheduler="linear", learning_rate=0.6))
    done = list(steps_of(engine, data))
    assert [event.step for event in done] == [1, 2, 3, 4, 5, 6]
    assert [event.epoch for event in done] == [1, 1, 1, 1, 2, 2]
    assert [event.learning_rate for event in done] == pytest.approx([0.6, 0.5, 0.4, 0.3, 0.2, 0.1])
    assert {event.total_steps for event in done} == {6}
    assert all(math.isfinite(event.loss) and event.seconds > 0 for event in done)


def test_a_loss_that_is_no_number_stops_before_the_weights_are_touched(make_config: ConfigMaker) -> None:
    engine, data = load(make_config())
    with torch.no_grad():
        engine.base.unet.conv_out.bias.fill_(float("nan"))
    before = engine.lora.tensors()
    with pytest.raises(Diverged, match="at step 1") as caught:
        next(steps_of(engine, data))
    assert "learning rate" in caught.value.hint
    assert all(torch.equal(tensor, before[key]) for key, tensor in engine.lora.tensors().items())


def test_gradients_longer_than_the_limit_are_cut(make_config: ConfigMaker) -> None:
    def length(limit: float) -> float:
        engine, data = load(make_config(max_grad_norm=limit))
        next(steps_of(engine, data))
        weights = [weight for part in engine.rates for weight in engine.lora.parameters(part)]
        return float(
            torch.stack([weight.grad.norm() for weight in weights if weight.grad is not None]).norm()
        )

    free = length(0)
    assert free > 1e-3
    assert length(free / 2) == pytest.approx(free / 2, rel=1e-3)
    assert length(free * 2) == pytest.approx(free, rel=1e-5)


def test_only_the_lora_is_trained(make_config: ConfigMaker) -> None:
    engine, data = load(make_config())
    frozen = {
        f"{part}.{name}": weight.clone()
        for part, model in engine.base.models().items()
        for name, weight in model.named_parameters()
        if "lora_" not in name
    }
    list(steps_of(engine, data))
    for part, model in engine.base.models().items():
        for name, weight in model.named_parameters():
            if "lora_" in name:
                assert weight.requires_grad
            else:
                assert torch.equal(weight, frozen[f"{part}.{name}"])
                assert weight.grad is None
    assert all(
        tensor.any() for key, tensor in engine.lora.tensors().items() if key.endswith("lora_up.weight")
    )


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({}, {"lora_te", "lora_unet"}),
        ({"network_train_unet_only": True}, {"lora_unet"}),
        ({"unet_lr": 0}, {"lora_te"}),
    ],
)
def test_parts_that_are_not_trained_get_no_lora(
    make_config: ConfigMaker, changes: dict, parts: set[str]
) -> None:
    engine, _ = load(make_config(**changes))
    assert {name.split("_", 2)[0] + "_" + name.split("_", 2)[1] for name in engine.lora.layers} == parts


def test_gradient_checkpointing_really_is_on(make_config: ConfigMaker) -> None:
    engine, _ = load(make_config(gradient_checkpointing=True))
    assert engine.base.unet.is_gradient_checkpointing
    assert engine.base.text_encoder.is_activation_checkpointing
    off, _ = load(make_config())
    assert not off.base.unet.is_gradient_checkpointing
