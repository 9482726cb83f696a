"""What must stay true of the training engine whatever is rebuilt inside it."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file

from lora_studio.config import TrainConfig
from lora_studio.events import Event, PreviewSaved, StepDone
from lora_studio.trainer import train
from lora_studio.training.optimization.lr_schedules import build_schedule
from lora_studio.training.optimization.optimizers import build_optimizer
from tests.support.runs import assert_same_tensors, data_for, engine_for, run_steps, trained_tensors
from tests.support.tiny import make_pictures, make_tiny_base

PROMPT = "zwx, a disc"


def gradients_of_first_step(config: TrainConfig) -> list[torch.Tensor]:
    """Of a LoRA whose up matrices are not zero, so that every weight has a gradient."""
    engine = engine_for(config)
    generator = torch.Generator().manual_seed(3)
    for layer in engine.lora.layers.values():
        up = layer.lora_B["default"].weight
        up.data = 0.02 * torch.randn(up.shape, generator=generator)
    weights = {part: engine.lora.parameters(part) for part in engine.rates}
    optimizer = build_optimizer(config.optimizer, engine.parameter_groups())
    next(run_steps(engine, data_for(engine), optimizer, build_schedule(config.optimizer, optimizer)))
    found = [weight.grad for group in weights.values() for weight in group]
    assert all(gradient is not None for gradient in found)
    return [gradient for gradient in found if gradient is not None]


def draw(pipe: StableDiffusionPipeline) -> torch.Tensor:
    pipe.set_progress_bar_config(disable=True)
    image = pipe(
        PROMPT,
        num_inference_steps=3,
        guidance_scale=3.0,
        generator=torch.Generator().manual_seed(7),
        output_type="pt",
    ).images
    return image.detach()


def test_a_new_lora_leaves_the_output_as_it_was_to_the_bit(make_config) -> None:
    config = make_config()
    plain = StableDiffusionPipeline.from_pretrained(config.model.pretrained_model_name_or_path)
    engine = engine_for(config)
    assert torch.equal(draw(engine.base.pipeline()), draw(plain))


def test_plain_diffusers_gives_the_trainers_own_output_with_the_saved_folder(make_config) -> None:
    config = make_config(learning_rate=0.05, network_alpha=2.0, save_every_n_steps=2, sample_every_n_steps=2)
    result = train(config)
    engine = engine_for(config)
    saved = load_file(result.file)
    for name, layer in engine.lora.layers.items():
        layer.lora_A["default"].weight.data = saved[f"{name}.lora_down.weight"]
        layer.lora_B["default"].weight.data = saved[f"{name}.lora_up.weight"]
    own = draw(engine.base.pipeline())

    pipe = StableDiffusionPipeline.from_pretrained(config.model.pretrained_model_name_or_path)
    without = draw(pipe)
    pipe.load_lora_weights(result.path)  # previews/ and checkpoints/ lie beside the file
    assert torch.equal(draw(pipe), own)
    assert (own - without).abs().max() > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("name", ["my-checkpoint", "scheduler", "optimizer-2"])
def test_diffusers_finds_files_of_any_name(make_config, name: str) -> None:
    """diffusers skips files whose names contain certain words."""
    result = train(make_config(name, max_train_steps=1))
    pipe = StableDiffusionPipeline.from_pretrained(make_config().model.pretrained_model_name_or_path)
    pipe.load_lora_weights(result.path)
    assert pipe.get_active_adapters()


def test_a_batch_of_two_is_two_accumulated_batches_of_one(make_config) -> None:
    whole = gradients_of_first_step(make_config(train_batch_size=2))
    halves = gradients_of_first_step(make_config(gradient_accumulation_steps=2))
    for one, other in zip(whole, halves, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-7)
    alone = gradients_of_first_step(make_config())
    assert any((one - other).abs().max() > 1e-4 for one, other in zip(whole, alone, strict=True))


@pytest.mark.parametrize("text_encoder", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_cached_and_uncached_give_the_same_file_to_the_bit(make_config, text_encoder: bool) -> None:
    changes = {"network_train_unet_only": not text_encoder, "flip_aug": True, "caption_dropout_rate": 0.3}
    cached = trained_tensors(make_config("cached", train_batch_size=2, **changes))
    uncached = trained_tensors(
        make_config(
            "uncached", train_batch_size=2, cache_latents=False, cache_text_encoder_outputs=False, **changes
        )
    )
    assert_same_tensors(cached, uncached)


def test_gradient_checkpointing_changes_nothing(make_config) -> None:
    changes = {"network_dropout": 0.2}
    assert_same_tensors(
        trained_tensors(make_config("off", **changes)),
        trained_tensors(make_config("on", gradient_checkpointing=True, **changes)),
    )


def test_the_same_seed_gives_the_same_tensors_twice_in_one_process(make_config) -> None:
    torch.manual_seed(1)
    first = trained_tensors(make_config("first"))
    torch.manual_seed(2)
    torch.rand(5)
    second = trained_tensors(make_config("second"))
    assert_same_tensors(first, second)
    other = trained_tensors(make_config("other", seed=43))
    assert any(not torch.equal(tensor, other[key]) for key, tensor in first.items())


def test_training_leaves_the_global_random_state_alone(make_config) -> None:
    torch.manual_seed(5)
    before = copy.deepcopy(torch.get_rng_state())
    train(make_config(network_dropout=0.3, sample_every_n_steps=2))
    assert torch.equal(before, torch.get_rng_state())


def test_the_first_previews_are_the_base_models_own(make_config) -> None:
    events: list[Event] = []
    config = make_config(sample_every_n_steps=4, sample_prompts=(PROMPT, "zwx"))
    train(config, events.append)
    previews = [event for event in events if isinstance(event, PreviewSaved)]
    assert [preview.step for preview in previews] == [0, 0, 4, 4]
    assert [preview.seed for preview in previews] == [1, 2, 1, 2]
    for preview in previews:
        assert Path(preview.base_path).is_file()
        assert (preview.path == preview.base_path) == (preview.step == 0)
    assert Path(previews[2].path).read_bytes() != Path(previews[0].path).read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("stop_after", [1, 2, 3])
def test_stopping_at_any_step_leaves_a_loadable_file(make_config, stop_after: int) -> None:
    done: list[StepDone] = []

    def emit(event: Event) -> None:
        if isinstance(event, StepDone):
            done.append(event)

    config = make_config(f"stopped-{stop_after}")
    result = train(config, emit, lambda: len(done) >= stop_after)
    assert (result.status, result.steps, len(done)) == ("stopped", stop_after, stop_after)
    pipe = StableDiffusionPipeline.from_pretrained(config.model.pretrained_model_name_or_path)
    without = draw(pipe)
    pipe.load_lora_weights(result.path)
    assert not torch.equal(draw(pipe), without)
    assert json.loads((Path(result.path) / "training.json").read_text())["result"]["steps"] == stop_after


@pytest.mark.slow
@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("use_linear_projection", [True, False])
def test_every_kind_of_base_trains_and_loads(
    make_config, tmp_path: Path, prediction_type: str, use_linear_projection: bool
) -> None:
    base = make_tiny_base(tmp_path / "base", prediction_type, use_linear_projection)
    data = make_pictures(tmp_path / "data", sizes=((100, 60), (60, 100), (64, 64)))
    result = train(make_config(base=base, data=data, min_snr_gamma=5, noise_offset=0.05))
    pipe = StableDiffusionPipeline.from_pretrained(base)
    without = draw(pipe)
    pipe.load_lora_weights(result.path)
    assert not torch.equal(draw(pipe), without)
