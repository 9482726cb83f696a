"""Texts to what the denoiser attends to, through inner layers of a language model: each text is put to it as
the message of a user.

Legend: b texts, n tokens of the longest, d width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch

from lora_studio.errors import BrokenFile
from lora_studio.families.encoders.chat_message import as_message
from lora_studio.families.encoders.text_output import TextOutput

if TYPE_CHECKING:
    from lora_studio.families.base_files.found_base import FoundBase
    from lora_studio.families.encoders.clip_encoder import CaptionWindows, PromptWindows


class ChatEncoder:
    """Encodes texts for one base model; `encoder` gives its language model, which need not stay in memory as
    the `tokenizer` does. The states of `layers` are taken, side by side, of `longest` tokens at most, those
    of the template included. `thinks`: the template lets the model think before it answers. `padded`: the
    denoiser gets every text at the longest length. Captions and prompts are read alike, brackets are
    letters."""

    def __init__(
        self,
        encoder: Callable[[], Any],
        tokenizer: Any,
        *,
        layers: Sequence[int],
        longest: int,
        thinks: bool = True,
        padded: bool = False,
    ) -> None:
        self._encoder = encoder
        self._tokenizer = tokenizer
        self._layers = layers
        self._longest = longest
        self._thinks = thinks
        self._padded = padded

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
        """A prompt and a negative prompt; of `how` nothing applies."""
        encoder = self._encoder()
        return self._encode(encoder, prompt), self._encode(encoder, negative)

    def count_caption(self, caption: str, *, weighted: bool) -> int:
        """The count of a caption's tokens with those of the template, whatever is read of them."""
        return len(self._tokenizer(self._message(caption), verbose=False).input_ids)

    def caption_limit(self, max_token_length: int | None) -> tuple[int, str]:
        """The most tokens of a caption that are read, and a hint for those who need more."""
        return self._longest, "Shorten them."

    def _message(self, text: str) -> str:
        return as_message(self._tokenizer, text, thinks=self._thinks)

    def _encode(self, encoder: Any, text: str) -> TextOutput:
        """One text, [1, n, d]. Filled up to the longest and, unless it stays so, cut again, as diffusers does
        it: the last bits depend on that."""
        tokens = self._tokenizer(
            [self._message(text)],
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
        padded = torch.cat([output.hidden_states[layer] for layer in self._layers], dim=-1)
        if self._padded:
            return TextOutput(states=padded)
        states = padded[mask.to(padded.device)][None]
        return TextOutput(
            states=states, mask=torch.ones(states.shape[:2], dtype=torch.bool, device=states.device)
        )


def check_template(tokenizer: Any, found: FoundBase) -> None:
    """Refuse a base whose tokenizer has no chat template. Raises BrokenFile."""
    if not tokenizer.chat_template:
        raise BrokenFile(
            f"The tokenizer of {found.name} has no chat template, which texts are put into.",
            "Get its files again: it stands in tokenizer_config.json or chat_template.jinja.",
            path=found.path_or_id,
        )
