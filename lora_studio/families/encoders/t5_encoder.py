"""Texts to what the denoiser attends to, through T5 (Raffel et al. 2020), and to one vector for the whole
text through CLIP.

Legend: b texts, n tokens, d width, e width of the pooled text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch

from lora_studio.families.encoders.text_output import TextOutput

if TYPE_CHECKING:
    from lora_studio.families.encoders.clip_encoder import CaptionWindows, PromptWindows

LONGEST = 512
"""Tokens of a text that are read, its end mark included."""
PADDING_SEEN = 1
"""Tokens of padding behind a masked text that a denoiser attends to, as Chroma was trained."""


class T5Encoder:
    """Encodes texts for one base model; `encoders` gives its T5 and its CLIP (None where the base has none),
    which need not stay in memory as the `tokenizers` do, in the same order. Captions and prompts are read
    alike, brackets are letters. `masked`: T5 passes the padding over, and the denoiser gets none of it but a
    single token."""

    def __init__(
        self, encoders: Callable[[], tuple[Any, Any]], tokenizers: tuple[Any, Any], *, masked: bool = False
    ) -> None:
        self._encoders = encoders
        self._tokenizer, self._pooling_tokenizer = tokenizers
        self._masked = masked

    def encode_captions(self, captions: Sequence[str], how: CaptionWindows) -> TextOutput:
        """One batch, [b, n, d] and [b, e], with gradients of CLIP where they are on; of `how` nothing
        applies. Each text goes alone, so that its company doesn't matter to the last bit."""
        encoders = self._encoders()
        return TextOutput.stack([self._encode(encoders, caption) for caption in captions])

    def caption_layer(self, clip_skip: int | None) -> int:
        """Always the same layer."""
        return 1

    @torch.no_grad()
    def encode_prompts(self, prompt: str, negative: str, how: PromptWindows) -> tuple[TextOutput, TextOutput]:
        """A prompt and a negative prompt; of `how` nothing applies."""
        encoders = self._encoders()
        return self._encode(encoders, prompt), self._encode(encoders, negative)

    def count_caption(self, caption: str, *, weighted: bool) -> int:
        """The count of a caption's tokens with the end mark, whatever is read of them."""
        return len(self._tokenizer(caption, verbose=False).input_ids)

    def caption_limit(self, max_token_length: int | None) -> tuple[int, str]:
        """The most tokens of a caption that are read, and a hint for those who need more."""
        return LONGEST, "Shorten them."

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
