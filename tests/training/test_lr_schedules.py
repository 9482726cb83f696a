from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import torch

from lora_studio.config_groups import OptimizerGroup
from lora_studio.errors import ConfigError
from lora_studio.training.optimization.lr_schedules import build_schedule, learning_rate
from lora_studio.training.optimization.optimizers import build_optimizer
from tests.support.configs import ConfigMaker

GOLDEN = json.loads((Path(__file__).parent.parent / "golden" / "lr_schedules.json").read_text())["schedules"]
REFUSED = {
    "constant with warmup 4": ("lr_warmup_steps", "constant_with_warmup"),
    "cosine_with_min_lr without ratio": ("lr_scheduler_min_lr_ratio", "cosine_with_min_lr"),
    "reduce_lr_on_plateau": ("lr_scheduler", "reduce_lr_on_plateau is not offered"),
    "bogus": ("lr_scheduler", "there is no 'bogus'"),
}
ADAFACTOR = "adafactor (relative_step, learning_rate 1e-3 as initial_lr)"
MOVING = sorted(set(GOLDEN) - {*REFUSED, ADAFACTOR})
STEPS = 20


def settings_of(row: str) -> dict:
    """The row's command line as settings."""
    words = iter(GOLDEN[row]["args"])
    return {name.removeprefix("--"): value for name, value in zip(words, words, strict=True)}


def rates(settings: OptimizerGroup, weight: float = 1.0) -> list[float]:
    """The rate in force at each step."""
    parameter = torch.nn.Parameter(torch.tensor([weight]))
    optimizer = build_optimizer(
        settings, [{"name": "unet", "params": [parameter], "lr": settings.learning_rate}]
    )
    schedule = build_schedule(settings, optimizer)
    found = []
    for _ in range(STEPS):
        found.append(learning_rate(optimizer, schedule))
        parameter.grad = torch.ones_like(parameter)
        optimizer.step()
        schedule.step()
    return found


@pytest.mark.parametrize("field", ["lr_scheduler", "optimizer_type"])
def test_a_long_name_is_not_said_back_whole(field: str, make_config: ConfigMaker) -> None:
    with pytest.raises(ConfigError) as caught:
        make_config(**{field: "x" * 20_000})
    assert (caught.value.field, len(str(caught.value)) < 1000) == (field, True)


@pytest.mark.parametrize("row", MOVING)
def test_rates_are_kohyas_step_by_step(row: str, make_config: ConfigMaker) -> None:
    """Equal within 1e-12: both compute in 64 bit."""
    config = make_config(learning_rate=1.0, max_train_steps=STEPS, **settings_of(row))
    assert rates(config.optimizer) == pytest.approx(GOLDEN[row]["lr"], rel=1e-12, abs=1e-12)


def test_adafactors_own_rates_are_kohyas(make_config: ConfigMaker) -> None:
    """Equal within 2e-6 of each: it computes in 32 bit. The first is only shown, as there is none yet."""
    config = make_config(learning_rate=1e-3, max_train_steps=STEPS, **settings_of(ADAFACTOR))
    assert rates(config.optimizer) == pytest.approx(GOLDEN[ADAFACTOR]["lr"], rel=2e-6)
    assert GOLDEN[ADAFACTOR]["scheduler_name"] == "adafactor:0.001"


def test_adafactor_goes_on_when_a_group_has_no_gradient(make_config: ConfigMaker) -> None:
    """As module dropout can leave it."""
    settings = make_config(optimizer_type="Adafactor", learning_rate=1e-3).optimizer
    weights = [torch.nn.Parameter(torch.ones(1)) for _ in range(2)]
    optimizer = build_optimizer(settings, [{"params": [weight], "lr": 1e-3} for weight in weights])
    schedule = build_schedule(settings, optimizer)
    for present in ((0,), (1,), (0, 1)):
        for number, weight in enumerate(weights):
            weight.grad = torch.ones(1) if number in present else None
        optimizer.step()
        schedule.step()
    assert schedule.get_last_lr() == pytest.approx([0.0099, 0.0099], rel=1e-3)


@pytest.mark.parametrize("row", REFUSED)
def test_what_the_reference_fails_at_is_refused_with_a_sentence(row: str, make_config: ConfigMaker) -> None:
    field, words = REFUSED[row]
    with pytest.raises(ConfigError) as refusal:
        make_config(max_train_steps=STEPS, **settings_of(row))
    assert refusal.value.field == field
    assert words in refusal.value.message


