"""What a strength report says, and what is read of one that somebody else wrote."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from lora_studio.lora.strength_report import (
    FOLDER,
    REPORT,
    About,
    StrengthReport,
    StrengthRow,
    change_word,
    read_strength,
    report_json,
    verdicts,
)

WEIGHTS = (0.0, 0.4, 0.7, 1.0, 1.2)
NEVER = (0.0, 0.02, 0.03, 0.05, 0.06)
SOON = (0.0, 0.3, 0.8, 1.1, 1.2)
LATE = (0.0, 0.1, 0.2, 0.4, 0.5)


def row(about: About, changes: tuple[float, ...]) -> StrengthRow:
    return StrengthRow(about=about, prompt=f"a {about}", pictures=("00-00.webp",) * 5, changes=changes)


def report(*rows: StrengthRow, **measured: tuple[float | None, ...]) -> StrengthReport:
    return StrengthReport(
        title="Disc",
        trigger_word="zwx",
        base="starter",
        seed=1,
        weights=WEIGHTS,
        rows=rows,
        tensor_hash="ab" * 32,
        made_at=5.0,
        **{"variety": (1.0,) * 5, **measured},  # type: ignore[arg-type]
    )


def sentences(*rows: StrengthRow, **measured: tuple[float | None, ...]) -> list[str]:
    return [verdict.sentence for verdict in verdicts(report(*rows, **measured))]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (SOON, "Strong from weight 0.7 on."),
        (LATE, "It shows from weight 1 on, but is not strong even at 1.2: train longer."),
        (
            NEVER,
            "Its pictures look like the base's own, even at weight 1.2: it has learned nothing that shows.",
        ),
    ],
)
def test_the_strength_is_the_first_weight_that_shows(changes: tuple[float, ...], sentence: str) -> None:
    assert sentences(row("subject", changes), row("subject", changes)) == [sentence]


def test_other_pictures_and_those_of_its_kind_are_told_apart() -> None:
    said = sentences(row("subject", SOON), row("neighbour", SOON), row("other", NEVER))
    assert said[1:] == [
        "Without its trigger word it changes pictures of its own kind: a lot.",
        "It changes other pictures: hardly at all.",
    ]
    levels = [verdict.level for verdict in verdicts(report(row("neighbour", SOON), row("other", NEVER)))]
    assert levels == ["bad", "good"]


def test_one_trained_too_far_is_named_so_in_two_ways() -> None:
    far = (None, 0.3, 0.5, 0.2, 0.1)
    near = sentences(row("subject", SOON), likeness=far)
    assert near[1].startswith("At weight 0.7 its pictures are very like yours, closer than at 1")
    alike = sentences(row("subject", SOON), variety=(1.0, 0.8, 0.4, 0.1, 0.1))
    assert alike[1].startswith("Its pictures look alike whatever the prompt says")
    assert len(sentences(row("subject", SOON))) == 1  # as different as the base's own: not a word


def test_a_trigger_word_that_makes_no_difference_is_said() -> None:
    assert "It works without its trigger word too." in sentences(row("subject", SOON), row("plain", SOON))
    assert len(sentences(row("subject", SOON), row("plain", LATE))) == 1


def test_nothing_measured_says_nothing() -> None:
    assert sentences() == sentences(StrengthRow(about="subject", prompt="", pictures=("",) * 5)) == []


def test_words_follow_the_limits() -> None:
    words = [change_word(change) for change in (0.0, 0.3, 0.5, 2.0)]
    assert words == ["hardly at all", "a little", "clearly", "a lot"]


def test_a_report_comes_back_as_it_was_written(tmp_path: Path) -> None:
    whole = report(row("subject", SOON), row("other", NEVER), likeness=(None, 0.1, 0.2, 0.3, 0.4))
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / REPORT).write_text(report_json(whole))
    assert read_strength(tmp_path) == whole
    assert json.loads(report_json(whole))["verdicts"][0] == "Strong from weight 0.7 on."


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "{}", "{" * 5000, '{"weights": []}', '{"weights": ["x"]}', '{"weights": [NaN]}'),
        *('{"weights": [1e999]}', '{"weights": [true, null]}', " " * (1 << 21), '{"weights": {"a": 1}}'),
    ],
)
def test_what_is_no_report_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / REPORT).write_text(text)
    assert read_strength(tmp_path) is None


def test_of_a_strange_report_what_fits_is_used(tmp_path: Path) -> None:
    strange = {
        "weights": [0, 1],
        "rows": [
            7,
            {"about": "password", "pictures": ["00-00.webp"]},
            {
                "about": "other",
                "pictures": ["../../x.webp", "00-01.webp", "more.webp"],
                "changes": ["x", 10**30],
            },
        ],
        "seed": -5,
        "tensor_hash": "<b>",
        "title": "a\nb",
        "made_at": {},
    }
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / REPORT).write_text(json.dumps(strange))
    found = read_strength(tmp_path)
    assert found is not None
    assert [one.pictures for one in found.rows] == [("", "00-01.webp")]
    assert found.rows[0].changes == (None, None)
    assert (found.seed, found.tensor_hash, found.title, found.made_at) == (0, "", "a b", 0.0)
    assert verdicts(found) == []


def test_the_base_s_own_picture_and_weights_below_nothing_are_no_answer() -> None:
    """Weights from -4 to 4 may be asked for, and none of them need be near 1."""
    other = replace(row("other", ()), changes=(0.0, 0.9))
    far = replace(report(other), weights=(0.0, 3.0))
    assert [one.sentence for one in verdicts(far)] == ["It changes other pictures: a lot."]
    subject = replace(row("subject", ()), changes=(0.0, 2.0, 0.8))
    both = replace(report(subject), weights=(0.0, -1.0, 1.0), likeness=(0.0, 0.9, 0.6))
    assert [one.sentence.split(" its ")[0] for one in verdicts(both)] == [
        "Strong from weight 1 on.",
        "At weight 1",
    ]
