"""Encoded texts as a denoiser takes them.

Shape letters: b batch, n tokens, d text width, e width of the pooled text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True, kw_only=True)
class TextOutput:
    """Encoded captions as the denoiser takes them: `states` [b, n, d], and `pooled` [b, e] where the family
    has it. Only the family looks inside."""

    states: torch.Tensor
    pooled: torch.Tensor | None = None

    @staticmethod
    def stack(outputs: Sequence[TextOutput]) -> TextOutput:
        """One batch of several."""
        pooled = [output.pooled for output in outputs if output.pooled is not None]
        return TextOutput(
            states=torch.cat([output.states for output in outputs]),
            pooled=torch.cat(pooled) if pooled else None,
        )

    def to(self, where: str | torch.device | torch.dtype) -> TextOutput:
        """The output on another device, or in another number format."""
        pooled = None if self.pooled is None else self.pooled.to(where)
        return TextOutput(states=self.states.to(where), pooled=pooled)
