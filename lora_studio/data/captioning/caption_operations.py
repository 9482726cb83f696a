"""Operations on all captions of a set, as values: words added, removed, replaced, put first, ordered, merged.

Captions are tags between commas, or sentences. Of tags whole ones are compared, of sentences words and rows
of words, both in any case of letters. Each line of a caption is changed by itself, and what an operation
doesn't touch stays letter by letter.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, ClassVar, Literal

from lora_studio.data.captions import has_word, word_spans
from lora_studio.data.edits.picture_edits import LONGEST_CAPTION
from lora_studio.errors import ConfigError, DatasetError
from lora_studio.parsing.numbers import shown
from lora_studio.parsing.plain_text import plain_lines, plain_text

Form = Literal["tags", "sentences"]
FORMS: tuple[Form, ...] = ("tags", "sentences")
WORDS_OF_A_TAG = 3
LONGEST_WORDS, MOST_MERGED = 500, 100
"""Characters of an operation's text, and words that are merged at once."""
SEPARATOR = "|||"
"""The usual `keep_tokens_separator`: what stands where beside it is meant, so nothing is moved."""
BRACKETS = re.compile(r"\\.|[,()\[\]{}]")
"""Commas between tags and brackets around them; one behind a backslash is a letter."""
NO_SPACE_BEFORE = tuple(",.;:!?)")


@dataclass(frozen=True)
class AddWords:
    """Words put at the front or the end of captions that lack them."""

    operation: ClassVar = "add"
    words: str
    at: Literal["front", "end"] = "end"

    def apply(self, line: str, form: Form) -> str:
        if _has(line, self.words, form):
            return line
        comma = "," if form == "tags" else ""
        words = ", ".join(_lacking_tags(self.words, line)) if comma else self.words
        before, after = (words, line) if self.at == "front" else (line.rstrip(f"{comma} "), words)
        return f"{before}{comma} {after}" if line.strip(f"{comma} ") else words


@dataclass(frozen=True)
class RemoveWords:
    """Words taken away wherever they stand."""

    operation: ClassVar = "remove"
    words: str

    def apply(self, line: str, form: Form) -> str:
        return _replaced(line, self.words, "", form)


@dataclass(frozen=True)
class ReplaceWords:
    """Words exchanged for others. A tag that is there already isn't doubled."""

    operation: ClassVar = "replace"
    words: str
    by: str

    def apply(self, line: str, form: Form) -> str:
        return _replaced(line, self.words, self.by, form)


@dataclass(frozen=True)
class MergeWords:
    """Several words for one thing become one of them."""

    operation: ClassVar = "merge"
    words: tuple[str, ...]
    by: str

    def apply(self, line: str, form: Form) -> str:
        for word in self.words:
            if word.casefold() != self.by.casefold():
                line = _replaced(line, word, self.by, form)
        return line


@dataclass(frozen=True)
class TriggerFirst:
    """The trigger word in front: moved there among tags; put before a sentence that lacks it."""

    operation: ClassVar = "trigger_first"
    words: str

    def apply(self, line: str, form: Form) -> str:
        if form == "sentences" or SEPARATOR in line:
            return line if has_word(line, self.words) else ", ".join(filter(None, (self.words, line)))
        tags, first = _tags(line), {tag.casefold() for tag in _tags(self.words)}
        if first and {tag.casefold() for tag in tags[: len(first)]} == first:
            return line
        return ", ".join([self.words, *(tag for tag in tags if tag.casefold() not in first)])


@dataclass(frozen=True)
class OrderTags:
    """Tags sorted, behind the first `keep` ones: those of most captions first, or from a to z."""

    operation: ClassVar = "order"
    by: Literal["frequency", "alphabet"] = "frequency"
    keep: int = 1
    counts: tuple[tuple[str, int], ...] = ()
    """The captions that each tag, in small letters, stands in."""

    def apply(self, line: str, form: Form) -> str:
        if form == "sentences" or SEPARATOR in line:
            return line
        tags, counts = _tags(line), dict(self.counts)
        rest = sorted(
            tags[self.keep :],
            key=lambda tag: (-counts.get(tag.casefold(), 0) * (self.by == "frequency"), tag.casefold()),
        )
        return line if rest == tags[self.keep :] else ", ".join([*tags[: self.keep], *rest])


