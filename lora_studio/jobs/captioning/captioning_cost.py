"""The cost of a captioning, said before it begins."""

from __future__ import annotations

from dataclasses import dataclass

from lora_studio.captioning.captioner import CaptionEngine
from lora_studio.captioning.engine_files import engine_weights
from lora_studio.jobs.captioning.captioning_state import Captioning


@dataclass(frozen=True, kw_only=True)
class CaptioningCost:
    """`pictures` to be looked at; `seconds` they take together, None where this engine was not measured here
    yet; `memory_bytes` of the engine's weights, 0 where its model isn't on this machine."""

    engine: CaptionEngine
    pictures: int
    seconds: float | None
    memory_bytes: int

    @property
    def is_here(self) -> bool:
        return self.memory_bytes > 0


def cost_of(engine: CaptionEngine, pictures: int, measured: Captioning | None) -> CaptioningCost:
    """The cost of so many pictures, going by an earlier captioning with the engine that looked at some."""
    seconds = None
    if measured is not None and measured.done:
        seconds = measured.loading + pictures * measured.seconds / measured.done
    weights = engine_weights(engine)
    return CaptioningCost(
        engine=engine,
        pictures=pictures,
        seconds=seconds,
        memory_bytes=sum(one.stat().st_size for one in weights),
    )
