"""Captions to tokens in Kohya's way: several windows of 75 tokens, and weights from brackets.

Legend: b captions, m windows, k tokens of a window with its two marks (77 in CLIP), n tokens in the end
(75 m + 2), d width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from lora_studio.prompts.prompt_weights import read_weights

WINDOW = 75


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """`ids` [b, m, k]; `weights` [b, n], or None where all are 1."""

    ids: torch.Tensor
    weights: torch.Tensor | None

    @property
    def windows(self) -> torch.Tensor:
        """[b m, k]: each window is encoded by itself."""
        return self.ids.flatten(0, 1)

    def join(self, states: torch.Tensor) -> torch.Tensor:
        """All windows' states [b m, k, d] as one row, weighed, with first and last mark, [b, n, d]."""
        states = states.unflatten(0, self.ids.shape[:2])
        middle = states[:, :, 1:-1].flatten(1, 2)
        joined = torch.cat([states[:, 0, :1], middle, states[:, -1, -1:]], dim=1)
        return joined if self.weights is None else joined * self.weights.to(joined)[..., None]


def tokenize(
    tokenizer: Any, captions: Sequence[str], max_token_length: int | None = None, *, weighted: bool = False
) -> Tokens:
    """Tokens beyond `max_token_length` (None: one window) are left out. `weighted` reads brackets."""
    inside = tokenizer.model_max_length - 2
    windows = max(1, (max_token_length or inside) // inside)
    ids, weights = [], []
    for caption in captions:
        found, strengths = _tokens_of(tokenizer, caption, weighted)
        found, strengths = found[: windows * inside], strengths[: windows * inside]
        ids.append([_window(tokenizer, found[start * inside :][:inside], inside) for start in range(windows)])
        weights.append([1.0, *strengths, *[1.0] * (windows * inside - len(strengths) + 1)])
    return Tokens(ids=torch.tensor(ids), weights=torch.tensor(weights) if weighted else None)


def count_tokens(tokenizer: Any, caption: str, *, weighted: bool = False) -> int:
    """The count of a caption's tokens, whatever is read of them."""
    return len(_tokens_of(tokenizer, caption, weighted)[0])


def _tokens_of(tokenizer: Any, caption: str, weighted: bool) -> tuple[list[int], list[float]]:
    tokens: list[int] = []
    weights: list[float] = []
    for piece, weight in read_weights(caption) if weighted else [(caption, 1.0)]:
        found = tokenizer(piece, add_special_tokens=False, verbose=False).input_ids
        tokens += found
        weights += [weight] * len(found)
    return tokens, weights


def _window(tokenizer: Any, tokens: Sequence[int], inside: int) -> list[int]:
    padding = [tokenizer.pad_token_id] * (inside - len(tokens))
    return [tokenizer.bos_token_id, *tokens, tokenizer.eos_token_id, *padding]