Operation = AddWords | RemoveWords | ReplaceWords | MergeWords | TriggerFirst | OrderTags
KINDS: Mapping[str, type[Operation]] = {
    kind.operation: kind
    for kind in (AddWords, RemoveWords, ReplaceWords, MergeWords, TriggerFirst, OrderTags)
}
CHOICES: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("add", "at"): ("front", "end"),
    ("order", "by"): ("frequency", "alphabet"),
}
FIELDS = {
    **{"add": ("words", "at"), "remove": ("words",), "replace": ("words", "by"), "merge": ("words", "by")},
    **{"trigger_first": ("words",), "order": ("by",)},
}


def operation_of(given: object) -> Operation:
    """The operation of JSON like `{"operation": "add", "words": "outdoors"}`. Raises ConfigError."""
    data = given if isinstance(given, Mapping) else {}
    name = data.get("operation")
    if not isinstance(name, str) or name not in KINDS:
        raise ConfigError(f"{shown(given)} is no operation.", f"`operation` is one of {', '.join(KINDS)}.")
    unknown = [key for key in data if key not in ("operation", *FIELDS[name])]
    if unknown:
        raise ConfigError(
            f"The operation {name} has no {shown(unknown[0])}.", f"It has {', '.join(FIELDS[name])}."
        )
    return KINDS[name](**{field: _read(name, field, data.get(field)) for field in FIELDS[name]})


def _read(name: str, field: str, given: object) -> Any:
    what = f"{field} of the operation {name}"
    if choices := CHOICES.get((name, field)):
        if given is None:
            return choices[-1] if name == "add" else choices[0]
        if given not in choices:
            raise ConfigError(f"{what}: one of {', '.join(choices)} is needed (got {shown(given)}).")
        return given
    if (name, field) == ("merge", "words"):
        if not isinstance(given, list | tuple) or not 0 < len(given) <= MOST_MERGED:
            raise ConfigError(f"{what}: a list of 1 to {MOST_MERGED} texts is needed.")
        return tuple(_text(one, what) for one in given)
    return _text(given, what, is_needed=field == "words" or name == "merge")


def _text(given: object, what: str, *, is_needed: bool = True) -> str:
    text = plain_text(given, LONGEST_WORDS + 1).strip(" ,")
    if not isinstance(given, str) or len(text) > LONGEST_WORDS or (is_needed and not text):
        raise ConfigError(f"{what}: a text of up to {LONGEST_WORDS} characters is needed.")
    return text


def form_of(captions: Iterable[str]) -> Form:
    """The form of most captions: tags have commas, and few words between them."""
    is_tags = [
        len(tags) > 1 and median(len(tag.split()) for tag in tags) <= WORDS_OF_A_TAG
        for caption in captions
        if (tags := _tags(caption.split("\n")[0]))
    ]
    return "tags" if 2 * sum(is_tags) > len(is_tags) else "sentences"


def changed_captions(operation: Operation, captions: Mapping[str, str], form: Form) -> dict[str, str]:
    """The captions that an operation changes, by picture. Raises DatasetError where one gets too long."""
    if isinstance(operation, OrderTags):
        counts = Counter(tag.casefold() for text in captions.values() for tag in {*tags_in(text)})
        operation = OrderTags(by=operation.by, keep=operation.keep, counts=tuple(counts.items()))
    found = {}
    for picture, caption in captions.items():
        text = _changed(operation, caption, form)
        if text == caption:
            continue
        if len(text) > LONGEST_CAPTION:
            raise DatasetError(
                f"The caption of {picture} would have {len(text):,} characters.",
                f"A changed one has up to {LONGEST_CAPTION:,}: leave it out, with `only` or `without`.",
            )
        found[picture] = text
    return found


