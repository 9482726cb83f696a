from __future__ import annotations

from pathlib import Path

from lora_studio.settings import Settings
from tests.support.command import QUICK, Command


def test_a_plan_is_printed_and_nothing_is_left(command: Command, tiny_base: Path, pictures: Path) -> None:
    options = ("--images", pictures, "--kind", "object", "--base", tiny_base, "--steps", 7, *QUICK)
    outcome = command("plan", *options, "--json")
    assert outcome.code == 0, outcome.err
    assert (outcome.json["steps"], outcome.json["images"]) == (7, 4)
    assert outcome.json["sentence"].startswith("About ")
    settings = Settings.from_environment()
    assert not list(settings.loras.iterdir())
    assert not list(settings.datasets.iterdir())


def test_a_plan_is_made_of_what_training_would_take(
    command: Command, tiny_base: Path, pictures: Path
) -> None:
    """A damaged picture and thumbnails of a file server are no part of it, and it is said."""
    damaged, thumbnails = pictures / "cut.png", pictures / "@eaDir"
    whole = next(pictures.glob("*.png"))
    damaged.write_bytes(whole.read_bytes()[:60])
    thumbnails.mkdir()
    (thumbnails / "thumb.png").write_bytes(whole.read_bytes())
    options = ("--images", pictures, "--kind", "object", "--base", tiny_base, "--steps", 2, *QUICK)
    outcome = command("plan", *options, "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.json["images"] == 4
    assert [line for line in outcome.err.splitlines() if line.startswith("Left out: ") and "cut.png" in line]
    assert not list(Settings.from_environment().datasets.iterdir())


def test_a_plan_of_nothing_is_an_error(command: Command, tmp_path: Path) -> None:
    outcome = command("plan", "--images", tmp_path, "--kind", "object")
    assert outcome.code == 2
    assert "no pictures" in outcome.err
