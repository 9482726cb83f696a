"""Names of LoRAs: titles as people give them, and the way from a name to its slug."""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from pathlib import Path

from lora_studio.access.visitor import Kind, visitor
from lora_studio.errors import ConfigError, ModelFileError, StoreError
from lora_studio.lora.file.lora_files import LONGEST_TITLE
from lora_studio.lora.lora_folder import LONGEST_NOTE, LONGEST_TAG, MOST_TAGS, fingerprint, title_of
from lora_studio.parsing.plain_text import LONGEST_NAME, plain_text
from lora_studio.parsing.slugs import SLUG, slug_from

SUFFIX = ".safetensors"


def given_title(given: str) -> str:
    """The title, in plain text, that a person gives to a LoRA or a set of pictures. Raises ConfigError for an
    empty or too long one; nothing is cut."""
    title = plain_text(given, LONGEST_TITLE + 1)
    if not title:
        raise ConfigError("The name is empty.", "Give your LoRA a name.", field="name")
    if len(title) > LONGEST_TITLE:
        raise ConfigError(
            f"Name: {len(given):,} characters are too many.", f"Use at most {LONGEST_TITLE}.", field="name"
        )
    return title


def given_tags(given: str) -> list[str]:
    """The tags, in plain text and each once, that a person gives with commas between them. Raises ConfigError
    for too many or too long ones; nothing is cut."""
    tags = list(dict.fromkeys(filter(None, (plain_text(tag, LONGEST_TAG + 1) for tag in given.split(",")))))
    if len(tags) > MOST_TAGS:
        raise ConfigError(f"{len(tags)} tags are too many.", f"Use at most {MOST_TAGS}.", field="tags")
    if long := next((tag for tag in tags if len(tag) > LONGEST_TAG), ""):
        raise ConfigError(
            f"The tag “{long[:20]}…” is too long.",
            f"A tag has at most {LONGEST_TAG} characters.",
            field="tags",
        )
    return tags


def given_note(given: str) -> str:
    """The note, in plain text, that a person writes about a LoRA. Raises ConfigError for a too long one."""
    note = plain_text(given, LONGEST_NOTE + 1)
    if len(note) > LONGEST_NOTE:
        raise ConfigError("The note is too long.", f"Use at most {LONGEST_NOTE:,} characters.", field="note")
    return note


def slugs_named(name: str, folder: Path) -> list[str]:
    """The LoRAs of the library's folder that go by this name, of those that the visitor may see: the one
    whose slug it is, else those with this title, in any case and any way of writing accents, else the one
    that a file of this name would become."""
    if SLUG.fullmatch(name) and _is_here(name, folder):
        return [name]
    wanted = _alike(name)
    found = [slug for slug, title in _titles(folder) if wanted and _alike(title) == wanted]
    if found:
        return found
    slug = slug_from(name.removesuffix(SUFFIX))
    return [slug] if slug and _is_here(slug, folder) else []


def _is_here(slug: str, folder: Path) -> bool:
    return (folder / slug).is_dir() and visitor().sees(Kind.LORA, slug)


def find_slug(name: str, folder: Path) -> str:
    """The only slug of `slugs_named`. Raises StoreError for none or several."""
    found = slugs_named(name, folder)
    if not found:
        raise StoreError(
            f"There is no LoRA “{plain_text(name, 64)}” in the library.",
            "Write its short name (slug) or its title; the library lists both.",
        )
    return _only(name, found)


def as_slug(name: str, folder: Path) -> str:
    """The slug of a name as `find_slug` gives it, but a valid slug may name a LoRA that isn't there: whoever
    looks for its folder will say so. Raises StoreError."""
    found = slugs_named(name, folder)
    if found or (slug_from(name) and not SLUG.fullmatch(name)):
        return _only(name, found) if found else find_slug(name, folder)
    return slug_from(name)


def _only(name: str, found: list[str]) -> str:
    if len(found) > 1:
        others = f" and {len(found) - 2} more" if len(found) > 2 else ""
        raise StoreError(
            f"“{plain_text(name, 64)}” is the title of several LoRAs: {found[0]}, {found[1]}{others}.",
            "Use the short name of one of them.",
        )
    return found[0]


def _titles(folder: Path) -> list[tuple[str, str]]:
    """(slug, title) of the LoRAs in the folder that the visitor may see."""
    try:
        places = sorted(path for path in folder.iterdir() if SLUG.fullmatch(path.name))
    except OSError:
        return []
    states = ((place, fingerprint(place)) for place in places)
    return [
        (place.name, _title(place, state))
        for place, state in states
        if state and _is_here(place.name, folder)
    ]


@lru_cache(maxsize=4096)
def _title(place: Path, state: str) -> str:
    """The title of a LoRA, cached by the state of its folder; empty for one that can't be read."""
    try:
        return title_of(place)
    except (ModelFileError, OSError):
        return ""


def _alike(name: str) -> str:
    """A key that is equal for all ways of writing a name."""
    plain = plain_text(name, LONGEST_NAME)
    text = unicodedata.normalize("NFKC", plain.removesuffix(SUFFIX) or plain)
    return " ".join(unicodedata.normalize("NFKC", text.casefold()).split())
