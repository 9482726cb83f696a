"""Settings that will have no effect, in a sentence each: nothing is ignored in silence."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from lora_studio.config import TrainConfig
from lora_studio.config_groups import NoiseGroup, OptimizerGroup
from lora_studio.data.captions import changes_parts
from lora_studio.lora.file.other_programs import say, written_kind
from lora_studio.lora.network.ranks import unused_settings
from lora_studio.runtime import Device, compute_dtype


def ignored_settings(config: TrainConfig, device: Device, family: str = "") -> Iterator[str]:
    """Sentences on settings that this run will ignore, or that do not do what they seem to. `family` is the
    base's, as far as it is known."""
    data, optimizer = config.dataset, config.optimizer
    if config.network.network_train_unet_only and optimizer.text_encoder_lr:
        yield "text_encoder_lr is ignored: network_train_unet_only leaves the text encoder as it is."
    if changes_parts(data) and data.cache_text_encoder_outputs and not config.trains_text_encoder:
        yield "cache_text_encoder_outputs is ignored: a caption is another one each time."
    yield from unused_settings(config.network)
    if not config.network.is_plain:
        yield f"Who reads the file: {say(*written_kind(config.network), family)}"
    yield from _ignored_noise(config.noise)
    yield from _ignored_rates(optimizer)
    if optimizer.warmup_steps >= optimizer.max_train_steps:
        yield (
            f"The warm-up of {optimizer.warmup_steps} steps is as long as the training: the full learning "
            "rate is never reached."
        )
    if config.run.cpu_data_parallel and device.kind == "cpu" and (reason := why_not_parallel(config, device)):
        yield f"cpu_data_parallel is ignored: {reason}."
    if config.model.mixed_precision == "bf16" and not device.native_bf16:
        yield f"{device.title} has no bf16 hardware: bf16 is imitated and slower than 32 bit."


def why_not_parallel(config: TrainConfig, device: Device) -> str:
    """The reason why the pictures of a batch are not shared among threads on a CPU, though cpu_data_parallel
    is on; empty where they are."""
    network = config.network
    if compute_dtype(config.model.mixed_precision, device).itemsize < 4:
        return "it needs 32 bit (mixed_precision no)"
    if network.network_dropout or network.rank_dropout or network.module_dropout:
        return "dropout draws its numbers for the whole batch"
    if config.model.blocks_to_swap:
        return "swapped blocks come for one computation at a time"
    return ""


def _ignored_noise(noise: NoiseGroup) -> Iterator[str]:
    if noise.noise_offset_random_strength and not noise.noise_offset:
        yield "noise_offset_random_strength is ignored: there is no noise_offset."
    if noise.ip_noise_gamma_random_strength and not noise.ip_noise_gamma:
        yield "ip_noise_gamma_random_strength is ignored: there is no ip_noise_gamma."
    plain = type(noise)()
    if noise.multires_noise_discount != plain.multires_noise_discount and not noise.multires_noise_iterations:
        yield "multires_noise_discount is ignored: multires_noise_iterations is 0."
    for name in ("huber_schedule", "huber_c", "huber_scale"):
        if getattr(noise, name) == getattr(plain, name):
            continue
        if noise.loss_type not in ("huber", "smooth_l1"):
            yield f"{name} is ignored: loss_type {noise.loss_type} has no border between small and large."
        elif name == "huber_scale" and noise.huber_schedule == "snr":
            yield "huber_scale is ignored: the snr schedule has none."
    if noise.zero_terminal_snr:
        yield (
            "zero_terminal_snr is meant for v-prediction. Generate with a sampler that rescales its schedule "
            "the same way; previews keep to the base's own."
        )


def without_effect(noise: NoiseGroup, unused: Collection[str]) -> Iterator[str]:
    """A sentence on those of the `unused` settings that were changed."""
    plain = type(noise)()
    changed = [name for name in unused if getattr(noise, name) != getattr(plain, name)]
    if changed:
        yield f"{', '.join(changed)}: without effect on this base model, with the other settings as they are."


def _ignored_rates(optimizer: OptimizerGroup) -> Iterator[str]:
    name = optimizer.lr_scheduler.partition(":")[0]
    if optimizer.schedule_free and (name != "constant" or optimizer.lr_scheduler_type):
        yield f"lr_scheduler is ignored: {optimizer.optimizer_type} needs none, its learning rate stays."
    elif optimizer.finds_own_rate:
        if name not in ("adafactor", "constant") or optimizer.unet_lr or optimizer.text_encoder_lr:
            yield (
                "Learning rates and lr_scheduler are ignored: Adafactor finds its own; relative_step=False "
                "in optimizer_args gives them back."
            )
    elif optimizer.lr_scheduler_type and name != "constant":
        yield f"lr_scheduler {name} is ignored: lr_scheduler_type takes its place."
    if optimizer.optimizer_type.startswith(("Prodigy", "DAdapt")) and optimizer.learning_rate <= LOW_RATE:
        yield (
            f"{optimizer.optimizer_type} finds the learning rate by itself and multiplies it by "
            f"learning_rate, which is {optimizer.learning_rate:g}: 1 is usual."
        )
    for setting, needs in NEEDED_SCHEDULES.items():
        changed = getattr(optimizer, setting) != type(optimizer).model_fields[setting].default
        if changed and name not in needs:
            yield f"{setting} is ignored: lr_scheduler {name} does not use it."


LOW_RATE = 0.1
NEEDED_SCHEDULES = {
    "lr_decay_steps": ("warmup_stable_decay",),
    "lr_scheduler_power": ("polynomial",),
    "lr_scheduler_timescale": ("inverse_sqrt",),
    "lr_scheduler_min_lr_ratio": ("cosine_with_min_lr", "cosine_warmup_with_min_lr", "warmup_stable_decay"),
    "lr_scheduler_num_cycles": (
        "cosine_with_restarts",
        "cosine_with_min_lr",
        "cosine_warmup_with_min_lr",
        "warmup_stable_decay",
    ),
}
"""Settings of the schedule that only some schedules use."""
