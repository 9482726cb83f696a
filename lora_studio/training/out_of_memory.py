"""Fallbacks when the memory runs out in the middle of a training: a ladder of ways to need less of it, each
with its cost. All but the last three leave what is learned as it was, up to rounding."""

from __future__ import annotations

import gc
import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch

from lora_studio.config import TrainConfig
from lora_studio.data.training_set.folders import PictureFolder
from lora_studio.events import Emit, Noted, ShouldStop, ignore
from lora_studio.families.weights.block_swap import BlockSwap, saved_bytes
from lora_studio.families.weights.quantised_weights import quantise_weights
from lora_studio.formatting import size
from lora_studio.training.loop import Loop
from lora_studio.training.model import Engine
from lora_studio.training.optimization.lr_schedules import build_schedule
from lora_studio.training.optimization.optimizers import build_optimizer
from lora_studio.training.preparation.training_data import keeps_texts, prepare_data

Rung = Callable[["Fallbacks"], str]
"""Takes one measure and says in a sentence what it costs; empty when it would change nothing."""
HAVE_OWN_MEMORY = ("cuda",)
"""Kinds of devices whose memory is not the machine's."""
EIGHT_BIT = {"AdamW": "AdamW8bit", "Lion": "Lion8bit"}


@dataclass(kw_only=True)
class Fallbacks:
    """The measures for one run. Those taken stand in the loop's `rungs`, so that a resumed run takes them
    at once."""

    loop: Loop
    folder: PictureFolder
    emit: Emit
    should_stop: ShouldStop

    def climb(self) -> bool:
        """Take the next measure that helps and say so; False when there is none left."""
        self.loop.optimizer.zero_grad(set_to_none=True)
        free_memory()
        for name, rung in RUNGS.items():
            measure = rung(self)
            if measure:
                self.loop.rungs = (*self.loop.rungs, name)
                step = self.loop.step + 1
                note = f"The memory was not enough for step {step}. {measure} The step is tried again."
                self.emit(Noted(message=note, level="warning"))
                return True
        return False

    def climb_again(self, rungs: tuple[str, ...], at_once: int | None) -> None:
        """Take the measures of an earlier part of the run, in silence."""
        for name in dict.fromkeys(rungs):
            if name in RUNGS:
                RUNGS[name](self)
        self.loop.rungs, self.loop.at_once = rungs, at_once


def free_memory() -> None:
    """Give back what a step that broke off still holds."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _keep_caches(fallbacks: Fallbacks) -> str:
    loop, config = fallbacks.loop, fallbacks.loop.engine.config
    wanted = config.with_values({"cache_latents": True, "cache_text_encoder_outputs": True})
    more_texts = keeps_texts(wanted) and not keeps_texts(config) and loop.data.texts is not None
    if config.dataset.cache_latents and not more_texts:
        return ""
    engine = replace(loop.engine, config=wanted)
    data = prepare_data(engine, fallbacks.folder, ignore, fallbacks.should_stop)
    # A stop is heard by rank 0 alone, and no rank may take a measure that another leaves out.
    if loop.ranks.highest(int(data is None)) or data is None:
        return ""
    loop.engine, loop.data = engine, data
    return "Pictures and captions are now encoded once and kept: the same result, at no cost in time."


def _checkpoint_gradients(fallbacks: Fallbacks) -> str:
    loop = fallbacks.loop
    if loop.engine.config.optimizer.gradient_checkpointing:
        return ""
    loop.engine.checkpoint_gradients()
    _change(loop, gradient_checkpointing=True)
    return "Gradient checkpointing is on now: the same result, but each step takes about 1.5 times as long."


def _split_batches(fallbacks: Fallbacks) -> str:
    loop = fallbacks.loop
    size = loop.at_once or loop.engine.config.dataset.train_batch_size
    if size == 1:
        return ""
    loop.at_once = (size + 1) // 2
    return (
        f"Batches are now computed {loop.at_once} picture{'s' * (loop.at_once > 1)} at a time and added up: "
        "the same batch mathematically, but slower."
    )


def _swap_blocks(fallbacks: Fallbacks) -> str:
    loop = fallbacks.loop
    if loop.engine.device.kind not in HAVE_OWN_MEMORY or loop.engine.swap is not None:
        return ""
    swap = BlockSwap(loop.engine.base.blocks, len(loop.engine.base.blocks))
    swap.start(loop.engine.device.kind)
    loop.engine = replace(loop.engine, swap=swap)
    _change(loop, blocks_to_swap=len(swap.blocks))
    return (
        "The blocks of the base model's denoiser lie in the machine's memory now and come to the device for "
        f"their turn, {size(saved_bytes(swap.blocks))} less there: the same result, but each step takes "
        "longer."
    )


def _take_eight_bits(fallbacks: Fallbacks) -> str:
    loop = fallbacks.loop
    settings = loop.engine.config.optimizer
    kind = EIGHT_BIT.get(settings.optimizer_type)
    if kind is None or loop.engine.device.kind != "cuda" or importlib.util.find_spec("bitsandbytes") is None:
        return ""
    exchange_optimizer(loop, kind)
    return (
        f"The optimizer is {kind} now: a quarter of its memory, but its averages begin anew and are rounded, "
        "so the result is another one."
    )


def _quantise_base(fallbacks: Fallbacks) -> str:
    if fallbacks.loop.engine.config.model.held_as:
        return ""
    return _hold_base(fallbacks, "qfloat8", 8)


def _quantise_base_further(fallbacks: Fallbacks) -> str:
    """Round the 8 bits once more: the exact weights are gone. A resumed run comes by the same way."""
    if fallbacks.loop.engine.config.model.held_as == "nf4":
        return ""
    return _hold_base(fallbacks, "nf4", 4)


def _hold_base(fallbacks: Fallbacks, qtype: str, bits: int) -> str:
    loop = fallbacks.loop
    saved = quantise_weights(loop.engine.base.denoiser, qtype)
    if loop.engine.swap is not None:
        loop.engine.swap.start(loop.engine.device.kind)
    _change(loop, qtype=qtype)
    return (
        f"The base model's denoiser is held in {bits} bits now ({qtype}), {size(saved)} less: each step "
        "takes a little longer, and the result is another one."
    )


def exchange_optimizer(loop: Loop, kind: str) -> None:
    """Go on with another optimizer at the same rates, its memory empty."""
    _change(loop, optimizer_type=kind)
    settings, rates = loop.engine.config.optimizer, [group["lr"] for group in loop.optimizer.param_groups]
    moved = loop.schedule.state_dict()
    loop.optimizer = build_optimizer(settings, loop.engine.parameter_groups())
    loop.schedule = build_schedule(settings, loop.optimizer)
    loop.schedule.load_state_dict(moved)
    for group, rate in zip(loop.optimizer.param_groups, rates, strict=True):
        group["lr"] = rate


def _change(loop: Loop, **values: object) -> None:
    config: TrainConfig = loop.engine.config.with_values(values)
    engine: Engine = replace(loop.engine, config=config)
    loop.engine = engine


RUNGS: Mapping[str, Rung] = {
    "caches": _keep_caches,
    "gradient checkpointing": _checkpoint_gradients,
    "smaller batches": _split_batches,
    "swapped blocks": _swap_blocks,
    "8-bit optimizer": _take_eight_bits,
    "quantised base": _quantise_base,
    "base in 4 bits": _quantise_base_further,
}
