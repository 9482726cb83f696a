"""A step keeps less for its way back where that makes no difference: gradients are the same to the bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

from lora_studio.families.base_files.locate import find_base
from lora_studio.runtime import find_device
from lora_studio.settings import Settings
from lora_studio.training.activations import frugal_modules, remade_tensors
from lora_studio.training.activations.frozen_layers import FrozenConvolution
from lora_studio.training.activations.frugal_modules import FrugalModules
from lora_studio.training.activations.remade_tensors import mark, remaking
from lora_studio.training.evaluation.card_memory import TensorPeak
from lora_studio.training.model import Engine, load_engine
from lora_studio.training.objective import TrainingBatch, sample_losses
from tests.support.configs import ConfigMaker
from tests.support.tiny import ALL_SHAPES, make_tiny

KINDS: dict[str, dict[str, Any]] = {
    "lora": {},
    "locon": {"conv_dim": 2, "network_dropout": 0.3, "rank_dropout": 0.2},
    "dora": {"dora_wd": True, "conv_dim": 2},
    "loha": {"algo": "loha", "conv_dim": 2},
    "lokr": {"algo": "lokr", "factor": 2},
    "diag-oft": {"algo": "diag-oft", "conv_dim": 2},
    "denoiser": {"network_train_unet_only": True},
    "checkpointing": {"gradient_checkpointing": True},
    "swapped": {"blocks_to_swap": 2},
    "few bits": {"qtype": "qint8"},
}
HALF = ("lora", "locon")
"""Kinds that are tried in half precision, too."""
SIDE = 16
"""Of the latents."""


@pytest.fixture
def all_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small models and small tensors are treated as large ones."""
    monkeypatch.setattr(frugal_modules, "LARGE", 0)
    monkeypatch.setattr(remade_tensors, "LEAST", 0)


def engine_of(config: Any, dtype: torch.dtype = torch.float32) -> Engine:
    """With a LoRA whose weights are all other than zero, so that all of them have a gradient."""
    found = find_base(config.model.pretrained_model_name_or_path)
    engine = load_engine(config, found, find_device(), dtype)
    random = torch.Generator().manual_seed(5)
    for group in engine.parameter_groups():
        for weight in group["params"]:
            weight.data += 0.02 * torch.randn(weight.shape, generator=random)
    engine.train_mode(True)
    return engine


def loss_of(engine: Engine) -> torch.Tensor:
    random = torch.Generator().manual_seed(7)
    channels = engine.base.codec.channels
    latents, noise = torch.randn(2, 2, channels, SIDE, SIDE, generator=random)
    times = torch.tensor([100, 700])
    torch.manual_seed(11)  # of dropouts
    text = engine.encode_text(["a disc", "a red disc"])
    return sample_losses(engine, TrainingBatch(latents=latents, noise=noise, timesteps=times), text).sum()


def gradients(engine: Engine) -> list[torch.Tensor]:
    weights = [weight for group in engine.parameter_groups() for weight in group["params"]]
    for weight in weights:
        weight.grad = None
    loss_of(engine).backward()
    found = [weight.grad for weight in weights if weight.grad is not None]
    assert len(found) > len(weights) / 2
    return found


def assert_same_gradients(engine: Engine) -> None:
    frugal = gradients(engine)
    with engine.frugal.left_alone():
        plain = gradients(engine)
    assert len(frugal) == len(plain)
    assert all(torch.equal(one, other) for one, other in zip(frugal, plain, strict=True))
    assert sum(gradient.abs().max() > 0 for gradient in plain) > len(plain) / 2


@pytest.mark.usefixtures("all_count")
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_the_same_to_the_bit(make_config: ConfigMaker, kind: str) -> None:
    assert_same_gradients(engine_of(make_config(**KINDS[kind])))


@pytest.mark.usefixtures("all_count")
@pytest.mark.parametrize("kind", HALF)
def test_they_are_in_half_precision(make_config: ConfigMaker, kind: str) -> None:
    assert_same_gradients(engine_of(make_config(**KINDS[kind]), torch.bfloat16))


@pytest.mark.usefixtures("all_count")
@pytest.mark.parametrize(
    "shape",
    ["starter", "sdxl", *(pytest.param(one, marks=pytest.mark.slow) for one in ALL_SHAPES if one != "sdxl")],
)
def test_they_are_on_each_base(make_config: ConfigMaker, tmp_path: Path, shape: str) -> None:
    base = Settings.from_environment().starter if shape == "starter" else make_tiny(shape, tmp_path / shape)
    assert_same_gradients(engine_of(make_config(base=base)))


