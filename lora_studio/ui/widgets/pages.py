"""A long list in pages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lora_studio.parsing.numbers import parse_whole

PAGE = 60
"""Entries of a page."""


@dataclass(frozen=True, kw_only=True)
class Pages:
    """The page that is shown of a list of `total` entries; pages count from 1."""

    number: int
    total: int

    @classmethod
    def at(cls, wanted: Any, total: int) -> Pages:
        """The page that a browser asks for, or the nearest one that there is."""
        return cls(number=min(max(1, parse_whole(wanted) or 1), _count(total)), total=total)

    @property
    def count(self) -> int:
        """The number of pages; an empty list has one."""
        return _count(self.total)

    @property
    def offset(self) -> int:
        """Entries before this page."""
        return (self.number - 1) * PAGE

    @property
    def words(self) -> str:
        return f"{self.offset + 1}–{min(self.total, self.offset + PAGE)} of {self.total:,}"


def _count(total: int) -> int:
    return max(1, -(-total // PAGE))
