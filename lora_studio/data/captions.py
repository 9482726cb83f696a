"""Captions: reading the file beside a picture, and shuffling, dropping and choosing at each use."""

from __future__ import annotations

import contextlib
import math
import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from lora_studio.config_groups import DatasetGroup
from lora_studio.errors import DatasetError
from lora_studio.files import read_errors
from lora_studio.parsing.text_encodings import DecodedText, readings

EXTENSIONS = (".txt", ".caption")
WILDCARD = re.compile(r"\{\{|\}\}|\{((?:\{\{|\}\}|[^{}])+)\}")
SPACELESS = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\U00020000-\U0003ffff"
)
"""Letters of scripts that write no spaces between words: Thai, Lao, Burmese, Khmer, Japanese, Chinese."""
LETTER = rf"[^\W{SPACELESS}]"
IS_SPACELESS = re.compile(f"[{SPACELESS}]")
FACE_PARTS = 4
LONGEST = 64_000
"""Bytes of a caption file, uploaded or not. All of its lines are read where wildcards choose one."""
MOST_LOOKED_AT, LONGEST_LOOKED_AT = 10_000, 100_000
"""Files of a folder and bytes of each, where captions are only looked through."""
UNCHANGING = {
    "caption_dropout_rate": 0.0,
    "caption_dropout_every_n_epochs": 0,
    "caption_tag_dropout_rate": 0.0,
    "shuffle_caption": False,
    "token_warmup_step": 0.0,
}


@dataclass(frozen=True, kw_only=True)
class CaptionText:
    """A caption as read; `text` is empty when there is none. `more_lines` says that the file went on after
    the line used, `preview` how a file in an old encoding was read."""

    text: str
    more_lines: bool = False
    preview: str = ""


def read_caption(picture: Path, extension: str = "", *, all_lines: bool = False) -> CaptionText:
    """The first line with text (or all of them) in the file of the same name ending in `extension`, else in
    .txt, else in .caption; else of the same name with the picture's own ending before it. The file may lack
    the four numbers of a face that end the picture's name. Raises DatasetError for a file whose encoding
    can't be told."""
    path = caption_file(picture, extension)
    if path is None:
        return CaptionText(text="")
    reading = _read_text(path)
    preview = "" if reading.encoding.startswith("UTF") else f"{path.name}: {reading.preview}"
    filled = filled_lines(reading.text)
    if all_lines:
        return CaptionText(text="\n".join(filled), preview=preview)
    return CaptionText(text=filled[0] if filled else "", more_lines=len(filled) > 1, preview=preview)