@pytest.mark.usefixtures("all_count")
@pytest.mark.parametrize(
    ("changes", "dtype", "most"),
    [({}, torch.float32, 0.75), ({"conv_dim": 2}, torch.float32, 0.75), ({}, torch.bfloat16, 0.8)],
)
def test_less_is_kept(
    make_config: ConfigMaker, changes: dict[str, Any], dtype: torch.dtype, most: float
) -> None:
    engine = engine_of(make_config(network_train_unet_only=True, **changes), dtype)

    def kept_bytes() -> int:
        with TensorPeak() as tensors:
            loss = loss_of(engine)
        assert loss.requires_grad
        return tensors.peak

    frugal = kept_bytes()
    with engine.frugal.left_alone():
        assert frugal < most * kept_bytes()


def test_a_small_model_is_left_alone(make_config: ConfigMaker) -> None:
    engine = engine_of(make_config())
    assert not any("forward" in vars(module) for module in engine.base.unet.modules())


def doubled(values: torch.Tensor) -> torch.Tensor:
    return values * 2


@pytest.mark.usefixtures("all_count")
def test_what_is_asked_for_twice_is_made_anew_once() -> None:
    calls: list[int] = []

    def counted(values: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return doubled(values)

    inputs = torch.randn(3, 4, 5, requires_grad=True)
    weight = torch.randn(2, 5, requires_grad=True)

    def answer(make: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        output = mark(make(inputs), make, inputs)
        sine = mark(output.sin(), torch.sin, output)
        return functional.linear(sine, weight).sum() + output.cos().sum()

    with remaking():
        found = answer(counted)
    frugal = torch.autograd.grad(found, (inputs, weight))
    assert len(calls) == 2, "once forth, once back"
    plain = torch.autograd.grad(answer(doubled), (inputs, weight))
    assert all(torch.equal(one, other) for one, other in zip(frugal, plain, strict=True))


@pytest.mark.usefixtures("all_count")
def test_a_change_in_place_is_noticed() -> None:
    inputs = torch.randn(8, requires_grad=True) + 0
    with remaking():
        output = mark(doubled(inputs), doubled, inputs).sin()
    inputs.detach().add_(1)
    with pytest.raises(RuntimeError, match="changed in place"):
        output.sum().backward()


@pytest.mark.usefixtures("all_count")
def test_a_changed_output_is_kept_as_it_is() -> None:
    inputs = torch.randn(8, requires_grad=True)
    with remaking():
        output = mark(doubled(inputs), doubled, inputs)
        output += 1
        output.sin().sum().backward()
    assert torch.equal(inputs.grad, 2 * (2 * inputs.detach() + 1).cos())


@pytest.mark.parametrize(
    ("stride", "padding", "groups", "layout"),
    [
        ((1, 1), (1, 1), 1, torch.contiguous_format),
        ((2, 2), (0, 0), 2, torch.channels_last),
        ((2, 1), (0, 1), 1, torch.channels_last),
    ],
)
def test_a_frozen_convolution_has_the_same_gradient(
    stride: Any, padding: Any, groups: int, layout: torch.memory_format
) -> None:
    random = torch.Generator().manual_seed(1)
    inputs = torch.randn(2, 8, 9, 9, generator=random).to(memory_format=layout).requires_grad_()
    weight, bias = torch.randn(6, 8 // groups, 3, 3, generator=random), torch.randn(6, generator=random)
    how = stride, padding, (1, 1), groups
    plain = functional.conv2d(inputs, weight, bias, *how)
    frugal = FrozenConvolution.apply(inputs, weight, bias, how)
    assert torch.equal(plain, frugal)
    wanted = torch.randn(plain.shape, generator=random).to(memory_format=layout)
    (expected,), (found,) = (torch.autograd.grad(output, inputs, wanted) for output in (plain, frugal))
    assert torch.equal(expected, found)
    assert expected.stride() == found.stride()


@pytest.mark.usefixtures("all_count")
def test_a_trained_convolution_has_its_gradient() -> None:
    layer = torch.nn.Conv2d(4, 4, 3)
    model = torch.nn.Sequential(layer)
    modules = FrugalModules([model], is_half=False)
    inputs = torch.randn(1, 4, 8, 8, requires_grad=True)
    with modules.remaking():
        model(inputs).sum().backward()
    assert layer.weight.grad is not None
    layer.requires_grad_(False)
    with modules.remaking():
        assert type(model(inputs).grad_fn).__name__ == "FrozenConvolutionBackward"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # Dynamo looks, and hides it too late
@pytest.mark.usefixtures("all_count")
def test_a_compiled_denoiser_has_the_same_gradients(make_config: ConfigMaker) -> None:
    engine = engine_of(make_config(network_train_unet_only=True))
    plain = gradients(engine)
    for block in engine.base.blocks:
        block.compile(backend="aot_eager")
    for one, other in zip(gradients(engine), plain, strict=True):
        torch.testing.assert_close(one, other)
