"""The tags that a WD14-style tagger knows, and the caption made of those that it sees. Loads no torch."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lora_studio.captioning.tagger_options import TaggerOptions, comparable
from lora_studio.errors import ModelFileError
from lora_studio.parsing.plain_text import plain_text

GENERAL, CHARACTER, RATING = 0, 4, 9
"""Danbooru's numbers of categories; that of ratings is the taggers' own."""
COLUMNS = ("tag_id", "name", "category")
MOST_BYTES, MOST_TAGS, LONGEST_TAG = 16_000_000, 200_000, 200
"""Limits of a list of tags; the largest of the known ones has some 11,000 in 0.3 MB."""
SHORTEST_WORD = 4
LONG_EMOTICONS = frozenset({"(o)_(o)", "<o>_<o>", "<|>_<|>", "||_||"})
"""Emoticons of more than three letters; those of up to three are told by their length, as in sd-scripts."""


class KnownTag(NamedTuple):
    """A tag as the list has it, with the number of its category."""

    name: str
    category: int


def read_tags(path: Path) -> list[KnownTag]:
    """The rows of a `selected_tags.csv`: the model's outputs in order. Raises ModelFileError, OSError."""
    with path.open("rb") as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise _no_list(path, "it is too large")
    try:
        rows = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""))
        if tuple(next(rows, ())[: len(COLUMNS)]) != COLUMNS:
            raise _no_list(path, f"it doesn't begin with the columns {', '.join(COLUMNS)}")
        tags: list[KnownTag] = []
        for row in rows:
            if len(tags) == MOST_TAGS:
                raise _no_list(path, f"it has more than {MOST_TAGS:,} tags")
            if row:
                tags.append(KnownTag(plain_text(row[1], LONGEST_TAG).strip(), int(row[2])))
    except (ValueError, IndexError, csv.Error) as error:
        raise _no_list(path, "a row can't be read") from error
    return tags


def tagged_caption(tags: Sequence[KnownTag], probabilities: np.ndarray, options: TaggerOptions) -> str:
    """The tags of a picture, the likeliest first. `probabilities` [tags] in 0..1. Tags of other categories
    than general ones, characters and ratings are left out."""
    least = {GENERAL: options.general_threshold, CHARACTER: options.character_threshold}
    order = [int(place) for place in np.argsort(-probabilities, kind="stable")]
    found = [
        tags[place]
        for place in order
        if tags[place].category in least and probabilities[place] >= least[tags[place].category]
    ]
    if options.character_tags_first:
        found.sort(key=lambda tag: tag.category != CHARACTER)
    if options.use_rating_tags:
        found[:0] = [tags[place] for place in order if tags[place].category == RATING][:1]
    undesired = options.undesired
    return options.caption_separator.join(
        _written(tag.name, options) for tag in found if tag.name and comparable(tag.name) not in undesired
    )


def _written(name: str, options: TaggerOptions) -> str:
    is_emoticon = len(name) < SHORTEST_WORD or name in LONG_EMOTICONS
    return name if is_emoticon or not options.remove_underscore else name.replace("_", " ")


def _no_list(path: Path, why: str) -> ModelFileError:
    return ModelFileError(
        f"{path.name} is no list of a tagger's tags: {why}.", "Fetch the tagger's files once more.", path=path
    )
