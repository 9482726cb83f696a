"""Files on their way into a set: when there is a way to stop, what is said, and what is left of a stop."""

from __future__ import annotations

from pathlib import Path

import pytest

from lora_studio.events import PhaseAdvanced
from lora_studio.studio import Studio
from lora_studio.ui.upload.picture_intake import MANY, is_long, sentence, share
from lora_studio.ui.upload.picture_set import Intake, SetView, received
from tests.support.api_caller import write_picture


@pytest.mark.parametrize(
    ("files", "long"),
    [
        ([], False),
        (None, False),
        ("x", False),
        (["a.png"], False),
        (["a.ZIP"], True),
        (["a.png"] * MANY, True),
    ],
)
def test_only_what_takes_long_can_be_stopped(files: object, long: bool) -> None:
    assert is_long(files) is long


def test_an_archive_hides_how_much_there_is() -> None:
    some, hidden = (PhaseAdvanced(phase="ingest", done=3, total=total) for total in (4, 0))
    assert (share(some), sentence(some)) == (0.75, "3 of 4 files read")
    assert (share(hidden), sentence(hidden)) == (None, "3 files read")


def test_a_stop_leaves_the_set_on_the_page_as_it_is(studio: Studio) -> None:
    uploads = studio.settings.uploads
    one, other = (str(write_picture(uploads / name)) for name in ("a.png", "b.png"))
    dataset, *_ = received(studio, Intake(files=[one]), "", SetView())
    before = {path.name for path in Path(studio.datasets.get(dataset).path).iterdir()}
    stopped = Intake(files=[other], should_stop=lambda: True)
    again, pictures, said, edits = received(studio, stopped, dataset, SetView())
    assert again == dataset
    assert "nothing of it is kept" in said
    assert "1 picture" in pictures
    assert edits == ""
    assert {path.name for path in Path(studio.datasets.get(dataset).path).iterdir()} == before
    assert received(studio, stopped, "", SetView())[0] == ""
