"""A strength report from its plan to the files in the LoRA's folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from lora_studio.errors import OutOfMemory, StoreError, StudioError
from lora_studio.events import Emit, Event, Finished, ImageSaved, ShouldStop, Stopped, ignore
from lora_studio.grids.strength_drawing import StrengthDrawing, report_on, save_strength
from lora_studio.grids.strength_request import StrengthRequest, plan_strength
from lora_studio.lora.strength_report import FOLDER, REPORT, SHEET, mean_changes, read_strength, verdicts
from lora_studio.records import LoraRecord
from lora_studio.request import GeneratedImage, GenerateRequest
from lora_studio.settings import Settings
from lora_studio.studio import Studio
from tests.support.library_entries import write_result
from tests.support.loras import write_lora

RECORD = LoraRecord(
    id="ab" * 32, slug="disc", title="Disc", path="", family="", base="starter", trigger_word="zwx"
)
PLAN = plan_strength(StrengthRequest.build("disc", weights=(0.5, 1)), RECORD)
CELLS = PLAN.grid().cells


def features(change_of_others: float = 0.0, *, alike: bool = False) -> torch.Tensor:
    """Of each cell and two training pictures: the base's pictures lie on axes of their own, and the LoRA
    takes the subject's to the training pictures."""
    found = []
    for row, (about, _) in enumerate(PLAN.rows):
        for weight in PLAN.weights:
            base, goal = torch.zeros(17), torch.zeros(17)
            base[row] = goal[14 if alike else row] = 1.0
            goal[8:14] = 3.0
            share = weight if about == "subject" else weight * change_of_others
            found.append((1 - share) * base + share * goal)
    training = torch.zeros(2, 17)
    training[:, 8:14] = 3.0
    training[0, 15] = training[1, 16] = 0.5
    return torch.stack([*found, *training])


def test_the_measurements_tell_subject_and_others_apart() -> None:
    report = report_on(PLAN, [True] * len(CELLS), features())
    assert mean_changes(report.of("other"), 3) == [0.0, 0.0, 0.0]
    subject = mean_changes(report.of("subject"), 3)
    assert subject[0] == 0
    assert subject[2] == pytest.approx(2 * (subject[1] or 0), rel=1e-4)
    assert report.likeness[0] == pytest.approx(0, abs=1e-6)
    assert (report.likeness[2] or 0) > (report.likeness[1] or 0) > 0
    levels = {verdict.about: verdict.level for verdict in verdicts(report)}
    assert (levels["strength"], levels["others"]) == ("good", "good")
    assert "variety" not in levels


def test_one_that_takes_everything_over_is_told() -> None:
    report = report_on(PLAN, [True] * len(CELLS), features(1.0, alike=True))
    levels = {verdict.about: verdict.level for verdict in verdicts(report)}
    assert (levels["others"], levels["neighbours"], levels["variety"]) == ("bad", "bad", "bad")
    assert "trigger" in levels


def test_what_could_not_be_drawn_is_left_out() -> None:
    drawn = [place != 2 for place in range(len(CELLS))]  # the first prompt at the highest weight
    table = features()
    report = report_on(PLAN, drawn, torch.cat([table[:2], table[3:]]))
    assert report.rows[0].changes[2] is None
    assert None not in report.rows[1].changes
    assert report.variety[2] is not None


class Drawing:
    """Draws a grey square for each cell, and looks at nothing; `fails_at` is the cell that has no room."""

    def __init__(self, settings: Settings, *, stop_at: int = 99, fails_at: int = 99) -> None:
        if not (settings.loras / "disc").exists():
            write_result(settings, "disc")
        self.events: list[Event] = []
        self.drawn = 0
        self._stop_at, self._fails_at = stop_at, fails_at
        self.drawing = StrengthDrawing(
            plan=PLAN,
            settings=settings,
            draw=self._draw,
            look=self._look,
            emit=self.events.append,
            should_stop=lambda: self.drawn >= self._stop_at,
        )

    def _draw(
        self, request: GenerateRequest, emit: Emit, should_stop: ShouldStop, folder: Path
    ) -> list[GeneratedImage]:
        if self.drawn == self._fails_at:
            raise OutOfMemory("There is no room.", "")
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.drawn}.png"
        Image.new("RGB", (608, 304), (self.drawn, 0, 0)).save(path)
        self.drawn += 1
        emit(ImageSaved(path=str(path), seed=1, image=1, images=1))
        return [GeneratedImage(path=str(path), width=608, height=304, seed=1, infotext="", request=request)]

    def _look(
        self, paths: Sequence[Path], request: GenerateRequest, emit: Emit, should_stop: ShouldStop
    ) -> torch.Tensor:
        assert all(path.is_file() for path in paths)
        assert (request.width, request.height) == (608, 304)
        return features()[: len(paths)]


