"""Texts to what the denoiser attends to, through an inner layer of a language model: each text is put to it
as the message of a user.

Legend: b texts, n tokens of the longest, d width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch

from lora_studio.families.encoders.chat_message import as_message
from lora_studio.families.encoders.text_output import TextOutput

if TYPE_CHECKING:
    from lora_studio.families.encoders.clip_encoder import CaptionWindows, PromptWindows


class ChatEncoder:
    """Encodes texts for one base model; `encoder` gives its language model, which need not stay in memory as
    the `tokenizer` does. `layer` is the layer whose states are taken, and `longest` the most tokens, those of
    the template included. Captions and prompts are read alike, brackets are letters."""

    def __init__(self, encoder: Callable[[], Any], tokenizer: Any, *, layer: int, longest: int) -> None:
        self._encoder = encoder
        self._tokenizer = tokenizer
        self._layer = layer
        self._longest = longest

    def encode_captions(self, captions: Sequence[str], how: CaptionWindows) -> TextOutput:
        """One batch, [b, n, d]; of `how` nothing applies. Each text goes alone, so that its company doesn't
        matter to the last bit."""
        encoder = self._encoder()
        return TextOutput.stack([self._encode(encoder, caption) for caption in captions])

    def caption_layer(self, clip_skip: int | None) -> int:
        """Always the same layer."""
        return 1

    @torch.no_grad()
    def encode_prompts(self, prompt: str, negative: str, how: PromptWindows) -> tuple[TextOutput, TextOutput]:
        """A prompt and a negative prompt, each of its own length; of `how` nothing applies."""
        encoder = self._encoder()
        return self._encode(encoder, prompt), self._encode(encoder, negative)

    def count_caption(self, caption: str, *, weighted: bool) -> int:
        """The count of a caption's tokens with those of the template, whatever is read of them."""
        return len(self._tokenizer(as_message(self._tokenizer, caption), verbose=False).input_ids)

    def caption_limit(self, max_token_length: int | None) -> tuple[int, str]:
        """The most tokens of a caption that are read, and a hint for those who need more."""
        return self._longest, "Shorten them."

    def _encode(self, encoder: Any, text: str) -> TextOutput:
        """One text, [1, n, d]. Filled up to the longest and cut again, as diffusers does it: the last bits
        depend on that."""
        tokens = self._tokenizer(
            [as_message(self._tokenizer, text)],
            padding="max_length",
            max_length=self._longest,
            truncation=True,
            return_tensors="pt",
        )
        mask = tokens.attention_mask.bool()
        output = encoder(
            input_ids=tokens.input_ids.to(encoder.device),
            attention_mask=mask.to(encoder.device),
            output_hidden_states=True,
        )
        padded = output.hidden_states[self._layer]
        states = padded[mask.to(padded.device)][None]
        return TextOutput(
            states=states, mask=torch.ones(states.shape[:2], dtype=torch.bool, device=states.device)
        )
