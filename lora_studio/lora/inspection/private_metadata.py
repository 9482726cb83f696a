"""Private things in a LoRA's metadata: found, and left out of a copy.

Trainers write into a file where its pictures and its base lay, and with that the names of folders, people and
machines. Nothing here is run or looked up; text is only matched.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lora_studio.lora.file.alphas import HEADER_KEY
from lora_studio.parsing.plain_text import plain_text
from lora_studio.parsing.secret_text import ACCOUNT_KEY

MOST_FOUND, LONGEST_SHOWN = 40, 80
LONGEST_LOOKED_AT = 1 << 18
"""Characters of one value; a file's longer values are left out when it is read."""
FOLDER, PERSON, HOST, MAIL, TOKEN = (
    "a folder",
    "a user name",
    "the name of a machine",
    "a mail address",
    "a key to an account",
)
PICTURES = "names of folders with pictures, or words of captions"
COMMENT = "a comment or a name of somebody"
ABOUT_PICTURES = frozenset(
    {"ss_dataset_dirs", "ss_reg_dataset_dirs", "ss_tag_frequency", "ss_datasets", "ss_bucket_info_dirs"}
)
ABOUT_PEOPLE = frozenset({"ss_training_comment", "modelspec.author", "author", "user", "username"})
NAME = r"[^\\/:*?\"<>|\s]{1,64}+"
PATTERNS: tuple[tuple[str, re.Pattern[str]], ...] = (
    (PERSON, re.compile(rf"(?:[A-Za-z]:[\\/]{{1,2}}Users|/home|/Users)[\\/]{{1,2}}({NAME})")),
    (HOST, re.compile(rf"\\\\{{1,2}}({NAME})\\")),
    (HOST, re.compile(r"(?<![A-Za-z])[A-Za-z][a-z0-9+]{1,9}://(?:[^/@\s\"]{1,64}@)?([A-Za-z0-9.-]{1,100}+)")),
    (HOST, re.compile(r"(?<![\d.])((?:\d{1,3}\.){3}\d{1,3})(?![\d.])")),
    (MAIL, re.compile(r"(?<![\w.+-])([\w.+-]{1,64}+@[\w-]{1,63}+\.[\w.-]{2,60})")),
    (PERSON, re.compile(r"(?<![\w.+-])([A-Za-z][\w.-]{1,63}+@[A-Za-z][\w-]{1,62}+)")),
    (TOKEN, ACCOUNT_KEY),
    (
        FOLDER,
        re.compile(
            r"((?<![\w/.:])/(?:[\w.@+()~-][\w.@ +()~-]{0,79}/){1,20}"
            r"|(?<![A-Za-z])[A-Za-z]:[\\/]{1,2}[^\"<>|*?\n]{1,120}"
            r"|(?<![\w.])(?:\.{1,2}|~)[\\/]\w[^\"<>|*?\n]{0,119}"
            r"|(?<![\w/.:])/[\w@+~-]{1,80}+(?:\.[\w@+~-]{1,80}+){1,9}(?![\w/]))"
        ),
    ),
    (FOLDER, re.compile(r"\A(?=.{0,200}[A-Za-z])([\w.@+~-]{1,80}+(?:[\\/][\w.@ +~-]{1,80}+){1,20})[\\/]?\Z")),
)
"""(a private thing, a bounded pattern whose group is its name); the last takes a whole value that looks like
places of the machine, as `sets/ada`."""
ABOUT_MODELS = re.compile(r"ss_.*(?:model|vae|module)|modelspec\.|.*base_model|ss_network_weights")
"""Keys whose values are often `owner/name` of a public page, or a module's name."""
EMBEDDED = "data:image/"
"""The beginning of a picture in the metadata itself, whose letters are no path."""
PUBLIC_HOSTS = re.compile(r"(?:.+\.)?(?:huggingface\.co|github\.com|civitai\.com|arxiv\.org|stability\.ai)")


@dataclass(frozen=True, kw_only=True)
class PrivateFact:
    """A private thing: the metadata's key, what it is, and the words themselves, cut."""

    key: str
    what: str
    words: str


def find_private(metadata: Mapping[str, str]) -> list[PrivateFact]:
    """Private things in a file's metadata, at most MOST_FOUND, each once for a key."""
    found: dict[tuple[str, str], PrivateFact] = {}
    for key, value in metadata.items():
        for what, words in _private_words(key, value):
            shown = plain_text(key, LONGEST_SHOWN)
            fact = PrivateFact(key=shown, what=what, words=plain_text(words, LONGEST_SHOWN))
            found.setdefault((key, what), fact)
        if len(found) >= MOST_FOUND:
            break
    return list(found.values())[:MOST_FOUND]


def without_private(metadata: Mapping[str, str]) -> dict[str, str]:
    """The metadata without what `find_private` finds something in. Of PEFT's configuration, which alphas
    depend on, only its private texts go."""
    kept = {}
    for key, value in metadata.items():
        if next(_private_words(key, value), None) is None:
            kept[key] = value
        elif key == HEADER_KEY and (numbers := _without_texts(value)):
            kept[key] = numbers
    return kept


def _private_words(key: str, value: str) -> Iterator[tuple[str, str]]:
    yield from _matches(key, PATTERNS[:-1])  # a key of another program may be `group/name`
    if not value or value in ("None", "{}", "[]", "null"):
        return
    if key in ABOUT_PICTURES:
        yield PICTURES, _names_in(value)
    elif key in ABOUT_PEOPLE:
        yield COMMENT, value
    if not value.startswith(EMBEDDED):
        is_public = ABOUT_MODELS.match(key[:LONGEST_SHOWN]) is not None
        yield from _matches(value[:LONGEST_LOOKED_AT], PATTERNS[:-1] if is_public else PATTERNS)


def _matches(text: str, patterns: Sequence[tuple[str, re.Pattern[str]]]) -> Iterator[tuple[str, str]]:
    for what, pattern in patterns:
        match = pattern.search(text)
        if match and not (what == HOST and PUBLIC_HOSTS.fullmatch(match[1])):
            yield what, match[1]


def _names_in(value: str) -> str:
    """The first words of a table: a dict's keys, with those of the table in it."""
    try:
        table: Any = json.loads(value)
    except (ValueError, RecursionError):
        return value
    words: list[str] = []
    for name, inner in table.items() if isinstance(table, dict) else ():
        words.append(name)
        words += [str(word).strip() for word in list(inner)[:3]] if isinstance(inner, dict) else []
    return ", ".join(word for word in words[:6] if word not in ("n_repeats", "img_count")) or value


def _without_texts(value: str) -> str:
    """A table of JSON without the texts in it that are private; empty for what is no table."""
    try:
        table = json.loads(value)
    except (ValueError, RecursionError):
        return ""
    if not isinstance(table, dict):
        return ""
    kept = {
        key: inner
        for key, inner in table.items()
        if next(_private_words(key, json.dumps(inner)), None) is None
    }
    return json.dumps(kept)
