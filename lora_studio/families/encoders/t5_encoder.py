"""Texts to what the denoiser attends to, through T5 (Raffel et al. 2020), and to one vector for the whole
text through CLIP.

Legend: b texts, n tokens, d width, e width of the pooled text.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from lora_studio.families.encoders.single_text_encoder import SingleTextEncoder
from lora_studio.families.encoders.text_output import TextOutput

LONGEST = 512
"""Tokens of a text that are read, its end mark included."""
PADDING_SEEN = 1
"""Tokens of padding behind a masked text that a denoiser attends to, as Chroma was trained."""


class T5Encoder(SingleTextEncoder):
    """`encoders` gives a T5 and a CLIP (None where the base has none), with `tokenizers` in the same order.
    `masked`: T5 passes the padding over, and the denoiser gets none of it but a single token."""

    def __init__(
        self, encoders: Callable[[], tuple[Any, Any]], tokenizers: tuple[Any, Any], *, masked: bool = False
    ) -> None:
        super().__init__(encoders, LONGEST)
        self._tokenizer, self._pooling_tokenizer = tokenizers
        self._masked = masked

    def count_caption(self, caption: str, *, weighted: bool) -> int:
        """The count of a caption's tokens with the end mark, whatever is read of them."""
        return len(self._tokenizer(caption, verbose=False).input_ids)

    def _encode(self, encoders: tuple[Any, Any], text: str) -> TextOutput:
        t5, clip = encoders
        states, mask = self._states(t5, text)
        return TextOutput(states=states, mask=mask, pooled=None if clip is None else self._pooled(clip, text))

    @torch.no_grad()
    def _states(self, t5: Any, text: str) -> tuple[torch.Tensor, torch.Tensor | None]:
        """[1, n, d], always of the longest length without a mask; with one of the text's own."""
        tokens = _tokens(self._tokenizer, text, LONGEST)
        t5.eval()  # it is never trained, and would drop out
        ids, mask = (one.to(t5.device) for one in (tokens.input_ids, tokens.attention_mask))
        if not self._masked:
            return t5(ids)[0], None
        states: torch.Tensor = t5(ids, attention_mask=mask)[0]
        states = states[:, : int(mask.sum()) + PADDING_SEEN]
        return states, torch.ones(states.shape[:2], dtype=torch.bool, device=states.device)

    def _pooled(self, clip: Any, text: str) -> torch.Tensor:
        """The state of the end mark, [1, e]; CLIP reads the first 75 tokens."""
        tokenizer = self._pooling_tokenizer
        tokens = _tokens(tokenizer, text, tokenizer.model_max_length)
        pooled: torch.Tensor = clip(tokens.input_ids.to(clip.device)).pooler_output
        return pooled


def _tokens(tokenizer: Any, text: str, longest: int) -> Any:
    """A text's tokens, filled up and cut to `longest`."""
    return tokenizer([text], padding="max_length", max_length=longest, truncation=True, return_tensors="pt")
