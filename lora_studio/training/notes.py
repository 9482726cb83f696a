"""Settings that will have no effect, in a sentence each: nothing is ignored in silence."""

from __future__ import annotations

from collections.abc import Iterator

from lora_studio.config import TrainConfig
from lora_studio.runtime import Device


def ignored_settings(config: TrainConfig, device: Device) -> Iterator[str]:
    """Sentences on settings that this run will ignore, or that do not do what they seem to."""
    data, optimizer = config.dataset, config.optimizer
    if config.network.network_train_unet_only and optimizer.text_encoder_lr:
        yield "text_encoder_lr is ignored: network_train_unet_only leaves the text encoder as it is."
    if data.keep_tokens and not data.shuffle_caption:
        yield "keep_tokens is ignored: captions aren't shuffled."
    if data.shuffle_caption and data.cache_text_encoder_outputs and not config.trains_text_encoder:
        yield "cache_text_encoder_outputs is ignored: a shuffled caption is a new one each time."
    if data.bucket_no_upscale and not data.enable_bucket:
        yield "bucket_no_upscale is ignored: buckets are off, so each picture is scaled to the square."
    if optimizer.lr_warmup_steps >= optimizer.max_train_steps:
        yield (
            f"The warm-up of {optimizer.lr_warmup_steps} steps is as long as the training: the full learning "
            "rate is never reached."
        )
    if config.model.mixed_precision == "bf16" and not device.native_bf16:
        yield f"{device.title} has no bf16 hardware: bf16 is imitated and slower than 32 bit."
