"""Text encoders of the tiny base models, and their tokenizers: every letter is a token."""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    Qwen2Tokenizer,
    Qwen3Config,
    Qwen3Model,
    T5Config,
    T5EncoderModel,
    T5TokenizerFast,
)

TEXT_WIDTH = 16
SECOND_WIDTH = 24
CHAT_MARKS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
CHAT = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if not enable_thinking %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)


def text_encoder(width: int = TEXT_WIDTH, *, with_projection: bool = False) -> CLIPTextModel:
    words = len(_vocabulary())
    config = CLIPTextConfig(
        vocab_size=words,
        hidden_size=width,
        intermediate_size=2 * width,
        projection_dim=width,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=77,
        bos_token_id=words - 2,
        eos_token_id=words - 1,
        pad_token_id=words - 1,
    )
    return CLIPTextModelWithProjection(config) if with_projection else CLIPTextModel(config)


def clip_tokenizer(folder: Path, pad_token: str = "<|endoftext|>") -> CLIPTokenizer:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(
        json.dumps({entry: number for number, entry in enumerate(_vocabulary())}), encoding="utf-8"
    )
    (folder / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
    return CLIPTokenizer(
        vocab=str(folder / "vocab.json"),
        merges=str(folder / "merges.txt"),
        model_max_length=77,
        pad_token=pad_token,
    )


def language_model() -> Qwen3Model:
    return Qwen3Model(language_config(layers=3))


def language_config(layers: int) -> Qwen3Config:
    return Qwen3Config(
        vocab_size=256 + len(CHAT_MARKS),
        hidden_size=TEXT_WIDTH,
        intermediate_size=2 * TEXT_WIDTH,
        num_hidden_layers=layers,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        max_position_embeddings=1024,
    )


def chat_tokenizer() -> Qwen2Tokenizer:
    """A token for each byte, and the marks of a conversation."""
    entries = [*sorted(ByteLevel.alphabet()), *CHAT_MARKS]
    return Qwen2Tokenizer(
        vocab={entry: number for number, entry in enumerate(entries)},
        merges=[],
        additional_special_tokens=list(CHAT_MARKS[1:]),
        chat_template=CHAT,
    )


def t5_encoder() -> T5EncoderModel:
    sizes = {"d_model": SECOND_WIDTH, "d_kv": 8, "d_ff": 2 * SECOND_WIDTH, "num_layers": 2, "num_heads": 2}
    words = len(t5_tokenizer())
    return T5EncoderModel(T5Config(vocab_size=words, feed_forward_proj="gated-gelu", **sizes))


def t5_tokenizer() -> T5TokenizerFast:
    """A token for each letter and for the beginning of a word, all equally likely, and its end mark."""
    letters = [chr(code) for code in range(33, 127)]
    pieces = ["<pad>", "</s>", "<unk>", "\u2581", *letters]
    return T5TokenizerFast(vocab=[(piece, 0.0) for piece in pieces], extra_ids=0)


def _vocabulary() -> list[str]:
    """Characters and those that end a word, then two marks: a byte-pair vocabulary without merges."""
    characters = [chr(code) for code in range(33, 127)]
    return [
        *characters,
        *(f"{character}</w>" for character in characters),
        "<|startoftext|>",
        "<|endoftext|>",
    ]
