"""The checks on folders with known faults: each finds its own, names the file, and offers what mends it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from PIL import ImageFilter

from lora_studio.data.checks.caption_checks import split_at_window
from lora_studio.data.checks.checked_set import CaptionLength, CheckedPicture, CheckedSet, SetCaptionText
from lora_studio.data.checks.copy_checks import COPY_CHECKS
from lora_studio.data.checks.dataset_check import CHECKS
from lora_studio.data.checks.dataset_report import DatasetReport
from lora_studio.data.checks.picture_facts import FactsCache
from lora_studio.data.checks.picture_measures import measure_picture
from lora_studio.data.checks.report_html import report_html
from lora_studio.data.edits.picture_edits import (
    LONGEST_CAPTION,
    CropPicture,
    RemovePicture,
    SetCaption,
    edit_dict,
    edit_of,
)
from scripts.bench.dataset_checks import figures
from tests.support.check_scores import all_scores, options, picture_scores, report_on
from tests.support.drawn_scenes import scene
from tests.support.serving import CHECKOUT
from tests.support.spoiled_pictures import SPOILED, Labels, encoded, write_good, write_spoiled

WITHOUT_FIX = {"colour_profile", "turned"}
"""Checks whose findings the training mends by itself."""


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Labels:
    made = Labels(folder=tmp_path_factory.mktemp("spoiled"))
    write_good(made, 6)
    write_spoiled(made, 1)
    return made


@pytest.fixture(scope="module")
def report(labels: Labels) -> DatasetReport:
    return report_on(labels.folder)


def test_each_check_finds_its_own_and_nothing_else(labels: Labels, report: DatasetReport) -> None:
    scores = picture_scores(labels, report)
    assert set(scores) == set(SPOILED)
    wrong = {check: score.missed | score.false for check, score in scores.items()}
    assert {check: names for check, names in wrong.items() if names} == {}


def test_each_finding_names_its_picture_and_offers_a_fix(labels: Labels, report: DatasetReport) -> None:
    for finding in report.findings:
        assert all((labels.folder / name).is_file() for name in finding.pictures)
        if finding.pictures and finding.check not in WITHOUT_FIX and "can't be read" not in finding.reason:
            assert finding.fix is not None, finding
            assert any(name in finding.reason for name in finding.pictures)
            for edit in finding.fix.edits:
                assert edit_of(json.loads(json.dumps(edit_dict(edit)))) == edit
                assert edit.picture in finding.pictures


def test_the_fixes_are_right(labels: Labels, report: DatasetReport) -> None:
    fixes = {(one.check, one.pictures[0]): one.fix for one in report.findings if one.pictures and one.fix}
    crop = fixes["borders", "borders-00.jpg"].edits[0]
    assert isinstance(crop, CropPicture)
    assert (crop.left, crop.right) == (0, 768)
    assert abs(crop.top - 90) <= 2
    assert abs(crop.bottom - 730) <= 2
    assert fixes["exact_copy", "exact_copy-00.bmp"].edits == (RemovePicture("exact_copy-00.bmp"),)
    assert fixes["encoding", "encoding-00.jpg"].edits == (SetCaption("encoding-00.jpg", "zwx rot café"),)
    [aside] = fixes["cut_detail", "cut_detail-00.jpg"].edits
    assert isinstance(aside, CropPicture)
    assert aside.right == 2400  # where all of it is to be seen


def test_nothing_of_the_folder_changes_and_a_second_look_says_the_same(
    labels: Labels, report: DatasetReport, tmp_path: Path
) -> None:
    def state() -> dict[str, str]:
        paths = sorted(labels.folder.rglob("*"))
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}

    before, cache = state(), FactsCache(tmp_path)
    assert report_on(labels.folder, cache).to_json() == report_on(labels.folder, cache).to_json()
    assert report.to_json() == report_on(labels.folder, cache).to_json()
    assert state() == before


def test_the_report_sorts_by_what_matters_most(report: DatasetReport) -> None:
    costs = [part.cost for part in report.parts]
    assert costs == sorted(costs, reverse=True)
    assert report.grade in "DE"
    assert len(report.advice) == sum(cost > 0 for cost in costs)
    assert {check.id for check in CHECKS} == {part.check.id for part in report.parts} | {
        check.id for check in report.passed
    }


def test_the_page_of_a_report_is_whole_and_escaped(tmp_path: Path) -> None:
    name = "<img src=x onerror=alert(1)>.png"
    (tmp_path / name).write_bytes(encoded(scene(2, (96, 96)), "PNG"))
    (tmp_path / name).with_suffix(".txt").write_text("<script>alert(2)</script>\nmore")
    page = report_html(report_on(tmp_path), title="<b>set</b>", base="SD 1.5")
    assert "&lt;img src=x onerror" in page
    assert "<script" not in page
    assert "<b>" not in page
    assert "data:image/webp;base64," in page
    assert "http" not in page


def test_strange_names_and_captions_are_shown_plain(tmp_path: Path) -> None:
    strange = "line\nbreak \x1b[31m.png"
    (tmp_path / strange).write_bytes(encoded(scene(2, (96, 96)), "PNG"))
    (tmp_path / strange).with_suffix(".txt").write_bytes(b"x, " * 30_000)
    report = report_on(tmp_path)
    assert all(finding.reason.isprintable() for finding in report.findings)
    assert all(finding.fix is None for finding in report.findings if strange in finding.pictures)
    assert any("longer than" in finding.reason for finding in report.findings)
    json.dumps(report.to_json()).encode()


def test_words_that_fall_off_are_named(report: DatasetReport) -> None:
    [finding] = [one for one in report.findings if one.check == "beyond_window"]
    assert "of which 75 are read" in finding.reason
    assert "fall off" in finding.reason
    length = options().caption_length
    assert length is not None
    text = "zwx kettle, " + ", ".join(f"detail number {number}" for number in range(60))
    kept, lost = split_at_window(text, length)
    assert length.count(kept) <= 75 < length.count(f"{kept}, {lost.split()[0]} {lost.split()[1]} 1")
    assert text.startswith(kept)
    assert text.endswith(lost)
    assert split_at_window("word", length) == ("word", "")
    seen = list[int]()
    counting = CaptionLength(limit=75, count=lambda text: seen.append(len(text)) or length.count(text))
    assert split_at_window(text * 50, counting)[0] == kept
    assert max(seen) < 1000  # of a long caption only what may be read is counted


def test_many_copies_are_one_group() -> None:
    facts = measure_picture(Path("a.png"), encoded(scene(0, (64, 64)), "PNG"))
    pictures = [
        CheckedPicture(path=Path(f"{n}.png"), name=f"{n}.png", caption=SetCaptionText(), facts=facts)
        for n in range(3000)
    ]
    checked = CheckedSet(pictures=tuple(pictures), options=options())
    exact, near, _ = COPY_CHECKS
    [finding] = exact.find(checked)
    assert len(finding.pictures) == 3000
    assert finding.reason.count(".png") == 6
    assert list(near.find(checked)) == []


def test_of_equal_copies_the_one_without_a_copys_name_is_kept(tmp_path: Path) -> None:
    for name in ("IMG_2041(1)", "IMG_2041", "IMG_2041-2"):
        (tmp_path / f"{name}.png").write_bytes(encoded(scene(4, (96, 96)), "PNG"))
    [finding] = [one for one in report_on(tmp_path).findings if one.check == "exact_copy"]
    assert finding.pictures[-1] == "IMG_2041.png"
    assert finding.fix
    assert {edit.picture for edit in finding.fix.edits} == {"IMG_2041(1).png", "IMG_2041-2.png"}


@pytest.mark.parametrize("first", ["a", "b"])
def test_of_near_copies_the_one_without_loss_is_kept(tmp_path: Path, first: str) -> None:
    """A JPEG's blocks make its edges steeper than those of the picture that it was made of."""
    image, second = scene(4, (256, 256)), "ab".replace(first, "")
    (tmp_path / f"{first}.png").write_bytes(encoded(image, "PNG"))
    (tmp_path / f"{second}.jpg").write_bytes(encoded(image.filter(ImageFilter.SHARPEN), quality=50))
    facts = {path.suffix: measure_picture(path, path.read_bytes()) for path in tmp_path.iterdir()}
    assert (facts[".jpg"].sharpness or 0) > (facts[".png"].sharpness or 1)
    [finding] = [one for one in report_on(tmp_path).findings if one.check == "near_copy"]
    assert finding.fix is not None
    assert finding.fix.edits == (RemovePicture(f"{second}.jpg"),)


