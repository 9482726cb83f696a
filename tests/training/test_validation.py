from __future__ import annotations

import pytest
import torch

from lora_studio.data.training_set.folders import read_folder
from lora_studio.events import Event, StepDone, Validated, ignore, never_stop
from lora_studio.families.base_files.locate import find_base
from lora_studio.runtime import find_device
from lora_studio.trainer import train
from lora_studio.training.evaluation.base_alone import base_alone
from lora_studio.training.evaluation.picture_errors import validation_timesteps
from lora_studio.training.evaluation.validation import Validation
from lora_studio.training.model import Engine, load_engine
from lora_studio.training.objective import sizes_of
from lora_studio.training.preparation.training_data import prepare_data
from tests.support.configs import ConfigMaker
from tests.support.tiny import make_tiny

HALF = {"validation_split": 0.5, "validation_seed": 7}


def losses(events: list[Event]) -> list[float]:
    return [event.loss for event in events if isinstance(event, StepDone)]


def validated(events: list[Event]) -> list[Validated]:
    return [event for event in events if isinstance(event, Validated)]


def validation_for(engine: Engine) -> Validation:
    data = prepare_data(engine, read_folder(engine.config.dataset), ignore, never_stop)
    assert data is not None
    return Validation(engine=engine, data=data, emit=ignore, should_stop=never_stop)


def shaken(engine: Engine) -> Engine:
    """With a LoRA that changes something."""
    generator = torch.Generator().manual_seed(5)
    for part in engine.rates:
        for weight in engine.lora.parameters(part):
            weight.data = 0.3 * torch.randn(weight.shape, generator=generator)
    return engine


def test_the_timesteps_are_kohyas(make_config: ConfigMaker) -> None:
    assert validation_timesteps(make_config()) == (200, 400, 600, 800)
    assert validation_timesteps(make_config(min_timestep=500, max_timestep=1000)) == (600, 700, 800, 900)


def test_a_run_measures_the_base_and_then_at_each_checkpoint(make_config: ConfigMaker) -> None:
    events: list[Event] = []
    train(make_config(**HALF), events.append)
    measured = validated(events)
    assert [event.step for event in measured] == [0, 1, 2, 3, 4]
    assert {event.base_loss for event in measured} == {measured[0].loss}
    assert measured[-1].loss != measured[0].loss


def test_validation_does_not_change_the_training(make_config: ConfigMaker) -> None:
    """Same pictures held out, measured at each step and hardly ever."""
    often: list[Event] = []
    seldom: list[Event] = []
    dropped = {**HALF, "network_dropout": 0.3}
    train(make_config("often", **dropped, validate_every_n_steps=1), often.append)
    train(make_config("seldom", **dropped, validate_every_n_steps=4), seldom.append)
    assert len(validated(often)) > len(validated(seldom))
    assert losses(often) == losses(seldom)


def test_without_a_split_nothing_is_measured(make_config: ConfigMaker) -> None:
    events: list[Event] = []
    train(make_config(), events.append)
    assert not validated(events)


def test_it_is_the_same_each_time_and_touches_no_random_state(make_config: ConfigMaker) -> None:
    engine = shaken(load_engine(make_config(**HALF), find_base_of(make_config), find_device(), torch.float32))
    validation = validation_for(engine)
    assert len(validation.pictures) == 2
    state = torch.random.get_rng_state()
    first = validation.measure(3)
    assert first is not None
    assert validation.measure(4) == first != validation.base_loss
    assert torch.equal(torch.random.get_rng_state(), state)
    assert validation.losses == {3: first, 4: first}


def test_the_bases_loss_is_that_without_the_lora(make_config: ConfigMaker) -> None:
    fresh = load_engine(make_config(**HALF), find_base_of(make_config), find_device(), torch.float32)
    untouched = validation_for(fresh).measure(0)
    validation = validation_for(shaken(fresh))
    with_lora = validation.measure(1)
    assert validation.base_loss == untouched != with_lora


def test_the_base_alone_keeps_what_is_trained(make_config: ConfigMaker) -> None:
    engine = shaken(load_engine(make_config(), find_base_of(make_config), find_device(), torch.float32))
    weights = [weight for part in engine.rates for weight in engine.lora.parameters(part)]
    before = [(weight.clone(), weight.requires_grad) for weight in weights]
    with base_alone(engine):
        pass
    assert all(torch.equal(weight, old) for weight, (old, _) in zip(weights, before, strict=True))
    assert [weight.requires_grad for weight in weights] == [grad for _, grad in before]


def test_at_most_so_many_pictures_are_measured(make_config: ConfigMaker) -> None:
    config = make_config(**HALF, max_validation_steps=1)
    engine = load_engine(config, find_base_of(make_config), find_device(), torch.float32)
    assert len(validation_for(engine).pictures) == 1


def find_base_of(make_config: ConfigMaker):
    return find_base(make_config().model.pretrained_model_name_or_path)


def test_a_base_that_is_told_sizes_hears_those_of_each_picture(
    make_config: ConfigMaker, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = make_tiny("sdxl", tmp_path_factory.mktemp("xl"))
    changes = {
        **HALF,
        "network_train_unet_only": True,
        "resolution": 48,
    }  # so that pictures are cut and scaled
    config = make_config(**changes, pretrained_model_name_or_path=str(base))
    engine = load_engine(config, find_base(str(base)), find_device(), torch.float32)
    validation = validation_for(engine)
    told: list[torch.Tensor] = []
    predict = type(engine.base).denoise

    def heard(self, noisy, timesteps, text, sizes=None, *, guidance=None):
        told.append(sizes)
        return predict(self, noisy, timesteps, text, sizes, guidance=guidance)

    monkeypatch.setattr(type(engine.base), "denoise", heard)
    assert validation.measure(1) is not None
    wanted = [list(sizes_of(placed.placement, mirrored=False)) for placed in validation.pictures]
    levels = len(validation_timesteps(config))
    assert [sizes.tolist()[0] for sizes in told[: levels * len(wanted)]] == [
        sizes for sizes in wanted for _ in range(levels)
    ]
    assert any(sizes[:2] != sizes[4:] for sizes in wanted), "a picture as it is would be told right by chance"
