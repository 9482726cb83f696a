"""Checks of pictures beside each other: copies, and captions of the same picture that disagree."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

import numpy

from lora_studio.data.checks.checked_set import CheckedPicture, CheckedSet
from lora_studio.data.checks.dataset_findings import DatasetCheck, DatasetFinding, Fix, fix_of
from lora_studio.data.checks.perceptual_hash import BITS, as_numbers, distances
from lora_studio.data.checks.picture_facts import PictureFacts
from lora_studio.data.edits.picture_edits import RemovePicture, SetCaption

MOST_BITS, MOST_LEVELS = 10, 9.0
ENOUGH_WORDS = 2
NAMED = 5
COPY_NAME = re.compile(r"\(\d{1,4}\)$|-\d{1,2}$|\bcopy\b", re.IGNORECASE)
"""Ends and words that systems, and uploads here, give to the names of copies."""
LOSSLESS = (".png", ".bmp", ".tif", ".tiff", ".gif")
"""Endings of files that have a picture's very pixels, or nearly always."""

Member = tuple[CheckedPicture, PictureFacts]


def _exact_copies(checked: CheckedSet) -> Iterator[DatasetFinding]:
    for group in _exact_groups(checked):
        kept, *others = _best_first(group)
        names = _listed(others)
        times = "twice" if len(group) == 2 else f"{len(group)} times"
        reason = f"{kept.shown} is there {times}: {names} {_has(others)} the same pixels."
        yield DatasetFinding(
            check="exact_copy",
            pictures=tuple(picture.name for picture in (*others, kept)),
            reason=reason,
            severity="serious",
            fix=_without(others, kept),
        )


def _near_copies(checked: CheckedSet) -> Iterator[DatasetFinding]:
    for group in _near_groups(checked):
        kept, *others = _best_first(group)
        reason = (
            f"{_listed(others)} {'looks' if len(others) == 1 else 'look'} almost like {kept.shown}: the same "
            "picture in another size, cut or quality."
        )
        yield DatasetFinding(
            check="near_copy",
            pictures=tuple(picture.name for picture in (*others, kept)),
            reason=reason,
            severity="warning",
            fix=_without(others, kept),
        )


def _contradictions(checked: CheckedSet) -> Iterator[DatasetFinding]:
    """Same pictures with captions that differ, and near copies whose captions have no word in common."""
    for is_exact, groups in ((True, _exact_groups(checked)), (False, _near_groups(checked))):
        for group in groups:
            pictures = [picture for picture in _best_first(group) if picture.caption.text]
            for first, second in zip(pictures[:1] * len(pictures), pictures[1:], strict=False):
                if not _disagree(first, second, checked.trigger_words, is_exact=is_exact):
                    continue
                edit = SetCaption(second.name, first.caption.text)
                same = "the same picture" if is_exact else "almost the same picture"
                yield DatasetFinding(
                    check="contradiction",
                    pictures=(second.name, first.name),
                    reason=f"{second.shown} and {first.shown} are {same}, and their captions say otherwise.",
                    severity="warning",
                    fix=fix_of(second, f"Take the caption of {first.shown}", edit),
                )


COPY_CHECKS = (
    DatasetCheck(
        id="exact_copy",
        title="There twice",
        threshold="The same file, or the same pixels in another file.",
        advice="Leave copies out: a picture that is there twice counts for two. Repeats are there for that.",
        find=_exact_copies,
    ),
    DatasetCheck(
        id="near_copy",
        title="Almost the same picture",
        threshold=f"Perceptual hashes differ in at most {MOST_BITS} of {BITS} bits (others in 32 on "
        f"average), and the pictures in 12 x 12 pixels by less than {MOST_LEVELS:.0f} levels of 255.",
        advice="Leave all but the best of each out: what is nearly the same gets learned by heart.",
        find=_near_copies,
    ),
    DatasetCheck(
        id="contradiction",
        title="Captions that contradict each other",
        threshold="Same pictures with captions of other words, and near copies whose captions have no word "
        f"in common; captions with {ENOUGH_WORDS} words or more beside the trigger.",
        advice="Give the same picture the same caption.",
        find=_contradictions,
    ),
)


def _exact_groups(checked: CheckedSet) -> list[list[Member]]:
    groups: dict[tuple[str, tuple[int, int]], list[Member]] = {}
    for member in checked.measured:
        groups.setdefault((member[1].pixels, member[1].size), []).append(member)
    return [group for group in groups.values() if len(group) > 1]


def _near_groups(checked: CheckedSet) -> list[list[Member]]:
    """Groups of near copies; of exact copies one stands for all."""
    members = list(
        {(facts.pixels, facts.size): (picture, facts) for picture, facts in checked.measured}.values()
    )
    if not members:
        return []
    hashes = as_numbers([facts.hash for _, facts in members])
    small = numpy.stack([_plain_small(facts) for _, facts in members])
    group_of = numpy.arange(len(members))
    for place in range(len(members)):
        near = numpy.flatnonzero(distances(hashes, hashes[place]) <= MOST_BITS)
        near = near[group_of[near] != group_of[place]]
        near = near[numpy.abs(small[near] - small[place]).mean(axis=1) < MOST_LEVELS]
        for group in numpy.unique(group_of[near]):
            group_of[group_of == group] = group_of[place]
    found = [numpy.flatnonzero(group_of == group) for group in numpy.unique(group_of)]
    return [[members[int(place)] for place in places] for places in found if len(places) > 1]


def _plain_small(facts: PictureFacts) -> numpy.ndarray:
    """A small picture as [values], less its mean colour: a brighter copy is a copy."""
    values = numpy.frombuffer(bytes.fromhex(facts.small), numpy.uint8).astype(numpy.float32).reshape(-1, 3)
    return (values - values.mean(axis=0)).ravel()


def _best_first(group: Sequence[Member]) -> list[CheckedPicture]:
    """The pictures, the one to keep in front: of those with a caption and the most pixels one that is stored
    without loss, since the blocks of a JPEG look sharp, and of several the sharpest. Of equal ones it is one
    that isn't called a copy."""

    def rank(member: Member) -> tuple[bool, int, bool, float, bool]:
        picture, facts = member
        is_lossless = picture.name.lower().endswith(LOSSLESS)
        area, sharpness = facts.size[0] * facts.size[1], facts.sharpness or 0.0
        is_first = not COPY_NAME.search(PurePosixPath(picture.name).stem[-100:])
        return bool(picture.caption.text), area, is_lossless, sharpness, is_first

    best = max(range(len(group)), key=lambda place: (*rank(group[place]), -place))
    return [group[best][0], *(picture for place, (picture, _) in enumerate(group) if place != best)]


def _without(others: Sequence[CheckedPicture], kept: CheckedPicture) -> Fix | None:
    if not all(picture.can_be_edited for picture in others):
        return None
    edits = tuple(RemovePicture(picture.name) for picture in others)
    return Fix(title=f"Keep {kept.shown} alone", edits=edits)


def _disagree(first: CheckedPicture, second: CheckedPicture, trigger: set[str], *, is_exact: bool) -> bool:
    words, others = first.words.keys() - trigger, second.words.keys() - trigger
    if min(len(words), len(others)) < ENOUGH_WORDS:
        return False
    return words != others if is_exact else not words & others


def _listed(pictures: Sequence[CheckedPicture]) -> str:
    names = [picture.shown for picture in pictures[:NAMED]]
    rest = len(pictures) - len(names)
    if rest:
        return f"{', '.join(names)} and {rest} more"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _has(pictures: Sequence[CheckedPicture]) -> str:
    return "has" if len(pictures) == 1 else "have"
