"""The table of odd files tells a wrong answer from a right one."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.cases_table.__main__ import kinds_in, report
from scripts.cases_table.expected import KEPT, LORAS, PICTURES, REFUSED, SETTINGS, USED, Answer

SAID = Answer(outcome=USED, result="1 picture", said=("a.webp: the first is used.",))


@pytest.fixture
def cases(tmp_path: Path) -> Path:
    for name in ("pictures/animated.webp", "pictures/unheard.of", "loras/all_zero.safetensors", "a.zip"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def test_each_file_has_a_row_and_what_is_wrong_is_counted(cases: Path) -> None:
    kinds = kinds_in(cases, None)
    files = {path.name: path for kind in kinds for path in kind.files}
    assert set(files) == {"animated.webp", "unheard.of", "all_zero.safetensors", "a.zip"}
    right = {path: SAID for path in files.values()}
    zero = files["all_zero.safetensors"]
    kept = right | {zero: Answer(outcome=KEPT, result="“Nil”")}
    drawn = right | {zero: Answer(outcome=USED, said=("It changes nothing.",))}
    text, wrong = report(kinds, kept, drawn, drawn)
    assert wrong == 0, text
    rows = {line.split(" | ")[0].removeprefix("| "): line for line in text.splitlines() if line[:2] == "| "}
    assert rows.keys() > files.keys()
    assert rows["animated.webp"].endswith("| as the page | as the page | yes |")
    assert rows["unheard.of"].endswith("| as the page | as the page |  |")
    silent = right | {files["animated.webp"]: Answer(outcome=USED, result="1 picture")}
    text, wrong = report(kinds, kept, silent | {zero: drawn[zero]}, kept)
    assert wrong == 2
    assert "| no: API |" in text
    assert "| no: command line |" in text  # the file of zeros was kept there, and nobody said why


def test_an_outcome_is_right_or_not_whatever_is_said() -> None:
    damaged, many = PICTURES["truncated.jpg"], PICTURES["panorama.png"]
    words = ("x is damaged or cut off",)
    assert damaged.agrees(Answer(outcome=REFUSED, said=words), draws=True)
    assert not damaged.agrees(Answer(outcome=USED, said=words), draws=True)
    assert not damaged.agrees(Answer(outcome=REFUSED, said=("No.",)), draws=True)
    assert not many.agrees(Answer(outcome="failed"), draws=True)
    assert LORAS["one_nan"].agrees(Answer(outcome=KEPT), draws=False)
    assert not LORAS["cut_off"].agrees(Answer(outcome=KEPT), draws=False)
    absent = SETTINGS["lora_cjk.png"]
    refusal = Answer(outcome=REFUSED, said=("There is no LoRA “猫の絵” in the library.",))
    assert absent.agrees(refusal, draws=True, by_command=True)
    assert not absent.agrees(refusal, draws=True)
