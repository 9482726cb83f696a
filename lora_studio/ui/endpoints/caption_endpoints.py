"""The named endpoints of all captions of a set at once: counted, and changed by rule."""

from __future__ import annotations

from typing import Any, TypedDict

from lora_studio.data.captioning.caption_change import CaptionFilter
from lora_studio.data.captioning.caption_operations import LONGEST_WORDS
from lora_studio.data.edits.edit_log import LONGEST_NAME
from lora_studio.studio import Studio
from lora_studio.ui.client_input.validate import mapping, safe_base, safe_id, text, yes_or_no
from lora_studio.ui.picture_sets import set_captions
from lora_studio.ui.upload.training_summary import DEFAULT_BASE

MOST_TOLD = 500
"""Words and pictures of an answer."""


class WordCount(TypedDict):
    """A tag, or a word, and the number of captions that it stands in."""

    words: str
    captions: int


class CaptionLengthFacts(TypedDict):
    """A picture's caption in tokens; `lost` is what the base doesn't read of it."""

    file: str
    tokens: int
    lost: str


class CaptionWords(TypedDict):
    """The captions of a set, counted; `limit` is the number of tokens that are read, 0 where the base's
    tokenizer isn't here."""

    form: str
    captions: int
    words: list[WordCount]
    limit: int
    lengths: list[CaptionLengthFacts]


class CaptionPair(TypedDict):
    """A picture's caption before and after a change."""

    file: str
    before: str
    after: str


class ChangedCaptions(TypedDict):
    """A change of captions, made or not: `changed` among `looked_at`, with the first of them, and the head of
    the set's edits now."""

    form: str
    looked_at: int
    changed: int
    examples: list[CaptionPair]
    head: str


class CaptionEndpoints:
    """Endpoints of captions. Each public method is one endpoint of the same name."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio

    def caption_words(
        self, dataset_id: str, form: str = "", only: str = "", without: str = "", base: str = DEFAULT_BASE
    ) -> CaptionWords:
        """Say how often each tag or word comes in the captions of a set, and how long they are for a base.

        Args:
            dataset_id: From upload_dataset or list_datasets.
            form: tags (between commas) or sentences; empty: told from the captions.
            only: Look only at captions that have this tag, or these words.
            without: Look only at captions that lack this tag, or these words.
            base: The base model whose tokenizer counts.
        """
        chosen = _filter(form, only, without)
        found = set_captions.counted_words(
            self._studio, _known(dataset_id), chosen, safe_base(base, self._studio.settings)
        )
        return CaptionWords(
            form=found.form,
            captions=found.captions,
            words=[WordCount(words=words, captions=count) for words, count in found.words[:MOST_TOLD]],
            limit=found.limit,
            lengths=[
                CaptionLengthFacts(file=one.picture, tokens=one.tokens, lost=one.lost)
                for one in found.tokens[:MOST_TOLD]
            ],
        )

    def change_captions(
        self,
        dataset_id: str,
        operation: dict[str, Any],
        form: str = "",
        only: str = "",
        without: str = "",
        preview: bool = False,
        after: str = "",
    ) -> ChangedCaptions:
        """Change the captions of a set by rule, as one edit; its files stay, and undo_edit takes it back.

        Args:
            dataset_id: From upload_dataset or list_datasets.
            operation: Like {"operation": "replace", "words": "kitty", "by": "cat"}; see docs/datasets.md.
            form: tags (between commas) or sentences; empty: told from the captions.
            only: Change only captions that have this tag, or these words.
            without: Change only captions that lack this tag, or these words.
            preview: Only say what would change.
            after: The head of list_edits that you saw: refused where somebody else changed these captions
                since. Empty: whatever holds.
        """
        set_id, asked = _known(dataset_id), dict(mapping(operation, "operation"))
        chosen, state = _filter(form, only, without), text(after, "after", longest=LONGEST_NAME)
        if yes_or_no(preview, "preview"):
            if state:
                self._studio.datasets.edits(set_id).at(state)
            change = set_captions.planned(self._studio, set_id, asked, chosen)
        else:
            change = set_captions.made(self._studio, set_id, asked, chosen, state)
        return ChangedCaptions(
            form=change.form,
            looked_at=change.looked_at,
            changed=len(change.after),
            examples=[
                CaptionPair(file=file, before=change.before[file], after=words)
                for file, words in list(change.after.items())[:MOST_TOLD]
            ],
            head=self._studio.datasets.edits(set_id).head,
        )


def _known(dataset_id: Any) -> str:
    return safe_id(dataset_id, "set of pictures")


def _filter(form: Any, only: Any, without: Any) -> CaptionFilter:
    return CaptionFilter(
        form=text(form, "form"),
        only=text(only, "only", longest=LONGEST_WORDS),
        without=text(without, "without", longest=LONGEST_WORDS),
    )
