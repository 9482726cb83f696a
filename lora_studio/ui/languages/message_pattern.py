"""Texts with placeholders, as in `“{title}” was removed.`, and how a finished text is recognized as one.

Nothing here is a regular expression: the parts between the placeholders are looked up one after the other, so
a long text costs what its length says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

TYPED = frozenset(
    {"title", "name", "slug", "prompt", "query", "search", "file", "path", "caption", "trigger", "word"}
    | {"value", "shown", "tag", "username", "given"}
)
"""Placeholders for what people typed, and for names: they are never translated themselves."""
NUMBERS = frozenset("0123456789.,–-")


@dataclass(frozen=True)
class MessagePattern:
    """`literals` are the parts around the placeholders, one more than `names`."""

    literals: tuple[str, ...]
    names: tuple[str, ...]

    @classmethod
    def of(cls, message: str) -> MessagePattern:
        """The pattern of a message. A `{` that no name and `}` follow is itself."""
        literals, names, rest = [""], list[str](), message
        while rest:
            before, brace, after = rest.partition("{")
            name, end, behind = after.partition("}")
            literals[-1] += before
            if brace and end and name.isidentifier():
                if literals[-1] or not names:  # of two side by side the first one takes all
                    names.append(name)
                    literals.append("")
                rest = behind
            else:
                literals[-1] += brace
                rest = after
        return cls(tuple(literals), tuple(names))

    @property
    def typed(self) -> tuple[bool, ...]:
        """Flags of placeholders for names and what people typed: those in quotation marks, and
        those that are called so. What a colon follows at the beginning is a label of ours."""
        around = zip(self.names, self.literals, self.literals[1:], strict=False)
        return tuple(
            (before.endswith("“") and after.startswith("”"))
            or (name in TYPED and not (not before and after[:1] == ":"))
            for name, before, after in around
        )

    @property
    def weight(self) -> int:
        """The letters that have to be there: of two that fit, the heavier one is meant."""
        return sum(map(len, self.literals))

    def match(self, text: str) -> list[str] | None:
        """The values of a text in the places of the placeholders; None where the text is another one."""
        first, *middle, last = self.literals
        if not (
            text.startswith(first) and text.endswith(last) and len(text) >= self.weight + len(self.names)
        ):
            return None
        at, end, found = len(first), len(text) - len(last), list[str]()
        for literal in middle:
            place = text.find(literal, at + 1, end)
            if place < 0:
                return None
            found.append(text[at:place])
            at = place + len(literal)
        found.append(text[at:end])
        fits = all(
            NUMBERS.issuperset(one) for name, one in zip(self.names, found, strict=True) if name == "n"
        )
        return found if fits and all(found) else None

    def filled(self, values: Sequence[str], names: Sequence[str]) -> str:
        """The text with values by the names of another pattern, whose places may come in another order. Of a
        name that stands there several times each place takes the next value."""
        left: dict[str, list[str]] = {}
        for name, value in zip(names, values, strict=True):
            left.setdefault(name, []).append(value)
        parts = [self.literals[0]]
        for name, literal in zip(self.names, self.literals[1:], strict=True):
            given = left.get(name, [""])
            parts += [given.pop(0) if len(given) > 1 else given[0], literal]
        return "".join(parts)