def test_the_min_lr_cosine_with_warm_up_which_fails_there_works_here(make_config: ConfigMaker) -> None:
    given = {"lr_warmup_steps": 4, "lr_scheduler_min_lr_ratio": 0.1, "learning_rate": 1.0}
    config = make_config(max_train_steps=STEPS, lr_scheduler="cosine_warmup_with_min_lr", **given)
    found = rates(config.optimizer)
    assert found[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert found[4:] == sorted(found[4:], reverse=True)
    assert found[-1] == pytest.approx(0.1)


@pytest.mark.parametrize(("typed", "steps"), [("10%", 2), (0.1, 2), ("3", 3), (0, 0)])
def test_warm_up_is_steps_or_a_share(make_config: ConfigMaker, typed: object, steps: int) -> None:
    config = make_config(lr_warmup_steps=typed, lr_scheduler="linear", max_train_steps=STEPS)
    assert config.optimizer.warmup_steps == steps


def test_shares_of_the_decay_count_too(make_config: ConfigMaker) -> None:
    given = {"lr_scheduler": "warmup_stable_decay", "learning_rate": 1.0, "max_train_steps": STEPS}
    whole = make_config(lr_decay_steps=6, lr_warmup_steps=4, **given)
    share = make_config(lr_decay_steps="30%", lr_warmup_steps="0.2", **given)
    assert rates(whole.optimizer) == rates(share.optimizer)
    with pytest.raises(ConfigError, match="longer than max_train_steps"):
        make_config(lr_decay_steps=17, lr_warmup_steps=4, **given)


@pytest.mark.parametrize("typed", ["1.5", "many", -1])
def test_other_amounts_of_warm_up_are_refused(make_config: ConfigMaker, typed: object) -> None:
    with pytest.raises(ConfigError) as refusal:
        make_config(lr_warmup_steps=typed, lr_scheduler="linear")
    assert refusal.value.field == "lr_warmup_steps"


def test_a_schedule_free_optimizer_keeps_its_rate(make_config: ConfigMaker) -> None:
    config = make_config(optimizer_type="AdamWScheduleFree", lr_scheduler="cosine", max_train_steps=STEPS)
    assert set(rates(config.optimizer)) == {config.optimizer.learning_rate}


def test_the_rate_that_prodigy_found_is_shown(make_config: ConfigMaker) -> None:
    config = make_config(optimizer_type="Prodigy", learning_rate=1.0, max_train_steps=STEPS)
    found = rates(config.optimizer)
    assert found[0] == 1e-6
    assert found[-1] > 10 * found[0]


@pytest.mark.parametrize("rules", ["", "step_rules=fast", "step_rules='1:5,0.1:x,1'", "steps=1:5,0.1"])
def test_rules_that_are_none_are_refused(make_config: ConfigMaker, rules: str) -> None:
    with pytest.raises(ConfigError, match="step_rules"):
        make_config(lr_scheduler="piecewise_constant", lr_scheduler_args=rules)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"lr_scheduler_type": "NoSuchSchedule"}, "lr_scheduler_type"),
        ({"lr_scheduler_type": "no_such_package.Schedule"}, "lr_scheduler_type"),
        ({"lr_scheduler_type": "CosineAnnealingLR", "lr_scheduler_args": "T=3"}, "lr_scheduler_args"),
    ],
)
def test_a_schedule_that_does_not_exist_is_told(make_config: ConfigMaker, changes: dict, field: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        rates(make_config(**changes).optimizer)
    assert refusal.value.field == field


@pytest.mark.parametrize("row", [*MOVING, ADAFACTOR])
def test_a_saved_schedule_goes_on_where_it_was(row: str, make_config: ConfigMaker) -> None:
    settings = make_config(max_train_steps=STEPS, **settings_of(row)).optimizer
    whole = rates(settings)

    def begin() -> tuple[torch.nn.Parameter, torch.optim.Optimizer, object]:
        parameter = torch.nn.Parameter(torch.ones(1))
        groups = [{"params": [parameter], "lr": settings.learning_rate}]
        optimizer = build_optimizer(settings, groups)
        return parameter, optimizer, build_schedule(settings, optimizer)

    parameter, optimizer, schedule = begin()
    found = []
    for step in range(STEPS):
        if step == 7:
            saved = copy.deepcopy((optimizer.state_dict(), schedule.state_dict()))
            weight = parameter.detach().clone()
            parameter, optimizer, schedule = begin()
            parameter.data.copy_(weight)
            optimizer.load_state_dict(saved[0])
            schedule.load_state_dict(saved[1])
        found.append(learning_rate(optimizer, schedule))
        parameter.grad = torch.ones_like(parameter)
        optimizer.step()
        schedule.step()
    assert found == whole
