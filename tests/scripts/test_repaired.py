"""The bench of spoiled and mended sets: the checks find what is spoiled, and a tiny run goes through."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from scripts.bench.learns import SUBJECTS
from scripts.bench.repaired import (
    STATES,
    Outcome,
    as_markdown,
    backgrounds_as_asked,
    main,
    outline_in_common,
    spoil,
)
from scripts.guide_pictures.picture_examples import report_on

FOUND_BY = {
    "an enlarged thumbnail": "blurred",
    "with bars": "borders",
    "without the trigger word": "no_trigger",
}


def outcome(share: float, backgrounds: float | None) -> Outcome:
    return Outcome(
        grade="B", points=80, pictures=9, share=share, asked=0.5, distance=5.0, backgrounds=backgrounds
    )


@pytest.mark.parametrize("name", ["alien", "ink"])
def test_the_checks_find_what_is_spoiled(name: str, tmp_path: Path) -> None:
    done = spoil(SUBJECTS[name].folder, tmp_path / "set", seed=1)
    report = report_on(tmp_path / "set")
    for fault, check in FOUND_BY.items():
        wanted = {file for file, what in done.items() if what == fault}
        found = {file for one in report.findings if one.check == check for file in one.pictures}
        assert len(wanted) >= 2
        assert found == wanted
    copies = {file for one in report.findings if one.check == "exact_copy" for file in one.pictures[:-1]}
    assert {file for file in copies if "again" in done[file]} == copies
    assert len(copies) == 3


def test_which_pictures_are_spoiled_follows_from_the_seed(tmp_path: Path) -> None:
    folder = SUBJECTS["ink"].folder
    first, again, other = (spoil(folder, tmp_path / str(n), seed) for n, seed in enumerate((1, 1, 2)))
    assert first == again
    assert first != other


def test_backgrounds_are_told_by_their_colour() -> None:
    images = [Image.new("RGB", (64, 64), colour) for colour in ("#ffb3cc", "white", "black", "white")]
    prompts = ("a x on a pink background", "a x on a white background", "a x on a blue background", "rocket")
    assert backgrounds_as_asked(images, prompts) == pytest.approx(2 / 3)
    assert backgrounds_as_asked(images[3:], prompts[3:]) is None


def test_the_outline_is_told_on_any_ground() -> None:
    def square(side: int, ground: str) -> Image.Image:
        image = Image.new("RGB", (64, 64), ground)
        image.paste("purple", (8, 8, 8 + side, 8 + side))
        return image

    pictures = [square(32, "white"), square(16, "white")]
    assert outline_in_common([square(32, "yellow")], pictures) == 1
    assert outline_in_common([square(24, "black")], pictures) == pytest.approx(24**2 / 32**2)


def test_the_table_has_each_seed_and_the_mean() -> None:
    runs = {seed: dict.fromkeys(STATES, outcome(share, 0.5)) for seed, share in ((1, 0.2), (2, 0.4))}
    table = as_markdown("alien", runs)
    assert "### alien, seeds 1, 2" in table
    assert "| spoiled | 9 | B (80) | 0.200, 0.400 | 0.300 | 0.500 | 5.00 | 50% |  |" in table


@pytest.mark.slow  # four trainings of two steps, eight pictures, six commands
def test_a_tiny_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["alien", "--tiny", "--seeds", "3", "--keep", str(tmp_path)]) == 0
    figures = json.loads((tmp_path / "repaired-alien-3.json").read_text("utf-8"))
    assert [(figures[state]["grade"], figures[state]["pictures"]) for state in STATES] == [
        ("A", 10),
        ("E", 14),
        ("B", 11),
        ("A", 7),
    ]
    with Image.open(tmp_path / "repaired-alien-3.webp") as sheet:
        assert sheet.width > 6 * 128
    first = capsys.readouterr().out
    assert main(["alien", "--tiny", "--seeds", "3", "--keep", str(tmp_path)]) == 0
    assert capsys.readouterr().out == first
