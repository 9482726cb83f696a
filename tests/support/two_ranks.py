"""Two processes that train together, one of which has too little memory at a place of its own."""

from __future__ import annotations

import os
from multiprocessing.connection import Connection
from typing import Any, Literal

import torch
from torch import distributed

from lora_studio.config import TrainConfig
from lora_studio.events import Event, Noted
from lora_studio.families import sd
from lora_studio.trainer import train
from lora_studio.training.optimization.process_ranks import Ranks

Place = Literal["denoiser", "norm of the gradients"]


def run(values: dict[str, Any], rank: int, meeting: str, place: Place, said: Connection) -> None:
    """Train as one of two. Rank 1 runs out of memory in the second step, and from then on rank 0 is asked to
    stop. Sends the warnings of this rank, and how it ended."""
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
    denoise, clip, calls = sd.StableDiffusionModel.denoise, torch.nn.utils.clip_grad_norm_, list[str]()

    def run_out(where: Place) -> None:
        calls.append(where)
        if rank == 1 and where == place and calls.count(where) == 2:
            raise torch.OutOfMemoryError("CUDA out of memory")

    def counted_denoise(self: Any, *given: Any, **more: Any) -> Any:
        run_out("denoiser")
        return denoise(self, *given, **more)

    def counted_clip(*given: Any, **more: Any) -> Any:
        run_out("norm of the gradients")
        return clip(*given, **more)

    sd.StableDiffusionModel.denoise = counted_denoise  # type: ignore[method-assign]
    torch.nn.utils.clip_grad_norm_ = counted_clip
    events: list[Event] = []
    try:
        result = train(
            TrainConfig.from_values(values),
            events.append,
            lambda: rank == 0 and calls.count("denoiser") >= 2,
            ranks=Ranks(rank=rank, count=2),
        )
        end = result.status
    except Exception as error:  # noqa: BLE001 -- the test asks which
        end = type(error).__name__
    said.send(([one.message for one in events if isinstance(one, Noted) and one.level == "warning"], end))
