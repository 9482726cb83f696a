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
from lora_studio.families.encoders.single_text_encoder import SingleTextEncoder
from lora_studio.families.encoders.text_output import TextOutput

if TYPE_CHECKING:
    from lora_studio.families.base_files.found_base import FoundBase


class ChatEncoder(SingleTextEncoder):
    """`encoder` gives a language model, of which the states of `layers` are taken, side by side; `longest`
    counts the tokens of the template too. `thinks`: the template lets the model think before it answers.
    `padded`: the denoiser gets every text at the longest length."""

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
        super().__init__(encoder, longest)
        self._tokenizer = tokenizer
        self._layers = layers
        self._thinks = thinks
        self._padded = padded

    def count_caption(self, caption: str, *, weighted: bool) -> int:
        """The count of a caption's tokens with those of the template, whatever is read of them."""
        return len(self._tokenizer(self._message(caption), verbose=False).input_ids)

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
