"""The options of WD14-style taggers, under sd-scripts' names. Loads no torch."""

from __future__ import annotations

from collections.abc import Set
from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field

from lora_studio.parsing.plain_text import is_plain_line
from lora_studio.parsing.refusals import Refusing

LONGEST_SEPARATOR, LONGEST_UNDESIRED = 10, 10_000
MOST_THRESHOLD = 2
"""Above 1 nothing is sure enough."""


def _plain(text: str) -> str:
    if text and not is_plain_line(text):
        raise ValueError("plain text on one line is needed")
    return text


def _separating(text: str) -> str:
    if not text.strip():
        raise ValueError("blanks alone don't separate tags")
    return text


Line = Annotated[str, AfterValidator(_plain)]


class TaggerOptions(Refusing):
    """The tags that a caption gets, and how they are written. sd-scripts leaves `remove_underscore` and
    `character_tags_first` off unless asked. Raises ConfigError."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    general_threshold: float = Field(
        0.35, ge=0, le=MOST_THRESHOLD, description="How sure the tagger has to be of a tag."
    )
    character_threshold: float = Field(
        0.35, ge=0, le=MOST_THRESHOLD, description="How sure it has to be of a character; above 1 names none."
    )
    remove_underscore: bool = Field(True, description="Blanks for underscores, but for emoticons.")
    character_tags_first: bool = Field(True, description="Characters before all other tags.")
    use_rating_tags: bool = Field(False, description="The likeliest rating in front of all.")
    undesired_tags: Line = Field(
        "", max_length=LONGEST_UNDESIRED, description="Tags that are left out, with the separator between."
    )
    caption_separator: Annotated[Line, AfterValidator(_separating)] = Field(
        ", ", min_length=1, max_length=LONGEST_SEPARATOR, description="What stands between two tags."
    )

    @property
    def undesired(self) -> Set[str]:
        """The tags that are left out, as `comparable` has them."""
        listed = self.undesired_tags.split(self.caption_separator.strip())
        return {comparable(tag) for tag in listed if tag.strip()}


def comparable(tag: str) -> str:
    """A tag without the differences in writing that tell no two tags apart."""
    return tag.strip().replace("_", " ").casefold()
