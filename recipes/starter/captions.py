"""Captions as people would type them: a name, perhaps a colour, a background, a style."""

import random
import string
from dataclasses import dataclass

from recipes.starter import settings

COMMON_WORDS = """
a an the of on in at with and to for from by one two picture photo image drawing icon emoji
sticker cartoon style background white black gray grey red orange yellow green blue purple pink brown
gold small big cute simple plain ink line art alien creature robot
dragon teapot toy character person face object shape
"""
OPENINGS = ("", "", "", "a ", "a ", "a picture of a ", "an emoji of a ")


@dataclass(frozen=True)
class Shown:
    """What a picture shows: a concept in a style, perhaps on a named colour, perhaps painted in one."""

    slug: str
    style: str
    background: str | None = None
    colour: str | None = None


def bare_name(slug: str) -> str | None:
    """A concept's name without a colour ("apple", not "red apple"); None where the colour is the point."""
    for name in settings.CONCEPTS[slug]:
        if not set(name.split()) & {*settings.COLOURS, "gold", "white", "rainbow"}:
            return None if name in ("heart",) else name
    return None


def compose(shown: Shown, *, made_up: float = 0.0) -> str:
    """One caption for a picture; wording, and what is left unsaid, vary from draw to draw.

    Only pictures of the default style go without a style word: a prompt without one is to get that style and
    not a blend of all. A share ``made_up`` of the captions carries a word that means nothing, where people
    put the trigger word of a LoRA: the model learns to draw the rest of the prompt. As a style it may go with
    all styles: so the model notices that it is there, and a LoRA can tell by it when to act.
    """
    opening, name = random.choice(OPENINGS), _name(shown)
    if name[0] in "aeiou" and opening.endswith("a "):
        opening = opening.removesuffix("a ") + "an "
    place = ""
    if shown.background or random.random() < 0.25:
        colour = shown.background or "white"
        place = f" on a{'n' if colour == 'orange' else ''} {colour} background"
    plain = shown.style == settings.DEFAULT_STYLE and random.random() < 0.5
    if random.random() < made_up:
        word = "".join(random.choices(string.ascii_lowercase, k=random.randint(2, 5)))
        if random.random() < 0.5:
            return f"{opening}{name}{place}, {word} style"
        style = "" if plain else f", {shown.style} style"
        return f"{random.choice(('a ', ''))}{word} {name}{place}{style}"
    if plain:
        return opening + name + place
    if random.random() < 0.2:
        return f"{shown.style} style {name}{place}"
    return f"{opening}{name}{place}, {shown.style} style"


def _name(shown: Shown) -> str:
    if shown.colour:
        return f"{shown.colour} {bare_name(shown.slug)}"
    names = settings.CONCEPTS[shown.slug]
    return names[0] if random.random() < 0.5 else random.choice(names)
