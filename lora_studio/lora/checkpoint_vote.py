"""A blind vote between a run's checkpoints: a person picks pictures without knowing their steps.

Kept in `training.json` as `vote`, beside the report. The order of the pictures follows from the LoRA's slug
and the number of votes before, so that it is another one each time, and the same however often a page is
painted.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lora_studio.errors import ConfigError
from lora_studio.lora.checkpoint_report import CheckpointReport, even_choice
from lora_studio.lora.lora_folder import read_notes

KEY = "vote"
MOST_CANDIDATES, MOST_ROWS = 4, 6
"""Pictures of a row, and rows: nobody picks from more."""
MOST_KEPT = 1000
"""Votes and rows that are believed of a file."""


@dataclass(frozen=True, kw_only=True)
class BallotRow:
    """One prompt's pictures as they are shown, paths from the result's folder, and the step of each."""

    prompt: str
    pictures: tuple[str, ...]
    steps: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class CheckpointVote:
    """All votes so far: how many there were, and how many pictures of each step were picked. `last` are the
    steps picked in the last one, row by row, 0 where none was."""

    ballots: int = 0
    picks: tuple[tuple[int, int], ...] = ()
    last: tuple[int, ...] = ()

    @property
    def total(self) -> int:
        return sum(count for _, count in self.picks)

    def count(self, step: int) -> int:
        return dict(self.picks).get(step, 0)

    @property
    def winner(self) -> int:
        """The step that was picked more often than any other; 0 where there is none."""
        most = max((count for _, count in self.picks), default=0)
        first = [step for step, count in self.picks if count == most and count]
        return first[0] if len(first) == 1 else 0


def candidates(report: CheckpointReport) -> list[int]:
    """The steps to choose from, at most four: the recommended one, and others evenly, the last among them."""
    complete = [row.step for row in report.rows if row.pictures and all(row.pictures)]
    steps = even_choice(complete, MOST_CANDIDATES)
    if report.recommended in complete and report.recommended not in steps:
        nearest = min(steps[:-1], key=lambda step: abs(step - report.recommended))
        steps[steps.index(nearest)] = report.recommended
    return sorted(steps)


def ballot(report: CheckpointReport, slug: str, ballots: int) -> tuple[BallotRow, ...]:
    """The rows of the next vote, one for each of the first prompts; empty without a choice."""
    steps = candidates(report)
    if len(steps) < 2:
        return ()
    rows = []
    for number, prompt in enumerate(report.prompts[:MOST_ROWS]):
        order = random.Random(f"{slug} {ballots} {number}").sample(steps, len(steps))
        found = [report.row(step) for step in order]
        pictures = tuple(row.pictures[number] if row and number < len(row.pictures) else "" for row in found)
        rows.append(BallotRow(prompt=prompt, pictures=pictures, steps=tuple(order)))
    return tuple(rows)


def ballot_mark(report: CheckpointReport, slug: str, ballots: int) -> str:
    """The mark of all that a vote is given on, 16 hexadecimal digits: others after each vote, and for other
    checkpoints, pictures or measurements of the same LoRA."""
    voted_on = json.dumps([slug, ballots, asdict(report)])
    return hashlib.sha256(voted_on.encode()).hexdigest()[:16]


def counted_vote(
    vote: CheckpointVote, rows: Sequence[BallotRow], places: Sequence[int | None]
) -> CheckpointVote:
    """The votes with one more: in each row the place that was picked, None for no preference. Raises
    ConfigError for an empty one."""
    picked = [
        row.steps[place] if place is not None and 0 <= place < len(row.steps) else 0
        for row, place in zip(rows, places, strict=False)
    ]
    if not any(picked):
        raise ConfigError("No picture is picked.", "Pick the one you like best in a row, or in several.")
    picks = Counter(dict(vote.picks)) + Counter(step for step in picked if step)
    return CheckpointVote(ballots=vote.ballots + 1, picks=tuple(sorted(picks.items())), last=tuple(picked))


def read_vote(folder: Path) -> CheckpointVote:
    """The votes on the checkpoints of a result folder; none where they can't be read."""
    data = read_notes(folder).get(KEY)
    try:
        return _from_json(data) if isinstance(data, Mapping) else CheckpointVote()
    except (TypeError, ValueError, KeyError):
        return CheckpointVote()


def facts_of(vote: CheckpointVote) -> dict[str, Any]:
    """The votes as they stand in the folder's `training.json`."""
    return {KEY: asdict(vote)}


def _from_json(data: Mapping[str, Any]) -> CheckpointVote:
    picks = tuple((_number(step), _number(count)) for step, count in data["picks"][:MOST_KEPT])
    last = tuple(map(_number, data["last"][:MOST_KEPT]))
    return CheckpointVote(ballots=_number(data["ballots"]), picks=picks, last=last)


def _number(given: Any) -> int:
    if not isinstance(given, int) or isinstance(given, bool) or not 0 <= given < 2**40:
        raise ValueError("no number of a vote")
    return given