def test_examples_are_good_sets() -> None:
    for folder in ("ink", "alien"):
        report = report_on(CHECKOUT / "examples" / folder, kind="style", trigger="zwx")
        complaints = [one.reason for one in report.findings if one.check != "too_small"]  # made for 64 px
        assert complaints == []


@pytest.mark.slow
def test_precision_and_recall_are_what_the_docs_say(tmp_path: Path) -> None:
    promised = figures((CHECKOUT / "docs" / "datasets.md").read_text("utf-8"))
    assert [*promised] == [check.title for check in CHECKS]
    scores, falsely = all_scores(tmp_path)
    for check in CHECKS:
        precision, recall = promised[check.title]
        assert 100 * scores[check.id].precision >= precision - 0.5, (check.id, scores[check.id].false)
        assert 100 * scores[check.id].recall >= recall - 0.5, (check.id, scores[check.id].missed)
    assert falsely <= 0.03


def test_no_fix_gives_a_caption_that_is_longer_than_an_edit_may_have(tmp_path: Path) -> None:
    picture = encoded(scene(2, (96, 96)), "PNG")
    for name, caption in (("a", "a red fox, " + "x" * LONGEST_CAPTION), ("b", "a grey wolf")):
        (tmp_path / f"{name}.png").write_bytes(picture)
        (tmp_path / f"{name}.txt").write_text(caption, "utf-8")
    found = {finding.check: finding.fix for finding in report_on(tmp_path).findings if finding.pictures}
    assert "contradiction" in found
    fixes = [fix for fix in found.values() if fix]
    for edit in (edit for fix in fixes for edit in fix.edits):
        assert edit_of(edit_dict(edit)) == edit


def test_no_fix_cuts_the_end_off_a_caption(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encoded(scene(2, (96, 96)), "PNG"))
    (tmp_path / "a.txt").write_text("a red fox, " + "x " * (LONGEST_CAPTION // 2 - 8) + "end", "utf-8")
    fixes = [one.fix for one in report_on(tmp_path, trigger="zwx").findings if one.check == "no_trigger"]
    assert fixes == [None]
