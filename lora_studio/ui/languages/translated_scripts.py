"""Scripts of ours with the sentences in them translated: their string literals, where a table has them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from lora_studio.ui.languages.message_table import MessageTable

LITERAL = re.compile(r"'([^'\\\n]{2,200})'|`([^`\\\n]{2,200})`")
HOLE = re.compile(r"\$\{([^{}`]{1,80})\}")
NAME = re.compile(r"[A-Za-z_]+")


def message_of(literal: str) -> str:
    """A template literal as a message: `${name} was not sent.` is `{name} was not sent.`."""
    return HOLE.sub(lambda hole: f"{{{(NAME.findall(hole[1]) or ['n'])[-1]}}}", literal)


def literals(script: str) -> Iterator[str]:
    """The messages that string literals of a script could be: a single word is the browser's, like 'change'
    and 'none', whatever else it means on the page."""
    for plain, template in LITERAL.findall(script):
        if is_sentence(message := plain or message_of(template)):
            yield message


def is_sentence(message: str) -> bool:
    return " " in message and (message[0].isupper() or message[0] in "“{")


def translated_script(script: str, table: MessageTable) -> str:
    """A script whose literals are those of the table. Only whole literals are, so that code stays code."""

    def put(found: re.Match[str]) -> str:
        plain, template = found[1], found[2]
        message = plain or message_of(template)
        text = table.message(message) if is_sentence(message) else None
        if text is None:
            return found[0]
        holes = {message_of(hole[0]): hole[0] for hole in HOLE.finditer(template or "")}
        for name, hole in holes.items():
            text = text.replace(name, hole)
        quote = "'" if plain else "`"
        return f"{quote}{text.replace(quote, '’')}{quote}"

    return LITERAL.sub(put, script)
