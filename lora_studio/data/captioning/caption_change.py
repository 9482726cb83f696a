"""A change of many captions before it is made: which ones it takes, and what it makes of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lora_studio.data.captioning.caption_operations import (
    FORMS,
    Form,
    MergeWords,
    Operation,
    OrderTags,
    ReplaceWords,
    changed_captions,
    form_of,
    having,
    lacking,
)
from lora_studio.data.edits.picture_edits import SetCaption
from lora_studio.errors import ConfigError
from lora_studio.parsing.numbers import shown


@dataclass(frozen=True, kw_only=True)
class CaptionFilter:
    """The captions that have `only` and lack `without`; in an empty form, it is told from the captions."""

    only: str = ""
    without: str = ""
    form: str = ""

    def form_of(self, captions: Mapping[str, str]) -> Form:
        """The form of captions. Raises ConfigError."""
        if not self.form:
            return form_of(captions.values())
        for form in FORMS:
            if self.form == form:
                return form
        raise ConfigError(f"form: one of {', '.join(FORMS)} is needed (got {shown(self.form)}).")

    def of(self, captions: Mapping[str, str]) -> dict[str, str]:
        """The captions that it lets through. Raises ConfigError."""
        form = self.form_of(captions)
        return lacking(having(captions, self.only.strip(" ,"), form), self.without.strip(" ,"), form)


@dataclass(frozen=True, kw_only=True)
class CaptionChange:
    """The captions that an operation changes, `before` and `after`, by picture, among `looked_at`."""

    form: Form
    looked_at: int
    before: Mapping[str, str]
    after: Mapping[str, str]

    @property
    def edits(self) -> list[SetCaption]:
        """The change as edits, to be made at once and undone at once."""
        return [SetCaption(picture, text) for picture, text in self.after.items()]


def planned_change(
    operation: Operation, captions: Mapping[str, str], chosen: CaptionFilter | None = None
) -> CaptionChange:
    """The change of captions, by picture, among those that are chosen. Raises ConfigError, DatasetError."""
    chosen = chosen or CaptionFilter()
    form, found = chosen.form_of(captions), chosen.of(captions)
    after = changed_captions(operation, found, form)
    before = {picture: captions[picture] for picture in after}
    return CaptionChange(form=form, looked_at=len(found), before=before, after=after)


def reason_of(operation: Operation) -> str:
    """The words of an operation in the log of edits."""
    if isinstance(operation, OrderTags):
        return f"order by {operation.by}"
    words = operation.words if isinstance(operation.words, str) else ", ".join(operation.words)
    by = f" by {operation.by}" if isinstance(operation, ReplaceWords | MergeWords) else ""
    return f"{operation.operation.replace('_', ' ')} “{words}”{by}"