def test_small_pictures_a_sheet_and_the_report_take_an_earlier_ones_place(
    settings: Settings, tmp_path: Path
) -> None:
    one = Drawing(settings)
    drawn = one.drawing.run([])
    assert drawn is not None
    saved = [event for event in one.events if isinstance(event, ImageSaved)]
    assert [event.image for event in saved] == list(range(1, 25))
    assert isinstance(one.events[-1], Finished)
    assert not list(settings.cache.glob("strength/*"))
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / "old.webp").write_bytes(b"old")
    report = save_strength(tmp_path, drawn)
    assert read_strength(tmp_path) == report
    assert report.rows[1].pictures == ("01-00.webp", "01-01.webp", "01-02.webp")
    names = {path.name for path in (tmp_path / FOLDER).iterdir()}
    assert names == {REPORT, SHEET, *(name for row in report.rows for name in row.pictures)}
    with Image.open(tmp_path / FOLDER / "01-00.webp") as picture:
        assert (picture.format, picture.size) == ("WEBP", (384, 192))
    assert [path.name for path in tmp_path.iterdir()] == [FOLDER]


def test_a_stop_and_a_failure_keep_nothing(settings: Settings) -> None:
    stopped = Drawing(settings, stop_at=3)
    assert stopped.drawing.run([]) is None
    assert isinstance(stopped.events[-1], Stopped)
    with pytest.raises(StudioError, match="no room"):
        Drawing(settings, fails_at=3).drawing.run([])
    assert not list(settings.cache.glob("strength/*"))


def test_the_report_of_a_lora_deleted_meanwhile_has_no_place(settings: Settings, tmp_path: Path) -> None:
    drawn = Drawing(settings).drawing.run([])
    assert drawn is not None
    with pytest.raises(StoreError, match="deleted"):
        save_strength(tmp_path / "gone", drawn)
    assert not (tmp_path / "gone").exists()


@pytest.mark.slow
def test_a_strong_lora_and_an_empty_one_on_the_embedded_base(studio: Studio) -> None:
    """Random weights that change whatever is drawn, and zeros; the pictures stay out of the gallery."""
    for slug, strength in (("wild", 0.3), ("empty", 0.0)):
        metadata = {"modelspec.trigger_phrase": "zwx", "ss_sd_model_name": "starter"}
        path = studio.settings.loras / slug / f"{slug}.safetensors"
        write_lora(path, studio.settings.starter, strength=strength, text_encoder=False, metadata=metadata)
    found = {}
    for slug in ("wild", "empty"):
        request = StrengthRequest.build(slug, base="starter", weights=(1,))
        report = studio.drawing.draw_strength(request, ignore)
        assert report is not None
        found[slug] = {verdict.about: verdict.level for verdict in verdicts(report)}
        assert json.loads((studio.settings.loras / slug / FOLDER / REPORT).read_text())["base"] == "starter"
    assert (found["wild"]["others"], found["wild"]["strength"]) == ("bad", "good")
    assert (found["empty"]["others"], found["empty"]["strength"]) == ("good", "bad")
    assert studio.gallery.count_images() == 0
    tensors = load_file(studio.settings.loras / "empty" / "empty.safetensors")
    save_file({name: tensor + 1 for name, tensor in tensors.items()}, path)
    assert studio.gallery.lora("empty").id != report.tensor_hash  # the page says that the report is old
