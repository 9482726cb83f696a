"""What only a graphics card can show."""

from __future__ import annotations

import pytest
import torch
from diffusers import StableDiffusionPipeline

from lora_studio.events import Event, Started
from lora_studio.trainer import train
from tests.support.configs import ConfigMaker

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("text_encoder", [True, False])
def test_training_on_cuda_takes_bf16_and_leaves_a_file_for_any_machine(
    make_config: ConfigMaker, text_encoder: bool
) -> None:
    config = make_config(
        mixed_precision="auto",
        network_train_unet_only=not text_encoder,
        gradient_checkpointing=True,
        network_dropout=0.1,
        sample_every_n_steps=2,
        sample_prompts=("zwx",),
    )
    events: list[Event] = []
    result = train(config, events.append)
    started = events[0]
    assert isinstance(started, Started)
    assert started.dtype == "bfloat16"
    assert started.device == torch.cuda.get_device_properties(0).name
    pipe = StableDiffusionPipeline.from_pretrained(config.model.pretrained_model_name_or_path)
    pipe.load_lora_weights(result.path)
    assert pipe.get_active_adapters()
