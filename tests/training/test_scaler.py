"""Half precision: the loss is scaled up so that small gradients survive; the scale is part of the state."""

from __future__ import annotations

import pytest
import torch

from lora_studio.errors import Diverged
from lora_studio.training import loop as module
from lora_studio.training.loop import Loop
from lora_studio.training.optimization.lr_schedules import build_schedule
from lora_studio.training.optimization.optimizers import build_optimizer
from tests.support.configs import ConfigMaker
from tests.support.runs import data_for, engine_for


def scaled_loop(make_config: ConfigMaker, scale: float, **changes: object) -> Loop:
    """In 32 bit: what is tested is the scaler's part, which is the same there."""
    engine = engine_for(make_config(**{"lr_scheduler": "linear", "optimizer_type": "SGD", **changes}))
    optimizer = build_optimizer(engine.config.optimizer, engine.parameter_groups())
    engine.train_mode(True)
    return Loop(
        engine=engine,
        data=data_for(engine),
        optimizer=optimizer,
        schedule=build_schedule(engine.config.optimizer, optimizer),
        scaler=torch.amp.GradScaler("cpu", init_scale=scale, growth_interval=2),
    )


def test_a_scaled_loss_gives_the_same_step(make_config: ConfigMaker) -> None:
    plain = scaled_loop(make_config, 1.0)
    plain.scaler = None
    scaled = scaled_loop(make_config, 1024.0)
    for _ in range(2):
        assert scaled.advance().loss == pytest.approx(plain.advance().loss, rel=1e-4)
    for key, weight in plain.engine.lora.state().items():
        torch.testing.assert_close(scaled.engine.lora.state()[key], weight, rtol=1e-4, atol=1e-7)


def test_an_overflow_leaves_out_the_step_and_lowers_the_scale(
    make_config: ConfigMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = scaled_loop(make_config, 2.0**100)
    before, losses = loop.engine.lora.state(), module.batch_losses
    with monkeypatch.context() as patch:
        patch.setattr(module, "batch_losses", lambda *given: losses(*given) * 2.0**60)
        first = loop.advance()
    assert loop.scaler is not None
    assert loop.scaler.get_scale() == 2.0**99
    assert all(torch.equal(weight, before[key]) for key, weight in loop.engine.lora.state().items())
    second = loop.advance()
    assert first.learning_rate == second.learning_rate, "the schedule waits"
    assert (first.step, second.step) == (1, 2)


def test_a_gradient_that_no_scale_can_save_is_a_failure(
    make_config: ConfigMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = scaled_loop(make_config, 1.0)
    monkeypatch.setattr(
        module,
        "batch_losses",
        lambda engine, *rest: sum(
            torch.sqrt(weight.sum() - weight.sum().detach()) for weight in engine.lora.parameters("unet")
        ).reshape(1),
    )
    with pytest.raises(Diverged, match="at step 1"):
        loop.advance()


def test_the_scale_goes_on_with_the_run(make_config: ConfigMaker) -> None:
    whole, broken = scaled_loop(make_config, 1024.0), scaled_loop(make_config, 1024.0)
    for _ in range(4):
        whole.advance()
    for _ in range(3):
        broken.advance()
    point = broken.point()
    later = scaled_loop(make_config, 1.0)
    later.go_to(point)
    later.advance()
    assert later.scaler is not None
    assert whole.scaler is not None
    assert later.scaler.state_dict() == whole.scaler.state_dict()
    assert all(
        torch.equal(weight, whole.engine.lora.state()[key])
        for key, weight in later.engine.lora.state().items()
    )
