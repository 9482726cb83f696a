"""Repeats of regularisation pictures: shown as often as the training pictures, taken together."""

from __future__ import annotations

from collections.abc import Sequence

from lora_studio.data.training_set.folders import Picture


def shared_repeats(pictures: Sequence[Picture]) -> list[int]:
    """The repeats of each picture.

    Kohya's rule, for each dataset: each regularisation picture gets the repeats of its folder until there are
    as many showings as of training pictures; while there are fewer, each in turn gets one more. Pictures that
    are not reached get 0.
    """
    found = [picture.repeats for picture in pictures]
    for dataset in {picture.dataset for picture in pictures}:
        places = [n for n, picture in enumerate(pictures) if picture.dataset == dataset]
        reg = [place for place in places if pictures[place].is_reg]
        if len(reg) < len(places):
            wanted = sum(found[place] for place in places) - sum(found[place] for place in reg)
            for place, repeats in zip(reg, _shares([found[place] for place in reg], wanted), strict=True):
                found[place] = repeats
    return found


def _shares(repeats_of_folders: Sequence[int], wanted: int) -> list[int]:
    found, shown = [0] * len(repeats_of_folders), 0
    for place, repeats in enumerate(repeats_of_folders):
        if shown < wanted:
            found[place] = repeats
            shown += repeats
    for turn in range(wanted - shown if repeats_of_folders else 0):
        found[turn % len(repeats_of_folders)] += 1
    return found
