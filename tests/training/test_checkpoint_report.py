from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from lora_studio.errors import StoreError
from lora_studio.lora.checkpoint_report import (
    LEARNED_NOTHING,
    CheckpointReport,
    CheckpointRow,
    closeness,
    even_choice,
    read_report,
    recommend,
    score,
    write_report,
)
from lora_studio.lora.checkpoints import checkpoint_files, chosen_step, use_checkpoint
from lora_studio.lora.file.lora_files import find_file, read_header

BOARD = CheckpointReport(
    prompts=("a zwx", "a zwx at sea"),
    base=("previews/base-0.png", "previews/base-1.png"),
    rows=tuple(
        CheckpointRow(step=step, likeness=likeness, adherence=adherence, leak=leak)
        for step, likeness, adherence, leak in (
            (25, 0.2, 1.0, 0.1),
            (50, 0.7, 0.98, 0.15),
            (75, 0.9, 0.95, 0.2),
            (100, 0.92, 0.3, 0.9),
        )
    ),
)


def test_the_recommended_one_is_like_the_pictures_and_still_listens() -> None:
    step, reason = recommend(BOARD)
    assert step == 75
    assert reason == (
        "Step 75 is recommended: its pictures are the closest to yours; it keeps to the prompts "
        "better than the last step (95 % against 30 %); it changes other pictures less than the last "
        "step (20 % against 90 %)."
    )


def test_one_row_is_compared_with_nothing() -> None:
    row = CheckpointRow(step=80, likeness=0.9, validation_loss=0.1)
    assert recommend(replace(BOARD, rows=(row,))) == (
        80,
        "Step 80 is recommended: it is the only one that was measured.",
    )


def test_of_one_prompt_nobody_says_that_nothing_was_learned() -> None:
    rows = tuple(CheckpointRow(step=step, likeness=-1.1) for step in (10, 20))
    assert recommend(replace(BOARD, rows=rows))[1] == LEARNED_NOTHING
    assert recommend(replace(BOARD, prompts=("a zwx",), rows=rows)) == (0, "")


def test_of_equals_the_earlier_one_is_recommended() -> None:
    rows = tuple(CheckpointRow(step=step, likeness=0.8 + step / 10_000) for step in (10, 20, 30))
    assert recommend(replace(BOARD, rows=rows))[0] == 10


def test_a_rising_validation_loss_speaks_against_a_step() -> None:
    rows = tuple(
        CheckpointRow(step=step, likeness=0.5, validation_loss=loss)
        for step, loss in ((10, 0.20), (20, 0.10), (30, 0.30))
    )
    board = replace(BOARD, rows=rows, base_loss=0.25)
    assert recommend(board)[0] == 20
    assert "the lowest loss on the held-out pictures" in recommend(board)[1]
    assert score(rows[2], board) < score(rows[0], board)


def test_without_any_measurement_nothing_is_recommended() -> None:
    assert recommend(replace(BOARD, rows=(CheckpointRow(step=1), CheckpointRow(step=2)))) == (0, "")


def test_a_board_survives_its_file_and_what_a_later_version_adds(tmp_path: Path) -> None:
    (tmp_path / "training.json").write_text('{"title": "Disc"}')
    write_report(tmp_path, BOARD)
    assert read_report(tmp_path) == BOARD
    data = json.loads((tmp_path / "training.json").read_text())
    assert data["title"] == "Disc"
    data["board"]["rows"][0]["beauty"] = data["board"]["beauty"] = 1
    (tmp_path / "training.json").write_text(json.dumps(data))
    assert read_report(tmp_path) == BOARD


@pytest.mark.parametrize("text", ["", "{}", '{"board": 1}', '{"board": {"rows": [1]}}', '{"board": {}}'])
def test_no_readable_board_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "training.json").write_text(text)
    assert read_report(tmp_path) is None


