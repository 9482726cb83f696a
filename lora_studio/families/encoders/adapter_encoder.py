"""Texts to what the denoiser attends to, through a language model and an adapter: the adapter begins with the
tokens that T5 has for the text, and attends to the states that the language model has of it.

Legend: b texts, n tokens of the language model, m of T5, d width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from lora_studio.families.encoders.single_text_encoder import SingleTextEncoder
from lora_studio.families.encoders.text_output import TextOutput


class AdapterEncoder(SingleTextEncoder):
    """`models` gives a language model and an adapter; `longest` is the most tokens of each kind."""

    def __init__(
        self, models: Callable[[], tuple[Any, Any]], tokenizer: Any, t5_tokenizer: Any, *, longest: int
    ) -> None:
        super().__init__(models, longest)
        self._tokenizer = tokenizer
        self._t5_tokenizer = t5_tokenizer

    def count_caption(self, caption: str, *, weighted: bool) -> int:
        """The count of a caption's tokens, of the tokenizer that needs more, whatever is read of them."""
        tokenizers = (self._tokenizer, self._t5_tokenizer)
        return max(len(one(caption, verbose=False).input_ids) for one in tokenizers)

    def _encode(self, models: tuple[Any, Any], text: str) -> TextOutput:
        """One text, [1, longest, d]: the adapter fills up with zeros behind, which the denoiser attends to as
        well. An empty text is one token of the language model that nobody attends to."""
        encoder, adapter = models
        read = self._tokens(self._tokenizer, text)
        written = self._tokens(self._t5_tokenizer, text)
        ids, mask = read.input_ids, read.attention_mask
        if not ids.shape[1]:
            ids = mask = torch.zeros(1, 1, dtype=torch.long)
        ids, mask = ids.to(encoder.device), mask.to(encoder.device)
        states = encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        states = (states * mask[..., None].to(states.dtype)).to(adapter.device, adapter.dtype)
        with torch.autocast(adapter.device.type, enabled=False):
            adapted = adapter(
                source_hidden_states=states,
                source_attention_mask=mask.to(adapter.device),
                target_input_ids=written.input_ids.to(adapter.device),
                target_attention_mask=written.attention_mask.to(adapter.device),
            )
        return TextOutput(states=adapted)

    def _tokens(self, tokenizer: Any, text: str) -> Any:
        return tokenizer([text], truncation=True, max_length=self._longest, return_tensors="pt")
