"""The example pictures: sets in `examples/`, each with the words that a person would type for it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from lora_studio.config import Kind
from lora_studio.errors import DatasetError
from lora_studio.settings import CHECKOUT
from lora_studio.ui.upload.picture_set import FILE_TYPES

FILL = """([own, ours], asked, ...now) => now.map((value, at) => {
  const typed = value && !ours.some((one) => one[at] === value), since = (value || '') !== (asked[at] || '');
  return since || (typed && at) ? value : own[at];
})"""
"""Script that fills in an example's kind, name and trigger where a person typed nothing, before the click or
since. The kind is the pictures' own, so that of other pictures gives way, unless it was chosen since."""


@dataclass(frozen=True, kw_only=True)
class Example:
    """A set of pictures in `examples/`, with the words that a person would type for it."""

    folder: str
    button: str
    kind: Kind
    name: str
    trigger: str

    @property
    def fill_js(self) -> str:
        """Script from kind, name and trigger, at the click and now, to the new ones."""
        ours = [[one.kind, one.name, one.trigger] for one in EXAMPLES]
        defaults = json.dumps([[self.kind, self.name, self.trigger], ours])
        return f"(...now) => ({FILL})({defaults}, ...now)"


EXAMPLES = (
    Example(folder="ink", button="Ink drawings (a style)", kind="style", name="Ink drawings", trigger="zwx"),
    Example(folder="alien", button="An alien (an object)", kind="object", name="Alien", trigger="zwx"),
)


def example_files(folder: str) -> list[Path]:
    files = sorted(path for path in (CHECKOUT / "examples" / folder).glob("*") if path.suffix in FILE_TYPES)
    if not files:
        raise DatasetError(
            "The example pictures are missing.", "Get the whole repository again.", path=folder
        )
    return files
