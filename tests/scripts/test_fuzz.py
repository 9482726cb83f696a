"""A little of the fuzzing at each change, and that it would tell."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.fuzz.__main__ import Trial, mutate
from scripts.fuzz.targets import TARGETS, Target


@pytest.mark.parametrize("name", TARGETS)
def test_damaged_inputs_are_used_or_refused_in_a_sentence(name: str, tmp_path: Path) -> None:
    trial = Trial(name, tmp_path)
    mutate(trial, 60, seed=11)
    found = "\n".join(path.read_text("utf-8") for path in tmp_path.glob("*.txt"))
    assert trial.tally.crashes == 0, found
    assert trial.tally.used + trial.tally.refused == trial.tally.inputs >= 60
    assert trial.tally.used, "inputs that are all refused test nothing"


def test_a_crash_is_counted_and_its_input_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def falls(data: bytes, folder: Path) -> None:
        if data.startswith(b"x"):
            raise KeyError(data)

    monkeypatch.setitem(TARGETS, "falls", Target(run=falls, seeds=(b"ab", b"x1"), words=()))
    trial = Trial("falls", tmp_path)
    mutate(trial, 2, seed=1)
    assert (trial.tally.inputs, trial.tally.used, trial.tally.crashes) == (2, 1, 1)
    assert (tmp_path / "falls-crash-1").read_bytes() == b"x1"
    assert "KeyError" in (tmp_path / "falls-crash-1.txt").read_text("utf-8")
