"""A small byte-pair tokenizer in the form that Qwen's language models have."""

from pathlib import Path

from tokenizers.pre_tokenizers import ByteLevel
from transformers import Qwen2Tokenizer

from recipes.starter import tokenizer as first
from recipes.starter_flow import settings

ENTRIES = 2048
MARKS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def build() -> None:
    """Learn the merges from emoji names and the captions' words, and keep the tokenizer."""
    entries = [*sorted(ByteLevel.alphabet()), *MARKS]
    plain = Qwen2Tokenizer(
        vocab={entry: number for number, entry in enumerate(entries)},
        merges=[],
        additional_special_tokens=list(MARKS[1:]),
    )
    names = [*first.corpus()]
    texts = [*names, *(f" {name}" for name in names), *["user\n", "assistant\n"] * 200]
    learned = plain.train_new_from_iterator(texts, ENTRIES, show_progress=False)
    learned.chat_template = TEMPLATE
    learned.model_max_length = 512
    learned.save_pretrained(settings.TOKENIZER)
    print(f"{len(load())} entries", flush=True)


def load(folder: Path = settings.TOKENIZER) -> Qwen2Tokenizer:
    """A finished tokenizer."""
    return Qwen2Tokenizer.from_pretrained(folder)


def messages(tokenizer: Qwen2Tokenizer, texts: list[str]) -> list[str]:
    """The texts as the messages of a user, as Z-Image's pipeline puts them to the language model."""
    return [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": text}],
            tokenize=False,
            add_generation_prompt=True,
            enable_thinking=True,
        )
        for text in texts
    ]