def test_a_strangers_board_is_used_as_far_as_it_fits(tmp_path: Path) -> None:
    row = {
        "step": 1,
        "pictures": ["previews/a.png", "../../x.png", "/etc/hosts", "a" * 5000, 7],
        "leak": True,
    }
    board = {"rows": [{**row, "likeness": "x", "validation_loss": {}}], "prompts": ["p"], "base_loss": 1e300}
    (tmp_path / "training.json").write_text(json.dumps({"board": {**board, "without_base": ["x"]}}))
    assert read_report(tmp_path) == CheckpointReport(
        prompts=("p",), base=(), rows=(CheckpointRow(step=1, pictures=("previews/a.png", "", "", "", "")),)
    )


@pytest.mark.parametrize("step", ["Infinity", "-1", "1e300", '"1"', "null"])
def test_a_board_whose_steps_are_none_is_none(tmp_path: Path, step: str) -> None:
    (tmp_path / "training.json").write_text(f'{{"board": {{"rows": [{{"step": {step}}}], "prompts": []}}}}')
    assert read_report(tmp_path) is None


def test_even_choice_keeps_the_last() -> None:
    assert even_choice(range(1, 101), 4) == [25, 50, 75, 100]
    assert even_choice([3, 1, 2], 10) == [1, 2, 3]


def test_a_checkpoint_takes_the_files_place_and_gives_it_back(lora_with_checkpoints: Path) -> None:
    folder = lora_with_checkpoints
    last, middle = chosen_step(folder), min(checkpoint_files(folder))
    first_hash = read_header(find_file(folder)).tensor_hash
    assert use_checkpoint(folder, middle) == last
    assert chosen_step(folder) == middle
    assert read_header(find_file(folder)).tensor_hash != first_hash
    assert last in checkpoint_files(folder)
    assert use_checkpoint(folder, last) == middle
    assert read_header(find_file(folder)).tensor_hash == first_hash


def test_a_step_that_was_not_kept_changes_nothing(lora_with_checkpoints: Path) -> None:
    before = find_file(lora_with_checkpoints).read_bytes()
    with pytest.raises(StoreError, match="no checkpoint of step 999"):
        use_checkpoint(lora_with_checkpoints, 999)
    assert find_file(lora_with_checkpoints).read_bytes() == before


def test_a_damaged_checkpoint_changes_nothing(lora_with_checkpoints: Path) -> None:
    step, path = next(iter(checkpoint_files(lora_with_checkpoints).items()))
    path.write_bytes(path.read_bytes()[:-10])
    before = find_file(lora_with_checkpoints).read_bytes()
    with pytest.raises(Exception, match="damaged"):
        use_checkpoint(lora_with_checkpoints, step)
    assert find_file(lora_with_checkpoints).read_bytes() == before


def test_a_shortcoming_is_said_with_what_makes_up_for_it() -> None:
    rows = (
        CheckpointRow(step=10, likeness=0.7, adherence=1.0, leak=0.0),
        CheckpointRow(step=20, likeness=1.1, adherence=0.2, leak=0.9),
    )
    assert recommend(replace(BOARD, rows=rows))[1] == (
        "Step 10 is recommended: its pictures are not as close to yours as those of step 20; "
        "it keeps to the prompts better than the last step (100 % against 20 %); it changes "
        "other pictures less than the last step (0 % against 90 %)."
    )


def test_where_nothing_was_learned_nothing_is_recommended() -> None:
    rows = tuple(
        CheckpointRow(step=step, likeness=likeness, leak=0.0) for step, likeness in ((1, 0.0), (2, 0.04))
    )
    board = CheckpointReport(prompts=("a", "b"), base=("a.png", "b.png"), rows=rows)
    assert recommend(board) == (0, LEARNED_NOTHING)
    assert (
        recommend(
            CheckpointReport(
                prompts=("a",), base=("b.png",), rows=(*rows, CheckpointRow(step=3, likeness=0.3))
            )
        )[0]
        == 3
    )


def test_a_likeness_is_shown_as_a_word() -> None:
    words = [closeness(likeness) for likeness in (-0.2, 0.0, 0.1, 0.2, 0.37, 1.2)]
    assert words == ["like the base's"] * 2 + ["a little like yours", "like yours"] + ["very like yours"] * 2
