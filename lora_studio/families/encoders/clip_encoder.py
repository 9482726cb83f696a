"""Texts to what the denoiser attends to, through one or two of CLIP's text encoders (Radford et al. 2021).

There are two ways to lay a text out: A1111's windows, for pictures of every kind (clip_prompt.py), and
Kohya's, for the captions of a training (clip_caption.py). Everything after that is the same.

Legend: b texts, m windows, k tokens of a window with its two marks (77), n tokens in the end, d width, e
width of the pooled text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from lora_studio.families.encoders.bundled_embeddings import BundledEmbedding, TokenReading
from lora_studio.families.encoders.clip_caption import WINDOW, count_tokens, tokenize
from lora_studio.families.encoders.clip_prompt import ids_of, windows_of
from lora_studio.families.encoders.text_output import TextOutput

Encoders = Callable[[], Sequence[tuple[str, Any, Any]]]
"""Gives the name of each part, its tokenizer and its text encoder."""


@dataclass(frozen=True, kw_only=True)
class CaptionWindows:
    """Kohya's: up to `max_token_length` tokens (75, 150 or 225; None: 75) between one start and one end mark;
    brackets are weights only if `weighted`. With two encoders `clip_skip` has no effect, and the pooled text
    is that of the first window."""

    clip_skip: int | None = None
    max_token_length: int | None = None
    weighted: bool = False


@dataclass(frozen=True, kw_only=True)
class PromptWindows:
    """A1111's: any length, each window of 75 tokens between marks of its own, brackets are weights, `words`
    are read as their own vectors. `clip_skip` is the layer from the end, 1 the last; with two encoders 1 and
    2 are the one before the last."""

    clip_skip: int = 1
    words: Sequence[BundledEmbedding] = ()


class ClipEncoder:
    """Encodes texts for one base model, whose `tokenizers` stay in memory when its encoders don't."""

    def __init__(self, encoders: Encoders, tokenizers: Sequence[Any]) -> None:
        self._encoders = encoders
        self._tokenizers = tokenizers

    def encode_captions(self, captions: Sequence[str], how: CaptionWindows) -> TextOutput:
        """One batch, [b, 75 m + 2, d], with gradients where they are on."""
        states, encoders = [], self._encoders()
        skip = self.caption_layer(how.clip_skip)
        for _, tokenizer, encoder in encoders:
            tokens = tokenize(tokenizer, captions, how.max_token_length, weighted=how.weighted)
            found, pooled = _encode(encoder, tokens.windows, skip, paired=len(encoders) > 1)
            states.append(tokens.join(found))
        if pooled is not None:
            pooled = pooled.unflatten(0, tokens.ids.shape[:2])[:, 0]
        return TextOutput(states=torch.cat(states, dim=-1), pooled=pooled)

    def caption_layer(self, clip_skip: int | None) -> int:
        """The `clip_skip` of captions where this one is asked for: with two encoders it has no effect."""
        return 1 if len(self._tokenizers) > 1 else clip_skip or 1

    @torch.no_grad()
    def encode_prompts(self, prompt: str, negative: str, how: PromptWindows) -> tuple[TextOutput, TextOutput]:
        """A prompt and a negative prompt, [1, 77 m, d] each: of the two the shorter one gets empty windows.
        Short text without brackets gives what diffusers gives, to the bit."""
        texts, encoders = (prompt, negative), self._encoders()
        found: list[list[TextOutput]] = [[], []]
        for part, tokenizer, encoder in encoders:
            reading = TokenReading(ids_of(tokenizer), how.words, part)
            laid_out = [windows_of(reading, text) for text in texts]
            length = max(map(len, laid_out))
            for outputs, windows in zip(found, laid_out, strict=True):
                windows += [[] for _ in range(length - len(windows))]
                marked = torch.tensor([_marked(tokenizer, [token for token, _ in one]) for one in windows])
                with reading.in_place(encoder, marked.to(encoder.device)) as ids:
                    states, pooled = _encode(encoder, ids, how.clip_skip, paired=len(encoders) > 1)
                states = _weighted(states, windows).flatten(0, 1)[None].to(encoder.dtype)
                pooled = None if pooled is None else pooled[:1].to(encoder.dtype)
                outputs.append(TextOutput(states=states, pooled=pooled))
        wanted, unwanted = map(_side_by_side, found)
        return wanted, unwanted

    def count_caption(self, caption: str, *, weighted: bool) -> int:
        """The count of a caption's tokens, whatever is read of them."""
        return count_tokens(self._tokenizers[0], caption, weighted=weighted)

    def caption_limit(self, max_token_length: int | None) -> tuple[int, str]:
        """The most tokens of a caption that are read, and a hint for those who need more."""
        return max_token_length or WINDOW, "Shorten them, or set max_token_length to 150 or 225."


def _encode(
    encoder: Any, ids: torch.Tensor, clip_skip: int, *, paired: bool
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The states [b, k, d] of the layer wanted and the pooled texts [b, e], of windows [b, k]."""
    output = encoder(ids.to(encoder.device), output_hidden_states=paired or clip_skip > 1)
    pooled = getattr(output, "text_embeds", None)
    if paired:
        return output.hidden_states[-min(max(clip_skip, 2), len(output.hidden_states))], pooled
    if clip_skip == 1:
        return output.last_hidden_state, pooled
    norm = getattr(encoder, "text_model", encoder).final_layer_norm
    return norm(output.hidden_states[-min(clip_skip, len(output.hidden_states))]), pooled


def _marked(tokenizer: Any, tokens: list[int]) -> list[int]:
    """A window as the encoder takes it, with its two marks."""
    padding = [tokenizer.pad_token_id] * (tokenizer.model_max_length - 2 - len(tokens))
    return [tokenizer.bos_token_id, *tokens, tokenizer.eos_token_id, *padding]


def _weighted(states: torch.Tensor, windows: Sequence[Sequence[tuple[int, float]]]) -> torch.Tensor:
    if all(weight == 1 for window in windows for _, weight in window):
        return states
    weights = [[1.0, *(weight for _, weight in window)] for window in windows]
    padded = [row + [1.0] * (states.shape[1] - len(row)) for row in weights]
    return states * torch.tensor(padded).to(states)[..., None]


def _side_by_side(outputs: Sequence[TextOutput]) -> TextOutput:
    """The texts of several encoders as one; the pooled text is the last one's."""
    return TextOutput(states=torch.cat([one.states for one in outputs], dim=-1), pooled=outputs[-1].pooled)