def filled_lines(text: str) -> list[str]:
    """The lines of a caption, without those that are empty. Unicode's other line separators are letters."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return [line.strip() for line in lines if line.strip()]


def caption_file(picture: Path, extension: str = "") -> Path | None:
    """The caption file that `read_caption` reads; None where there is none."""
    wanted = (f".{extension.lstrip('.')}",) if extension.strip(". ") else EXTENSIONS
    stems = [picture.stem]
    if picture.stem.count("_") >= FACE_PARTS:
        stems.append(picture.stem.rsplit("_", FACE_PARTS)[0])
    stems.append(picture.name)
    paths = (picture.with_name(stem + ending) for stem in stems for ending in wanted)
    return next((path for path in paths if path.is_file()), None)


def with_trigger(caption: str, trigger: str) -> str:
    """The caption with the trigger word in front of each line that lacks it as a word."""
    trigger = trigger.strip()
    if "\n" in caption:
        return "\n".join(with_trigger(line, trigger) for line in caption.split("\n"))
    if not trigger or has_word(caption, trigger):
        return caption
    return f"{trigger}, {caption}" if caption else trigger


def has_word(text: str, word: str) -> bool:
    """Whether `text` has `word` as a word, in any case of letters."""
    return bool(find_word(text, word))


def find_word(text: str, word: str) -> str:
    """The word in the spelling of `text`; empty where it is no word of the text."""
    return next((text[start:end] for start, end in word_spans(text, word)), "")


def word_spans(text: str, word: str) -> Iterator[tuple[int, int]]:
    """The places of a word, or a row of them, in a text, in any case of letters: starts and ends. No other
    letter stands beside it, except of a script that writes no spaces."""
    if not word:
        return
    before = "" if IS_SPACELESS.match(word) else f"(?<!{LETTER})"
    behind = "" if IS_SPACELESS.match(word[-1]) else f"(?!{LETTER})"
    for match in re.finditer(before + re.escape(word) + behind, text, re.IGNORECASE):
        yield match.span()


def captions_in(folder: Path) -> dict[Path, str]:
    """The captions beside the pictures of a folder and of its folders, by file, without unreadable ones."""
    found = {}
    for path in islice((*folder.glob("*"), *folder.glob("*/*")), MOST_LOOKED_AT):
        with contextlib.suppress(DatasetError, OSError):
            if path.suffix in EXTENSIONS and path.is_file() and path.stat().st_size <= LONGEST_LOOKED_AT:
                found[path] = _read_text(path).text
    return {path: caption for path, caption in found.items() if caption.strip()}


def caption_for_use(
    caption: str, data: DatasetGroup, seed: int, *, step: int = 1, epoch: int = 1, max_train_steps: int = 0
) -> str:
    """The caption for one step, in Kohya's order: one of its lines, prefix and suffix, dropout, wildcards,
    then its parts warmed up, shuffled and dropped one by one, then the secondary separator.

    `step` and `epoch` count from 1; `max_train_steps` is needed for a warm-up given as a share. Same seed,
    same caption.
    """
    drawn = random.Random(seed)
    every = data.caption_dropout_every_n_epochs
    if drawn.random() < data.caption_dropout_rate or (every and epoch % every == 0):
        return ""
    lines = caption.split("\n")
    line = drawn.choice(lines) if data.enable_wildcard and len(lines) > 1 else lines[0]
    caption = " ".join(part for part in (data.caption_prefix, line, data.caption_suffix) if part)
    if data.enable_wildcard:
        caption = _one_of_each(caption, drawn)
    if changes_parts(data):
        first, loose, last = _parts(caption, data)
        loose = loose[: _warm(len(loose), data, step, max_train_steps)]
        if data.shuffle_caption:
            drawn.shuffle(loose)
        if data.caption_tag_dropout_rate:
            loose = [part for part in loose if drawn.random() >= data.caption_tag_dropout_rate]
        caption = ", ".join([*first, *loose, *last])
    if data.secondary_separator:
        caption = caption.replace(data.secondary_separator, data.caption_separator)
    return caption


def plain_caption(caption: str, data: DatasetGroup) -> str:
    """The caption without dropout and shuffling; of several choices always the same."""
    return caption_for_use(caption, data.model_copy(update=UNCHANGING), 0)


def changes_parts(data: DatasetGroup) -> bool:
    """Whether captions are split into parts; else they are used as written."""
    return bool(data.shuffle_caption or data.token_warmup_step or data.caption_tag_dropout_rate)


def has_choice(caption: str, data: DatasetGroup) -> bool:
    """Whether uses of the caption may differ, other than by being dropped as a whole."""
    written = f"{data.caption_prefix}{caption}{data.caption_suffix}"
    return changes_parts(data) or (data.enable_wildcard and ("\n" in written or "{" in written))


def tag_frequency(captions: Iterable[tuple[str, str]]) -> dict[str, dict[str, int]]:
    """Counts, by folder, of the lower-cased parts between commas of (folder, caption) pairs."""
    counts: dict[str, Counter[str]] = {}
    for folder, caption in captions:
        tags = (part.strip().lower() for part in caption.replace("\n", ",").split(","))
        counts.setdefault(folder, Counter()).update(tag for tag in tags if tag)
    return {folder: dict(counter) for folder, counter in counts.items()}


def _one_of_each(caption: str, drawn: random.Random) -> str:
    """The caption with each {a|b} replaced by a or b; {{ and }} stand for braces."""

    def chosen(match: re.Match[str]) -> str:
        if match[1] is None:
            return match[0][0]
        return drawn.choice(match[1].split("|")).replace("{{", "{").replace("}}", "}")

    return WILDCARD.sub(chosen, caption)


def _parts(caption: str, data: DatasetGroup) -> tuple[list[str], list[str], list[str]]:
    """Parts that stay in front, parts that may move, and parts that stay at the end."""

    def split(text: str) -> list[str]:
        return [part.strip() for part in text.split(data.caption_separator) if part.strip()]

    mark = data.keep_tokens_separator
    if mark and mark in caption:
        first, _, rest = caption.partition(mark)
        loose, _, last = rest.partition(mark)
        return split(first), split(loose), split(last)
    parts = split(caption)
    return parts[: data.keep_tokens], parts[data.keep_tokens :], []


def _warm(parts: int, data: DatasetGroup, step: int, max_train_steps: int) -> int:
    """The number of movable parts at this step of the token warm-up."""
    whole = data.token_warmup_step
    end = math.floor(whole * max_train_steps) if whole < 1 else whole
    if not end or step - 1 >= end:
        return parts
    seen = math.floor((step - 1) * (parts - data.token_warmup_min) / end) + data.token_warmup_min
    return max(0, min(parts, seen))


def _read_text(path: Path) -> DecodedText:
    with read_errors(path, DatasetError, f"The caption {path.name}"), path.open("rb") as file:
        content = file.read(LONGEST + 1)
    if len(content) > LONGEST:
        raise DatasetError(
            f"The caption {path.name} is longer than {LONGEST:,} bytes.",
            "A caption has a few lines: shorten it, or give the file another ending.",
            path=path,
        )
    found = readings(content)
    if not found or not found[0].certain:
        ways = " or ".join(way.preview for way in found[:3])
        raise DatasetError(
            f"The caption {path.name} is not UTF-8 text, and its encoding can't be told.",
            f"Save it again with the encoding UTF-8.{f' It may be {ways}.' if ways else ''}",
            path=path,
        )
    return found[0]
