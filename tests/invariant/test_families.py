"""The engine's invariants hold for every family of base models alike."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file

from lora_studio.config import TrainConfig
from lora_studio.events import Event, PreviewSaved, StepDone
from lora_studio.trainer import train
from lora_studio.training.optimization.lr_schedules import build_schedule
from lora_studio.training.optimization.optimizers import build_optimizer
from tests.support.runs import assert_same_tensors, data_for, engine_for, run_steps, trained_tensors
from tests.support.tiny import ALL_SHAPES, make_tiny, tiny_values

MakeConfig = Callable[..., TrainConfig]
LEARNED = {"sdxl": {"unet", "te1", "te2"}, "zimage": {"unet"}, "klein": {"unet"}}
"""Parts that a file is about, where they aren't the denoiser and one text encoder."""
TINY_READ = [shape for shape in ALL_SHAPES if shape not in ("flux", "chroma", "anima")]
"""Bases whose files a plain pipeline of diffusers reads at any size; tests/lora/test_flux_files.py compares
what it reads at full width, tests/generation/test_anima_drawing.py draws with its modular one."""
SHORT = {"max_train_steps": 2, "train_batch_size": 2}


FIRST = ("sdxl", "zimage")
"""Bases of the first tier: the one with the most parts, and a flow model. test_engine.py has SD 1.5."""


def tiers(shapes: Iterable[str]) -> list[Any]:
    return [shape if shape in FIRST else pytest.param(shape, marks=pytest.mark.slow) for shape in shapes]


@pytest.fixture(scope="module", params=tiers(ALL_SHAPES))
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny(request.param, tmp_path_factory.mktemp("bases") / request.param)


@pytest.fixture
def make(base: Path, pictures: Path, tmp_path: Path) -> MakeConfig:
    """Both text encoders are trained unless told otherwise."""

    def config(name: str = "disc", **changes: object) -> TrainConfig:
        changes = {**SHORT, **changes}
        return TrainConfig.from_values(tiny_values(base, pictures, tmp_path / "lora" / name, **changes))

    return config


def draw(pipe: DiffusionPipeline) -> torch.Tensor:
    pipe.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(7)
    call: dict[str, Any] = {
        "num_inference_steps": 2,
        "guidance_scale": 3.0,
        "width": 64,
        "height": 64,
        "output_type": "pt",
    }
    if "negative_prompt" in inspect.signature(pipe.__call__).parameters:  # where it isn't, it is empty
        call["negative_prompt"] = ""
    return pipe(prompt="a disc", generator=generator, **call).images.detach()


def first_gradients(config: TrainConfig) -> dict[str, torch.Tensor | None]:
    """Of a LoRA whose up matrices are not zero, so that all that takes part has a gradient."""
    engine = engine_for(config)
    generator = torch.Generator().manual_seed(3)
    weights: dict[str, torch.nn.Parameter] = {}
    for name, layer in engine.lora.layers.items():
        up = layer.lora_B["default"].weight
        up.data = 0.02 * torch.randn(up.shape, generator=generator)
        weights |= {f"{name}.{part}": weight for part, weight in engine.lora.weights(name).items()}
    optimizer = build_optimizer(config.optimizer, engine.parameter_groups())
    next(run_steps(engine, data_for(engine), optimizer, build_schedule(config.optimizer, optimizer)))
    return {name: weight.grad for name, weight in weights.items()}


@pytest.mark.slow
def test_two_runs_in_one_process_are_the_same(make: MakeConfig) -> None:
    torch.manual_seed(1)
    first = trained_tensors(make("first", network_dropout=0.2))
    torch.manual_seed(2)
    assert_same_tensors(first, trained_tensors(make("second", network_dropout=0.2)))


@pytest.mark.slow
def test_a_batch_is_as_many_accumulated_pictures(make: MakeConfig) -> None:
    whole = first_gradients(make())
    halves = first_gradients(make(train_batch_size=1, gradient_accumulation_steps=2))
    assert whole.keys() == halves.keys()
    for name, one in whole.items():
        other = halves[name]
        if one is None or other is None:
            # where the layer before the last is taken, the last one takes no part
            assert one is other is None
            assert name.startswith("lora_te1_text_model_encoder_layers_1_")
        else:
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-6)


def test_cached_and_uncached_are_the_same(make: MakeConfig) -> None:
    changes = {"network_train_unet_only": True, "flip_aug": True}
    uncached = {"cache_latents": False, "cache_text_encoder_outputs": False}
    assert_same_tensors(
        trained_tensors(make("cached", **changes)), trained_tensors(make("uncached", **changes, **uncached))
    )


@pytest.mark.slow
def test_gradient_checkpointing_changes_nothing(make: MakeConfig) -> None:
    assert_same_tensors(
        trained_tensors(make("off")), trained_tensors(make("on", gradient_checkpointing=True))
    )


@pytest.mark.slow
def test_half_precision_follows_32_bit(make: MakeConfig) -> None:
    losses: dict[str, list[float]] = {"no": [], "bf16": []}
    for precision, found in losses.items():
        config = make(precision, mixed_precision=precision, learning_rate=1e-3)
        result = train(
            config, lambda event, to=found: to.append(event.loss) if isinstance(event, StepDone) else None
        )
        assert all(tensor.isfinite().all() for tensor in load_file(result.file).values())
    assert losses["bf16"] == pytest.approx(losses["no"], rel=0.02)


def test_long_weighted_captions_train_with_previews(make: MakeConfig) -> None:
    """Previews are drawn after the text encoders have left, and change nothing."""
    changes = {"max_token_length": 150, "weighted_captions": True, "network_train_unet_only": True}
    previews = {"sample_every_n_steps": 1, "sample_prompts": ("a (disc:1.3)",)}
    events: list[Event] = []
    result = train(make("with", **changes, **previews), events.append)
    assert sum(isinstance(event, PreviewSaved) for event in events) == 3
    assert_same_tensors(load_file(result.file), trained_tensors(make("without", **changes)))


@pytest.mark.parametrize("base", tiers(TINY_READ), indirect=True)
def test_plain_diffusers_draws_what_the_trainer_draws(base: Path, make: MakeConfig) -> None:
    config = make(learning_rate=0.05)
    result = train(config)
    engine = engine_for(config)
    saved = load_file(result.file)
    for name, layer in engine.lora.layers.items():
        layer.lora_A["default"].weight.data = saved[f"{name}.lora_down.weight"]
        layer.lora_B["default"].weight.data = saved[f"{name}.lora_up.weight"]
    pipe = DiffusionPipeline.from_pretrained(base)
    without = draw(pipe)
    pipe.load_lora_weights(result.path)
    found = draw(pipe)
    torch.testing.assert_close(found, draw(engine.base.pipeline()), rtol=0, atol=1e-5)
    assert (found - without).abs().max() > 1e-3
    learned = {name.split("_")[1] for name, up in saved.items() if name.endswith("up.weight") and up.any()}
    assert learned == LEARNED.get(Path(base).name, {"unet", "te"})
