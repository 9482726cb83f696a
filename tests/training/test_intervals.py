from __future__ import annotations

import pytest

from lora_studio.training.evaluation.intervals import checkpoint_steps, preview_steps, validation_steps
from tests.support.configs import ConfigMaker


@pytest.mark.parametrize(
    ("changes", "saved", "drawn"),
    [
        ({"max_train_steps": 200}, {25, 50, 75, 100, 125, 150, 175}, {25, 50, 75, 100, 125, 150, 175, 200}),
        ({"max_train_steps": 3}, {1, 2}, {1, 2, 3}),
        ({"max_train_steps": 1}, set(), {1}),
        ({"max_train_steps": 90, "save_every_n_steps": 30}, {30, 60}, {30, 60, 90}),
        ({"max_train_steps": 80, "save_every_n_steps": 0}, set(), {10, 20, 30, 40, 50, 60, 70, 80}),
        ({"max_train_steps": 100, "save_every_n_steps": 5}, set(range(5, 100, 5)), set(range(10, 101, 10))),
        ({"max_train_steps": 80, "sample_every_n_steps": 40}, {10, 20, 30, 40, 50, 60, 70}, {40, 80}),
    ],
)
def test_checkpoints_and_previews_fall_together(
    make_config: ConfigMaker, changes: dict, saved: set[int], drawn: set[int]
) -> None:
    config = make_config(**{"sample_every_n_steps": None, **changes})
    assert checkpoint_steps(config) == saved
    assert preview_steps(config) == drawn


def test_without_previews_the_checkpoints_stay(make_config: ConfigMaker) -> None:
    config = make_config(max_train_steps=80, sample_every_n_steps=0)
    assert preview_steps(config) == frozenset()
    assert len(checkpoint_steps(config)) == 7


def test_the_last_step_is_always_validated(make_config: ConfigMaker) -> None:
    assert validation_steps(make_config(max_train_steps=10, validate_every_n_steps=4)) == {4, 8, 10}
    config = make_config(max_train_steps=80)
    assert validation_steps(config) == checkpoint_steps(config) | {80}
    assert len(validation_steps(make_config(max_train_steps=80, save_every_n_steps=0))) == 8
