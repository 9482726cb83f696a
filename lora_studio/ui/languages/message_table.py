"""The table of a language: English texts, each with what it is there.

A text is looked up whole. One that is put together is taken apart at the signs that put texts together here:
sentence by sentence, at ` · `, at commas, at brackets. What no table has stays as it is.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache, lru_cache
from pathlib import Path

from lora_studio.ui.languages.inline_marks import with_marks
from lora_studio.ui.languages.language import ENGLISH, LANGUAGES
from lora_studio.ui.languages.message_pattern import TYPED, MessagePattern

TABLES = Path(__file__).with_name("tables")
FREE = frozenset({"sentence", "message", "hint", "reasons", "rest", "error", "note", "description"})
"""Placeholders for whole sentences."""
TELLING = 6
"""Letters that tell a message by themselves; `{low} to {high}` needs values that are known as well."""
LONGEST, LONGEST_LOOSE, DEEPEST, REMEMBERED = 3000, 60, 4, 8192
NUMBER = re.compile(r"\d{1,3}(?:,\d{3})*(?:\.\d+)?")
MEASURE = re.compile(r"(\d{1,3}(?:,\d{3})*(?:\.\d+)?)( ?(?:kB|MB|GB|s|min|h|%|×|px))")
MOMENT = re.compile(r"(\d{4})-(\d\d)-(\d\d)( \d\d:\d\d)?")
SIGNS = {"de": (".", ","), "es": (".", ",")}
"""The signs between thousands and before decimals, where it isn't as in English."""
DATES = {"de": "{2}.{1}.{0}", "es": "{2}/{1}/{0}", "ja": "{0}/{1}/{2}", "zh-CN": "{0}-{1}-{2}"}
UNITS = {"ja": {"s": "秒", "min": "分", "h": "時間"}, "zh-CN": {"s": "秒", "min": "分钟", "h": "小时"}}
"""Units with words of their own."""
DOT, COMMA, MOST_PARTS = " · ", ", ", 40
CLAUSE = "; "
ENDS = (". ", "? ", "! ", ": ", "; ")
APART = (". ", "? ", "! ", "; ", DOT)
"""Signs that no value of a placeholder has, unless it is sentences or what people typed."""
STOPS, FULL_STOPS = (".", " …", ":"), {"ja": "。", "zh-CN": "。"}
CLOSED = ("。", "?", "!", "：", "；", "？", "！")
"""Signs of Chinese and Japanese that bring their own space."""


