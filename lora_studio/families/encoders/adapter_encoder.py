"""Texts to what the denoiser attends to, through a language model and an adapter: the adapter begins with the
tokens that T5 has for the text, and attends to the states that the language model has of it.

Legend: b texts, n tokens of the language model, m of T5, d width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch

from lora_studio.families.encoders.text_output import TextOutput

if TYPE_CHECKING:
    from lora_studio.families.encoders.clip_encoder import CaptionWindows, PromptWindows


class AdapterEncoder:
    """Encodes texts for one base model; `models` gives its language model and its adapter, which need not
    stay in memory as the tokenizers do. `longest` is the most tokens of each kind. Captions and prompts are
    read alike, brackets are letters."""

    def __init__(
        self, models: Callable[[], tuple[Any, Any]], tokenizer: Any, t5_tokenizer: Any, *, longest: int
    ) -> None:
        self._models = models
        self._tokenizer = tokenizer
        self._t5_tokenizer = t5_tokenizer
        self._longest = longest

    def encode_captions(self, captions: Sequence[str], how: CaptionWindows) -> TextOutput:
        """One batch, [b, longest, d]; of `how` nothing applies. Each text goes alone, so that its company
        doesn't matter to the last bit."""
        models = self._models()
        return TextOutput.stack([self._encode(models, caption) for caption in captions])

    def caption_layer(self, clip_skip: int | None) -> int:
        """Always the last layer."""
        return 1

    @torch.no_grad()
    def encode_prompts(self, prompt: str, negative: str, how: PromptWindows) -> tuple[TextOutput, TextOutput]:
        """A prompt and a negative prompt, [1, longest, d] each; of `how` nothing applies."""
        models = self._models()
        return self._encode(models, prompt), self._encode(models, negative)

    def count_caption(self, caption: str, *, weighted: bool) -> int:
        """The count of a caption's tokens, of the tokenizer that needs more, whatever is read of them."""
        tokenizers = (self._tokenizer, self._t5_tokenizer)
        return max(len(one(caption, verbose=False).input_ids) for one in tokenizers)

    def caption_limit(self, max_token_length: int | None) -> tuple[int, str]:
        """The most tokens of a caption that are read, and a hint for those who need more."""
        return self._longest, "Shorten them."

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
