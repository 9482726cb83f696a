"""The bytes a run will write: for the plan, and before and during the run for the room on the disk."""

from __future__ import annotations

from dataclasses import dataclass

from lora_studio.training.evaluation.intervals import checkpoint_steps, preview_steps
from lora_studio.training.evaluation.preview_plan import prompts_of
from lora_studio.training.evaluation.previews import base_title
from lora_studio.training.model import Engine
from lora_studio.training.result_folder import PRECISIONS

NAME_BYTES = 120
"""A tensor's entry in the header."""
STATES, COPIES, WEIGHT_BYTES = 2, 3, 4
"""States on the disk at once, numbers that a state holds of each weight (with most optimizers two averages of
its gradient besides), and bytes of a number."""


@dataclass(frozen=True, kw_only=True)
class DiskUse:
    """`file` is one LoRA, `state` one state to resume from, `pictures` all previews of a round."""

    file: int
    state: int
    pictures: int
    checkpoints: int
    rounds: int

    @property
    def peak(self) -> int:
        """The most at once; the states go at the end."""
        return self.file * (self.checkpoints + 1) + STATES * self.state + self.rounds * self.pictures

    @property
    def at_an_end(self) -> int:
        """The bytes written when the run ends early, after what may be due at the same step."""
        return 2 * self.file + self.state + self.pictures


def disk_use(engine: Engine, picture: int) -> DiskUse:
    """The bytes of a run whose previews take `picture` bytes each."""
    config = engine.config
    dtype = PRECISIONS[config.output.save_precision]
    tensors = engine.lora.tensors(dtype).values()
    trained = sum(weight.numel() for part in engine.rates for weight in engine.lora.parameters(part))
    rounds = len(preview_steps(config))
    return DiskUse(
        file=sum(tensor.numel() * dtype.itemsize + NAME_BYTES for tensor in tensors),
        state=COPIES * WEIGHT_BYTES * trained,
        pictures=(len(prompts_of(config, base_title(engine))) + 1) * picture if rounds else 0,
        checkpoints=len(checkpoint_steps(config)),
        rounds=rounds + 1 if rounds else 0,
    )