class MessageTable:
    """The messages of one language by their English."""

    def __init__(self, tag: str, messages: dict[str, str]) -> None:
        self._tag = tag
        self._whole_table = messages
        messages = {with_marks(english): with_marks(text) for english, text in messages.items()}
        self._messages = messages
        self._by_start: dict[str, list[tuple[MessagePattern, MessagePattern]]] = defaultdict(list)
        self._by_end: dict[str, list[tuple[MessagePattern, MessagePattern]]] = defaultdict(list)
        self._loose: list[tuple[MessagePattern, MessagePattern]] = []
        pairs = ((MessagePattern.of(key), MessagePattern.of(text)) for key, text in messages.items())
        patterns = [pair for pair in pairs if pair[0].names]
        for pair in sorted(patterns, key=lambda one: -one[0].weight):
            first, last = pair[0].literals[0], pair[0].literals[-1]
            if start := _first_word(first):
                self._by_start[start].append(pair)
            elif end := _first_word(last[::-1]):
                self._by_end[end].append(pair)
            else:
                self._loose.append(pair)
        self.translated = lru_cache(REMEMBERED)(self._translated)

    def message(self, english: str) -> str | None:
        """The message of this very English, placeholders and all; None for one that is unknown."""
        return self._whole_table.get(english)

    def _translated(self, text: str) -> str:
        """A text in the language, with its space around it; itself where it is unknown."""
        inner = " ".join(text.split())
        if not inner or len(inner) > LONGEST:
            return text
        found = self._found(inner, 0)
        if found is None or found == inner:
            return text
        before = text[: len(text) - len(text.lstrip())]
        return f"{before}{found}{text[len(text.rstrip()) :]}"

    def _found(self, text: str, depth: int) -> str | None:
        if (led := self._led(text, depth)) is not None:
            return led
        if (whole := self._whole(text, depth)) is not None or depth > DEEPEST:
            return whole
        if (measured := self._measured(text)) != text:
            return measured
        ways = (self._parted, self._clauses, self._bracketed, self._listed, self._sentences, self._ended)
        return next((found for way in ways if (found := way(text, depth)) is not None), None)

    def _whole(self, text: str, depth: int) -> str | None:
        if text in self._messages:
            return self._messages[text]
        starting = self._by_start.get(_first_word(text + " "), [])
        ending = self._by_end.get(_first_word(text[::-1] + " "), [])
        second = None
        for key, pattern in (*starting, *ending, *self._loose):
            values = key.match(text)
            if values is None or not _fits(key, values):
                continue
            made = [self._value(*given, depth) for given in zip(values, key.typed, strict=True)]
            if all(made):
                return pattern.filled([new for new in made if new], key.names)
            is_known = made[0] or key.literals[0] or " " not in values[0]
            if second is None and is_known and key.weight >= TELLING:
                kept = [new or value for new, value in zip(made, values, strict=True)]
                second = pattern.filled(kept, key.names)
        return second

    def _value(self, value: str, is_typed: bool, depth: int) -> str | None:
        """The value of a placeholder; None for words that are unknown. A message doesn't begin
        with those: the text is another one then."""
        if is_typed:
            return value
        if NUMBER.fullmatch(value) or MEASURE.fullmatch(value) or MOMENT.fullmatch(value):
            return self._measured(value)
        if depth > DEEPEST:  # `Step Step Step …` fits `Step {n}` again and again
            return self._messages.get(value)
        return self._found(value, depth + 1)

    def _number(self, value: str) -> str:
        thousands, point = SIGNS.get(self._tag, (",", "."))
        return value.translate(str.maketrans(",.", f"{thousands}{point}"))

    def _measured(self, text: str) -> str:
        """A number with its unit, or a date, by the language's custom."""
        if date := MOMENT.fullmatch(text):
            return DATES[self._tag].format(*date.groups()) + (date[4] or "")
        if (found := MEASURE.fullmatch(text)) or NUMBER.fullmatch(text):
            if found is None:
                return self._number(text)
            unit = UNITS.get(self._tag, {}).get(found[2].strip(), "")
            return self._number(found[1]) + (f" {unit}" if unit else found[2])
        return text

    def _parted(self, text: str, depth: int) -> str | None:
        """Parts with dots between them, where the table has some."""
        parts = text.split(DOT)
        if not 1 < len(parts) <= MOST_PARTS:
            return None
        found = [self._found(part, depth + 1) for part in parts]
        kept = [new or part for new, part in zip(found, parts, strict=True)]
        return DOT.join(kept) if any(found) else None

    def _clauses(self, text: str, depth: int) -> str | None:
        """Clauses with semicolons between them, where the table has all of them."""
        parts = text.split(CLAUSE)
        if not 1 < len(parts) <= MOST_PARTS:
            return None
        found = [self._whole(part, depth + 1) for part in parts]
        return CLAUSE.join(map(str, found)) if all(found) else None

    def _listed(self, text: str, depth: int) -> str | None:
        """Parts with commas between them, where the table has all of them."""
        parts = text.split(COMMA)
        if not 1 < len(parts) <= MOST_PARTS:
            return None
        found = [self._whole(part, depth + 1) or self._bracketed(part, depth + 1) for part in parts]
        kept = [new or self._measured(part) for new, part in zip(found, parts, strict=True)]
        is_known = all(new or part[:1].isdigit() for new, part in zip(found, parts, strict=True))
        return self._messages.get(COMMA, COMMA).join(kept) if is_known and any(found) else None

    def _bracketed(self, text: str, depth: int) -> str | None:
        """A text with a remark in brackets behind it, or with an option's name in backticks."""
        for opening, closing in ((" (", ")"), (" `", "`")):
            before, found, inside = text.partition(opening)
            if found and inside.endswith(closing) and before:
                first = self._found(before, depth + 1)
                second = self._found(inside[: -len(closing)], depth + 1)
                if first or second:
                    return f"{first or before}{opening}{second or inside[: -len(closing)]}{closing}"
        return None

    def _led(self, text: str, depth: int) -> str | None:
        """A text with a remark in brackets before it, as a range stands between two sentences."""
        inside, found, rest = text[1:].partition(") ")
        if not (found and text.startswith("(") and depth <= DEEPEST):
            return None
        first, second = self._found(inside, depth + 1), self._found(rest, depth + 1)
        return f"({first or inside}) {second or rest}" if first or second else None

    def _ended(self, text: str, depth: int) -> str | None:
        """A text with a sign or a count behind it: `Loading the base.`, `Preparing pictures 5 / 10`."""
        words = text.rsplit(" ", 3)
        count = "".join(words[1:]) if len(words) == 4 and words[2] == "/" else ""
        endings = [ending for ending in STOPS if text.endswith(ending)]
        if count.replace("/", "").isdigit():
            endings = [f" {words[1]} / {words[3]}"]
        for ending in endings[:1]:
            if (first := self._whole(text[: -len(ending)], depth)) is not None:
                is_closed = ending == "." and self._tag in FULL_STOPS
                return first + (FULL_STOPS[self._tag] if is_closed else ending)
        return None

    def _sentences(self, text: str, depth: int) -> str | None:
        """The longest beginning that the table has, and what follows it."""
        places = [at for sign in ENDS for at in _places(text, sign)]
        for at in sorted(places, reverse=True)[:12]:
            rest = text[at + 2 :]
            if (first := self._whole(text[: at + 1], depth)) is not None:
                return _joined(first, self._found(rest, depth + 1) or rest)
            if text[at] == ":" and (label := self._whole(text[:at], depth)) is not None:
                return f"{label}: {self._found(rest, depth + 1) or rest}"
        for at in sorted(places)[:1]:
            if following := self._found(text[at + 2 :], depth + 1):
                return f"{text[: at + 2]}{following}"
        return None


def _fits(key: MessagePattern, values: list[str]) -> bool:
    """Whether the values fit their placeholders: one sentence never reaches into the next."""
    for name, value in zip(key.names, values, strict=True):
        if name not in FREE and name not in TYPED and any(sign in value for sign in APART):
            return False
    is_loose = not (key.literals[0] or key.literals[-1])
    return not (is_loose and any(len(value) > LONGEST_LOOSE for value in values))


def _first_word(text: str) -> str:
    """A text's first word, if it ends within the text."""
    word, space, _ = text.partition(" ")
    return word if space else ""


def _places(text: str, sign: str) -> Iterator[int]:
    at = text.find(sign)
    while at >= 0:
        yield at
        at = text.find(sign, at + 1)


def _joined(first: str, second: str) -> str:
    return first + second if first.endswith(CLOSED) else f"{first} {second}"


def read_table(tag: str) -> dict[str, str]:
    """The messages of a language by their English."""
    messages: dict[str, str] = json.loads((TABLES / f"{tag}.json").read_text("utf-8"))
    return messages


@cache
def message_table(tag: str) -> MessageTable:
    """The table of a language other than English."""
    return MessageTable(tag, read_table(tag) if tag in LANGUAGES and tag != ENGLISH else {})
