"""The blind vote: which pictures are shown, in which order, and what becomes of the picks."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from lora_studio.errors import ConfigError
from lora_studio.lora.checkpoint_report import CheckpointReport, CheckpointRow
from lora_studio.lora.checkpoint_vote import (
    CheckpointVote,
    ballot,
    candidates,
    counted_vote,
    facts_of,
    read_vote,
)
from lora_studio.lora.lora_folder import read_notes, write_notes


def report(*steps: int, recommended: int = 0) -> CheckpointReport:
    rows = tuple(
        CheckpointRow(step=step, pictures=tuple(f"previews/{step}-{number}.png" for number in range(3)))
        for step in steps
    )
    return CheckpointReport(prompts=("a", "b", "c"), base=("x", "y", "z"), rows=rows, recommended=recommended)


def test_few_are_shown_the_recommended_and_the_last_among_them() -> None:
    many = tuple(range(10, 101, 10))
    assert len(candidates(report(*many))) == 4
    for recommended in many:
        shown = candidates(report(*many, recommended=recommended))
        assert len(set(shown)) == 4
        assert {recommended, 100} <= set(shown)
    bare = report(10, 20, 30)
    half = replace(bare, rows=(*bare.rows[:2], replace(bare.rows[2], pictures=("previews/30-0.png", "", ""))))
    assert candidates(half) == [10, 20]


def test_the_order_is_another_one_each_time_and_says_nothing_of_the_steps() -> None:
    shown = report(10, 20, 30, 40)
    first = ballot(shown, "ink", 0)
    assert first == ballot(shown, "ink", 0)
    assert [row.prompt for row in first] == ["a", "b", "c"]
    for number, row in enumerate(first):
        assert sorted(row.steps) == [10, 20, 30, 40]
        assert row.pictures == tuple(f"previews/{step}-{number}.png" for step in row.steps)
    orders = {row.steps for ballots in range(20) for row in ballot(shown, "ink", ballots)}
    assert len(orders) > 12
    firsts = [ballot(shown, "ink", ballots)[0].steps[0] for ballots in range(200)]
    assert all(30 < firsts.count(step) < 70 for step in (10, 20, 30, 40))
    assert ballot(report(10), "ink", 0) == ()


def test_picks_add_up_and_the_winner_may_be_another_than_the_recommended() -> None:
    rows = ballot(report(10, 20), "ink", 0)
    places = [row.steps.index(20) for row in rows]
    vote = counted_vote(CheckpointVote(), rows, places)
    assert vote == CheckpointVote(ballots=1, picks=((20, 3),), last=(20, 20, 20))
    assert (vote.winner, vote.count(20), vote.total) == (20, 3, 3)
    rows = ballot(report(10, 20), "ink", 1)
    vote = counted_vote(vote, rows, [rows[0].steps.index(10), None, 7])
    assert (vote.ballots, vote.picks, vote.last) == (2, ((10, 1), (20, 3)), (10, 0, 0))
    with pytest.raises(ConfigError, match="No picture"):
        counted_vote(vote, rows, [None, None, None])


def test_equals_leave_the_choice_to_the_recommendation() -> None:
    assert CheckpointVote(ballots=1, picks=((10, 1), (20, 1))).winner == 0
    assert CheckpointVote(ballots=1, picks=((10, 1), (20, 2))).winner == 20
    assert CheckpointVote().winner == 0


def test_votes_stay_beside_the_report(tmp_path: Path) -> None:
    (tmp_path / "training.json").write_text(json.dumps({"title": "Ink", "board": {"rows": []}}))
    assert read_vote(tmp_path) == CheckpointVote()
    vote = CheckpointVote(ballots=2, picks=((10, 1), (20, 3)), last=(10, 0, 20))
    write_notes(tmp_path, {**read_notes(tmp_path), **facts_of(vote)})
    assert read_vote(tmp_path) == vote
    assert read_notes(tmp_path)["title"] == "Ink"


@pytest.mark.parametrize(
    "wrong",
    [7, [], {}, {"ballots": 1}, {"ballots": "x", "picks": [], "last": []},
     {"ballots": 1, "picks": 3, "last": []}, {"ballots": 1, "picks": [[1]], "last": []},
     {"ballots": True, "picks": [], "last": []},
     {"ballots": -1, "picks": [], "last": []}, {"ballots": 1, "picks": [[1, None]], "last": ["x"]}],
)  # fmt: skip
def test_nonsense_in_the_file_is_no_vote(tmp_path: Path, wrong: object) -> None:
    (tmp_path / "training.json").write_text(json.dumps({"vote": wrong}))
    assert read_vote(tmp_path) == CheckpointVote()
