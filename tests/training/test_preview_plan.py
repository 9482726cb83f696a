"""Previews that nobody asked for take a share of the run's time, and what was asked for stays."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lora_studio.catalog import preview_prompts
from lora_studio.events import Noted, PreviewSaved, StepDone
from lora_studio.training.evaluation import previews
from lora_studio.training.evaluation.preview_plan import (
    PreviewCost,
    PreviewPlan,
    fitted_plan,
    has_limit,
    limited_plan,
    whole_plan,
)
from lora_studio.training.measure import measure
from tests.support.configs import ConfigMaker, config
from tests.support.runs import of, paused_at, run, state_folder_of

SHARE = {"max_train_steps": 80, "sample_steps": 10, "trigger_word": "zwx"}
COST = PreviewCost(step=1.0, rest=0.0)
"""A preview takes ten seconds."""


def limited(seconds: float, **changes: Any) -> tuple[PreviewPlan, PreviewPlan]:
    made = config(**{**SHARE, **changes})
    plan = whole_plan(made, "base")
    return plan, limited_plan(made, plan, COST, seconds)


def counts(plan: PreviewPlan) -> tuple[int, int]:
    """How often, and how many pictures each time."""
    return len(plan.steps), len(plan.all_prompts)


@pytest.mark.parametrize(
    ("seconds", "wanted"),
    [
        (3600, (8, 4)),  # nine times four pictures, the base's included
        (3599, (7, 4)),
        (2000, (4, 4)),
        (1999, (5, 3)),
        (1500, (4, 3)),
        (1499, (6, 2)),  # one with the trigger and one without it
        (1000, (4, 2)),
        (999, (3, 2)),
        (600, (2, 2)),
        (1, (1, 2)),
    ],
)
def test_the_share_says_how_many_pictures_there_are_and_how_often(
    seconds: float, wanted: tuple[int, int]
) -> None:
    _, found = limited(seconds)
    assert counts(found) == wanted
    assert 80 in found.steps


def test_the_share_is_kept_wherever_it_can_be() -> None:
    made = config(**SHARE)
    for seconds in range(400, 4000, 50):
        plan, found = limited(seconds)
        assert COST.seconds(made, found) <= 0.1 * seconds
        assert bool(found.note) == (counts(found) != counts(plan))


def test_the_note_says_what_is_left_out() -> None:
    assert limited(1500)[1].note == (
        "Previews are drawn 4 times (3 pictures) instead of 8 times (4 pictures), which takes about 10% of "
        "the time of the steps. max_preview_share allows more."
    )
    assert "1 time (2 pictures)" in limited(100)[1].note
    assert "about 40% of" in limited(100)[1].note


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"sample_every_n_steps": 10}, (8, 2)),
        ({"sample_prompts": ("a", "b")}, (1, 2)),
        ({"sample_prompts": ("a", "b"), "sample_every_n_steps": 10}, (8, 3)),
        ({"max_preview_share": 0}, (8, 4)),
        ({"max_preview_share": 10}, (8, 4)),
        ({"sample_every_n_steps": 0}, (0, 4)),
    ],
)
def test_what_was_asked_for_stays(changes: dict[str, Any], wanted: tuple[int, int]) -> None:
    assert counts(limited(400, **changes)[1]) == wanted


def test_what_was_asked_for_in_whole_has_no_limit() -> None:
    def asks(**changes: Any) -> bool:
        made = config(**changes)
        return has_limit(made, whole_plan(made, "base"))

    assert asks()
    assert asks(sample_every_n_steps=10)
    assert not asks(sample_every_n_steps=10, sample_prompts=("a",))
    assert not asks(sample_every_n_steps=0)
    assert not asks(max_preview_share=0)


def test_prompts_that_the_page_filled_in_are_not_somebodys_own() -> None:
    made = preview_prompts("object", "zwx", "base")
    changes: dict[str, Any] = {"sample_prompts": made, "kind": "object"}
    assert counts(limited(1000, **changes)[1]) == (4, 2)
    assert counts(limited(1000, checkpoint_board=False, **changes)[1]) == (4, 2)
    assert counts(limited(999, checkpoint_board=False, **changes)[1]) == (8, 1)
    assert counts(limited(999, **{**changes, "sample_prompts": made[:2]})[1]) == (3, 2)


def test_the_comparison_counts() -> None:
    made = config(**SHARE)
    plan = whole_plan(made, "base")
    compared = PreviewCost(step=1.0, rest=0.0, references=16, most_compared=1000)
    assert compared.seconds(made, plan) - COST.seconds(made, plan) == 0.5 * (16 + 9 * 4 + 2 * 9 * 9)
    encoding = replace(compared, rest=0.25).compared(9, plan) - compared.compared(9, plan)
    assert encoding == 0.25 * 9 * 4
    single = plan.of(1, 1, plain=False)  # two rounds of one picture, each asked about two prompts
    assert compared.seconds(made, single) - COST.seconds(made, single) == 0.5 * (16 + 2 + 2 * 2 * 2)


def test_what_was_spent_before_counts() -> None:
    made = config(**SHARE)
    plan = whole_plan(made, "base")
    assert counts(limited_plan(made, plan, COST, 3600)) == (8, 4)
    found = limited_plan(made, plan, COST, 3600, spent=160)
    assert counts(found) == (4, 4)
    assert "about 10% of" in found.note


def test_times_to_come_are_left_out_where_those_before_took_longer() -> None:
    made = config(**SHARE)
    plan, compared = whole_plan(made, "base"), replace(COST, references=16, most_compared=50)

    def fitted(cost: PreviewCost, seconds: float, left: float, step: int = 20) -> set[int]:
        return {*fitted_plan(made, plan, cost, step, seconds, left).steps}

    assert fitted(COST, 40, 240) == plan.steps
    assert fitted(COST, 40, 239) == {10, 20, 30, 40, 60, 70, 80}
    assert fitted(COST, 40, 0) == {10, 20, 80}
    assert fitted(COST, 40, 0, step=80) == plan.steps
    assert fitted(compared, 40, 290) == plan.steps
    assert fitted(compared, 40, 289) != plan.steps
    assert fitted(compared, 60, 6 * 60 + 75) == plan.steps  # half as long again, the comparison too
    assert fitted(compared, 60, 6 * 60 + 74) != plan.steps


@pytest.mark.parametrize("slower", [0.5, 1.0, 1.3, 1.6, 2.0])
def test_a_run_of_500_steps_stays_within_its_share_whatever_was_measured(slower: float) -> None:
    """Seconds of the starter on two cores; previews take `slower` times what was measured."""
    made = config(max_train_steps=500, sample_steps=12, trigger_word="zwx")
    cost = PreviewCost(step=0.03, rest=0.05, references=10, most_compared=60)
    step_seconds, spent = 500 * 0.12, 0.4  # for measuring and encoding prompts
    plan = limited_plan(made, whole_plan(made, "base"), cost, step_seconds, spent=spent)
    a_round = slower * cost.of_round(made, plan)
    rounds = 0
    for step in range(501):
        if step == 0 or step in plan.steps:  # the base's own, or a checkpoint's
            spent, rounds = spent + a_round, rounds + 1
            plan = fitted_plan(made, plan, cost, step, a_round, 0.1 * step_seconds - spent)
    assert rounds >= 2
    assert spent + slower * cost.compared(rounds, plan) <= 0.1 * step_seconds


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Previews seem to take an hour each. The list holds how many prompts were measured."""
    asked: list[int] = []

    def measure_slowly(self: object, prompts: tuple[str, ...], *_: object) -> tuple[PreviewCost, list[Any]]:
        asked.append(len(prompts))
        return PreviewCost(step=3600, rest=0), []

    monkeypatch.setattr(previews.PreviewSampler, "measure", measure_slowly)
    return asked


