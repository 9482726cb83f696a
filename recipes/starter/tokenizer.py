"""A small byte-pair tokenizer in the files that Stable Diffusion's text encoder expects."""

import json
from collections.abc import Iterator
from pathlib import Path

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from tokenizers.pre_tokenizers import ByteLevel
from transformers import CLIPTokenizer

from recipes.starter import captions, data, settings

FOLDER = settings.WORK / "tokenizer"
ENTRIES = 4096
SPECIALS = ("<|startoftext|>", "<|endoftext|>")
WORD_END = "</w>"
# CLIP's own way to cut text into words: contractions, letters, single digits, runs of anything else.
WORDS = r"""<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"""


def corpus() -> Iterator[str]:
    """Emoji names and tags, and the captions' own vocabulary often enough to become whole words."""
    entries = json.loads((data.fetch(settings.NAMES_PACKAGE) / "en" / "data.json").read_text("utf-8"))
    for entry in entries:
        if entry.get("group") is not None:
            yield from [entry["label"]] * 4
            yield from entry.get("tags", [])
    names = [name for known in settings.CONCEPTS.values() for name in known]
    yield from [" ".join((captions.COMMON_WORDS, *settings.COLOURS, *settings.STYLES, *names))] * 200


def byte_symbols() -> list[str]:
    """CLIP numbers the 256 byte symbols with the printable ones first, then the rest in order."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [chr(byte) for byte in printable] + [chr(256 + n) for n in range(256 - len(printable))]


def learn_merges() -> list[tuple[str, str]]:
    """Byte-pair merges, most useful first."""
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix=WORD_END))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    cut = pre_tokenizers.Split(Regex(WORDS), behavior="removed", invert=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([cut, ByteLevel(add_prefix_space=False)])
    trainer = trainers.BpeTrainer(
        vocab_size=ENTRIES, end_of_word_suffix=WORD_END, min_frequency=2, show_progress=False,
        initial_alphabet=sorted(ByteLevel.alphabet()),
    )  # fmt: skip
    tokenizer.train_from_iterator(corpus(), trainer)
    return [tuple(merge) for merge in json.loads(tokenizer.to_str())["model"]["merges"]]


def write_files(folder: Path) -> None:
    """``vocab.json`` and ``merges.txt``: bytes, bytes that end a word, merges, two special tokens."""
    symbols = byte_symbols()
    entries = dict.fromkeys([*symbols, *(symbol + WORD_END for symbol in symbols)])
    merges = learn_merges()[: ENTRIES - len(entries) - len(SPECIALS)]
    entries |= dict.fromkeys(["".join(merge) for merge in merges])
    entries |= dict.fromkeys(SPECIALS)
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = json.dumps({entry: number for number, entry in enumerate(entries)}, ensure_ascii=False)
    (folder / "vocab.json").write_text(vocabulary, "utf-8")
    lines = ["#version: 0.2", *(" ".join(merge) for merge in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", "utf-8")


def build() -> None:
    """Train the tokenizer and keep it, with transformers' own file beside the two classic ones."""
    write_files(FOLDER)
    vocabulary, merges = FOLDER / "vocab.json", FOLDER / "merges.txt"
    tokenizer = CLIPTokenizer(vocab=str(vocabulary), merges=str(merges), model_max_length=77)
    classic = {path: path.read_bytes() for path in (vocabulary, merges)}
    tokenizer.save_pretrained(FOLDER)
    for path, content in classic.items():
        path.write_bytes(content)
    loaded = load()
    print(f"{len(loaded)} entries; start {loaded.bos_token_id}, end {loaded.eos_token_id}", flush=True)


def load() -> CLIPTokenizer:
    """The finished tokenizer."""
    return CLIPTokenizer.from_pretrained(FOLDER)
