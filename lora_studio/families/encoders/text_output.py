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
    has it. `mask` [b, n] is True where a text has a token, for texts of unequal lengths; None: everywhere.
    Only the family looks inside."""

    states: torch.Tensor
    pooled: torch.Tensor | None = None
    mask: torch.Tensor | None = None

    @staticmethod
    def stack(outputs: Sequence[TextOutput]) -> TextOutput:
        """One batch of several."""
        pooled = [output.pooled for output in outputs if output.pooled is not None]
        masks = [output.mask for output in outputs if output.mask is not None]
        longest = max(output.states.shape[1] for output in outputs) if masks else 0
        states = [output.states for output in outputs]
        return TextOutput(
            states=torch.cat([_filled_up(one, longest) for one in states] if masks else states),
            pooled=torch.cat(pooled) if pooled else None,
            mask=torch.cat([_filled_up(mask, longest) for mask in masks]) if masks else None,
        )

    @property
    def rows(self) -> list[torch.Tensor]:
        """The states of each text by itself, [its own n, d]."""
        if self.mask is None:
            return list(self.states)
        return [states[mask] for states, mask in zip(self.states, self.mask, strict=True)]

    def to(self, where: str | torch.device | torch.dtype) -> TextOutput:
        """The output on another device, or in another number format."""
        pooled = None if self.pooled is None else self.pooled.to(where)
        mask = self.mask if isinstance(where, torch.dtype) or self.mask is None else self.mask.to(where)
        return TextOutput(states=self.states.to(where), pooled=pooled, mask=mask)


def _filled_up(rows: torch.Tensor, longest: int) -> torch.Tensor:
    """[b, n, ...] with zeros behind, up to `longest`."""
    missing = rows.new_zeros(len(rows), longest - rows.shape[1], *rows.shape[2:])
    return torch.cat([rows, missing], dim=1)
