"""All captions of a set: what a rule would change, the change made, and what they are made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lora_studio.data.captioning.caption_change import CaptionChange, CaptionFilter, planned_change, reason_of
from lora_studio.data.captioning.caption_operations import Form, operation_of
from lora_studio.data.captioning.caption_statistics import CaptionTokens, caption_tokens, word_counts
from lora_studio.families.base_files.locate import find_base
from lora_studio.families.encoders.caption_length import caption_length
from lora_studio.studio import Studio


@dataclass(frozen=True, kw_only=True)
class SetWords:
    """The captions of a set, counted. `words` are tags or words with the number of captions they stand in;
    `tokens` lengths for a base of which `limit` are read, none where its tokenizer isn't here."""

    form: Form
    captions: int
    words: list[tuple[str, int]]
    tokens: list[CaptionTokens]
    limit: int


def planned(studio: Studio, dataset_id: str, asked: Any, chosen: CaptionFilter) -> CaptionChange:
    """The change that an operation (as JSON, a client's) would make. Raises ConfigError, DatasetError."""
    return planned_change(operation_of(asked), studio.datasets.captions(dataset_id), chosen)


def made(
    studio: Studio, dataset_id: str, asked: Any, chosen: CaptionFilter, after: str = ""
) -> CaptionChange:
    """The change, made as one edit where there is one. `after` is the state that was looked at. Raises
    ConfigError, DatasetError; NotAllowed."""
    head = after or studio.datasets.edits(dataset_id).head  # before the captions are read
    change = planned(studio, dataset_id, asked, chosen)
    if change.after:
        studio.datasets.edit(dataset_id, change.edits, reason_of(operation_of(asked)), after=head)
    return change


def counted_words(studio: Studio, dataset_id: str, chosen: CaptionFilter, base: str) -> SetWords:
    """The captions that are chosen, counted for a base. Raises ConfigError, ModelFileError."""
    captions = studio.datasets.captions(dataset_id)
    form, found = chosen.form_of(captions), chosen.of(captions)
    length = caption_length(find_base(base, studio.settings))
    return SetWords(
        form=form,
        captions=sum(map(bool, found.values())),
        words=word_counts(found, form),
        tokens=caption_tokens(found, length) if length else [],
        limit=length.limit if length else 0,
    )
