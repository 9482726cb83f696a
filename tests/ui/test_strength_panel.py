"""The strength report on the page: its pictures and verdicts, its drawing, and who may ask for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from lora_studio.events import Denoised
from lora_studio.grids.strength_request import StrengthRequest
from lora_studio.jobs.generation_queue import GenerationResult
from lora_studio.lora.strength_report import FOLDER, REPORT, StrengthReport, StrengthRow, report_json
from lora_studio.studio import Studio
from lora_studio.ui.comparison.strength_panel import strength_mark, strength_of
from tests.support.html import parse
from tests.support.library_entries import write_result
from tests.support.waiting import until

ROWS = (
    StrengthRow(
        about="subject", prompt="a <b>zwx</b>", pictures=("00-00.webp", "00-01.webp"), changes=(0.0, 0.9)
    ),
    StrengthRow(about="other", prompt="a house", pictures=("01-00.webp", ""), changes=(0.0, None)),
)


@pytest.fixture
def folder(studio: Studio) -> Path:
    folder = write_result(studio.settings, "disc")
    studio.gallery.scan()
    return folder


def write_report(studio: Studio, folder: Path, *, tensor_hash: str = "") -> None:
    report = StrengthReport(
        title="Disc",
        trigger_word="zwx",
        base="starter",
        seed=1,
        weights=(0.0, 1.0),
        rows=ROWS,
        tensor_hash=tensor_hash or studio.gallery.lora("disc").id,
        made_at=1.0,
    )
    (folder / FOLDER).mkdir()
    (folder / FOLDER / REPORT).write_text(report_json(report))
    for name in ("00-00", "00-01", "01-00"):
        (folder / FOLDER / f"{name}.webp").write_bytes(b"")


def test_without_a_report_there_is_the_way_to_one(studio: Studio, folder: Path) -> None:
    html = strength_of(studio, "disc")
    (button,) = parse(html).iter("button")
    assert (button.get("data-action"), button.get("data-slug")) == ("draw", "disc")
    assert "40 pictures" in html
    assert strength_of(studio, "") == strength_of(studio, "gone") == ""


def test_a_report_shows_pictures_and_verdicts(studio: Studio, folder: Path) -> None:
    before = strength_mark(studio, "disc")
    write_report(studio, folder)
    html = strength_of(studio, "disc")
    assert strength_mark(studio, "disc") != before
    assert [image.get("alt") for image in parse(html).iter("img")] == [
        "Base alone: a <b>zwx</b>",
        "Weight 1: a <b>zwx</b>",
        "Base alone: a house",
    ]
    assert "Strong from weight 1 on." in html
    assert "not drawn" in html
    assert "has changed since" not in html


def test_a_report_of_an_older_file_says_so(studio: Studio, folder: Path) -> None:
    write_report(studio, folder, tensor_hash="ab" * 32)
    assert "has changed since" in strength_of(studio, "disc")


def test_while_it_is_drawn_there_is_a_bar_and_stop_and_a_second_click_starts_nothing(
    studio: Studio, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def draw(request: StrengthRequest, emit, should_stop) -> GenerationResult:  # type: ignore[no-untyped-def]
        emit(Denoised(image=10, images=40, step=6, total_steps=12))
        until(should_stop)
        return GenerationResult()

    monkeypatch.setattr(type(studio.drawing), "result_of_strength", lambda self, *given: draw(*given))
    ticket = studio.submit_strength(StrengthRequest.build("disc"))
    until(lambda: studio.generation_queue.ticket(ticket.id).image == 10)
    assert studio.submit_strength(StrengthRequest.build("disc")).id == ticket.id
    html = strength_of(studio, "disc")
    (button,) = parse(html).iter("button")
    assert button.get("data-action") == "stop"
    assert "Picture 10 of 40" in html
    studio.generation_queue.cancel(ticket.id)
    studio.generation_queue.wait(ticket.id)
    assert 'data-action="draw"' in strength_of(studio, "disc")