LIMITED = {
    "max_train_steps": 8,
    "sample_every_n_steps": None,
    "max_preview_share": 0.1,
    "trigger_word": "zwx",
}


def test_a_slow_run_draws_once_and_says_so(make_config: ConfigMaker, slow: list[int]) -> None:
    wanted, _ = run(make_config("whole", **{**LIMITED, "sample_every_n_steps": 0}))
    result, events = run(make_config(**LIMITED))
    assert result.final_loss == wanted.final_loss
    assert [(event.step, Path(event.path).name) for event in of(PreviewSaved, events)] == [
        (0, "base-0.png"),
        (0, "base-1.png"),
        (8, "step-000008-0.png"),
        (8, "step-000008-1.png"),
    ]
    (note,) = [event for event in of(Noted, events) if "max_preview_share" in event.message]
    assert note.message.startswith("Previews are drawn 1 time (2 pictures) instead of 8 times (4 pictures)")
    assert slow == [1]
    kinds = [type(event) for event in events]
    assert kinds.index(StepDone) < kinds.index(PreviewSaved)


def test_a_run_whose_previews_take_longer_than_measured_draws_fewer(
    make_config: ConfigMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = PreviewCost(step=0, rest=0), list[Any]()
    monkeypatch.setattr(previews.PreviewSampler, "measure", lambda *_: free)
    _, events = run(make_config(**{**LIMITED, "max_preview_share": 0.01}))
    assert {event.step for event in of(PreviewSaved, events)} == {0, 8}
    (note,) = [event.message for event in of(Noted, events) if "max_preview_share" in event.message]
    assert note.startswith("Previews take longer than measured, so they are left out 7 times.")


@pytest.mark.usefixtures("slow")
def test_a_resumed_run_goes_on_with_the_prompts_that_it_had(make_config: ConfigMaker) -> None:
    paused = make_config(**LIMITED)
    paused_at(paused, 6)
    whole = make_config(**{**LIMITED, "max_preview_share": 0})
    _, events = run(whole, resume_from=state_folder_of(paused))
    drawn = of(PreviewSaved, events)
    assert [event.step for event in drawn] == [6, 6, 7, 7, 8, 8]
    # The base drew none without the trigger, so there is nothing to compare such a picture with.
    assert not list(Path(drawn[0].path).parent.glob("without-*"))


def test_nothing_is_measured_where_no_preview_is_ahead(make_config: ConfigMaker, slow: list[int]) -> None:
    started = make_config(**{**LIMITED, "sample_every_n_steps": 6})
    paused_at(started, 7)
    assert slow == [1]
    _, events = run(started, resume_from=state_folder_of(started))
    assert not of(PreviewSaved, events)
    assert slow == [1]


@pytest.mark.usefixtures("slow")
def test_a_plan_counts_what_will_be_drawn(make_config: ConfigMaker) -> None:
    plan = measure(make_config(**LIMITED))
    assert plan is not None
    assert any(note.startswith("Previews are drawn 1 time (2 pictures)") for note in plan.notes)
    four_pictures, comparison = 4 * 2 * 3600, 60
    assert plan.preview_seconds == pytest.approx(four_pictures + comparison)
