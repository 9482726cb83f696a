"""Captions as people would type them: a name, perhaps a background, perhaps a style."""

import random
import string

from recipes.starter import settings

COMMON_WORDS = """
a an the of on in at with and to for from by one two picture photo image drawing icon emoji
sticker cartoon style background white black gray grey red orange yellow green blue purple pink brown
gold small big cute simple plain ink line art alien creature robot
dragon teapot toy character person face object shape
"""
OPENINGS = ("", "", "", "a ", "a ", "a picture of a ", "an emoji of a ")


def compose(slug: str, style: str, background: str | None, *, made_up: float = 0.0) -> str:
    """One caption for a picture; wording, and what is left unsaid, vary from draw to draw.

    A share ``made_up`` of them carries a word that means nothing, where people put a LoRA's trigger word:
    the model learns to draw the rest of the prompt.
    """
    names = settings.CONCEPTS[slug]
    name = names[0] if random.random() < 0.5 else random.choice(names)
    opening = random.choice(OPENINGS)
    if name[0] in "aeiou":
        opening = opening.removesuffix("a ") + "an " if opening.endswith("a ") else opening
    place = ""
    if background or random.random() < 0.25:
        place = f" on a{'n' if background == 'orange' else ''} {background or 'white'} background"
    if random.random() < made_up:
        word = "".join(random.choices(string.ascii_lowercase, k=random.randint(2, 5)))
        text = f"{name}{place}"
        return random.choice((f"{text}, {word} style", f"a {word} {text}", f"{word} {text}"))
    kind = random.random()
    if kind < 0.15:
        return opening + name + place
    if kind < 0.3:
        return f"{style} style {name}{place}"
    return f"{opening}{name}{place}, {style} style"