def _changed(operation: Operation, caption: str, form: Form) -> str:
    """The caption as an operation leaves it, itself where no line of it is another one then."""
    if not caption.strip():
        return operation.apply("", form) or caption
    lines, is_touched = list[str](), False
    for line in caption.split("\n"):
        new = operation.apply(line.strip(), form) if line.strip() else ""
        is_same = new == line.strip()
        is_touched |= not is_same
        if new or is_same:
            lines.append(line if is_same else new)
    return plain_lines("\n".join(lines)).strip() if is_touched else caption


def tags_in(caption: str) -> list[str]:
    """The tags of all lines of a caption."""
    return [tag for line in caption.split("\n") for tag in _tags(line)]


def having(captions: Mapping[str, str], words: str, form: Form) -> dict[str, str]:
    """The captions that have a tag, or words; all of them without any."""
    if not words:
        return dict(captions)
    return {picture: text for picture, text in captions.items() if _has(text, words, form)}


def lacking(captions: Mapping[str, str], words: str, form: Form) -> dict[str, str]:
    """The captions that lack a tag, or words; all of them without any."""
    if not words:
        return dict(captions)
    return {picture: text for picture, text in captions.items() if not _has(text, words, form)}


def _has(text: str, words: str, form: Form) -> bool:
    if form == "sentences":
        return has_word(text, words)
    return {*map(str.casefold, _tags(words))} <= {tag.casefold() for tag in tags_in(text)}


def _replaced(line: str, words: str, by: str, form: Form) -> str:
    if form == "tags":
        return _with_tags(line, words, by)
    found = list(word_spans(line, words))
    for start, end in reversed(found):
        before, after = line[:start], line[end:]
        if by:
            line = f"{before}{by}{after}"
            continue
        is_spaced = before.endswith(" ") or after.startswith(" ")
        before, after = before.rstrip(" "), after.lstrip(" ")
        space = " " if is_spaced and before and after and not after.startswith(NO_SPACE_BEFORE) else ""
        line = f"{before}{space}{after}"
    return line.strip() if found else line


def _with_tags(line: str, words: str, by: str) -> str:
    """The line with a row of tags replaced, wherever each of them stands; the others keep their spelling."""
    old, parts = {tag.casefold() for tag in _tags(words)}, _cut(line)
    if not old or not old <= {part.strip().casefold() for part in parts}:
        return line
    new = _lacking_tags(by, ",".join(part for part in parts if part.strip().casefold() not in old))
    kept, is_put = list[str](), False
    for part in parts:
        if part.strip().casefold() not in old:
            kept.append(part)
        elif not is_put:
            kept += [f" {tag}" for tag in new]
            is_put = True
    return ",".join(kept).strip()


def _tags(line: str) -> Sequence[str]:
    return [tag for part in _cut(line) if (tag := part.strip())]


def _lacking_tags(words: str, line: str) -> list[str]:
    """The tags of `words` that a line lacks, each once."""
    there, found = {tag.casefold() for tag in _tags(line)}, dict[str, str]()
    for tag in _tags(words):
        if tag.casefold() not in there:
            found.setdefault(tag.casefold(), tag)
    return [*found.values()]


def _cut(line: str) -> list[str]:
    """The parts between commas, but of those in closed brackets, as `{red, blue|green}` or `(a, b:1.2)`."""
    ends, depth = [-1], 0
    for match in BRACKETS.finditer(line):
        mark = match[0]
        if mark == "," and depth == 0:
            ends.append(match.start())
        elif mark in "([{":
            depth += 1
        elif mark in ")]}":
            depth = max(0, depth - 1)
    if depth:
        return line.split(",")
    return [line[start + 1 : end] for start, end in zip(ends, [*ends[1:], len(line)], strict=True)]
