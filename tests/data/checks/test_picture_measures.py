"""Measurements of single pictures: each says what it is meant to, and nothing of what looks like it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image, ImageDraw, ImageFilter

from lora_studio.data.checks.perceptual_hash import as_numbers, distances
from lora_studio.data.checks.picture_facts import FactsCache, PictureFacts
from lora_studio.data.checks.picture_measures import measure_picture, measure_pictures
from lora_studio.errors import DatasetError
from lora_studio.events import Event, PhaseAdvanced
from tests.support.drawn_scenes import KINDS, scene
from tests.support.serving import CHECKOUT
from tests.support.spoiled_pictures import encoded


def facts_of(image: Image.Image, kind: str = "PNG", **options: object) -> PictureFacts:
    return measure_picture(Path(f"a.{kind.lower()}"), encoded(image, kind, **options))


@pytest.mark.parametrize("kind", range(len(KINDS)), ids=[*KINDS])
def test_blur_lowers_the_sharpness_of_every_kind_of_picture(kind: int) -> None:
    image = scene(kind + 40, (512, 512))
    sharp = facts_of(image).sharpness
    soft = facts_of(image.filter(ImageFilter.GaussianBlur(3))).sharpness
    assert sharp is not None
    assert sharp > 0.6
    assert soft is None or soft < 0.3  # what had little contrast has no edges left


def test_a_picture_without_edges_is_not_judged() -> None:
    assert facts_of(Image.new("RGB", (300, 300), "teal")).sharpness is None
    assert facts_of(Image.linear_gradient("L").resize((700, 700)).convert("RGB")).sharpness is None


@pytest.mark.parametrize("sides", [(0, 40), (60, 0), (30, 30)])
@pytest.mark.parametrize("colour", ["black", "white", "#2050a0"])
def test_borders_are_measured_to_the_pixel(sides: tuple[int, int], colour: str) -> None:
    framed = Image.new("RGB", (400 + 2 * sides[0], 300 + 2 * sides[1]), colour)
    framed.paste(scene(0, (400, 300)), sides)
    facts = facts_of(framed)
    assert facts.inner == (*sides, sides[0] + 400, sides[1] + 300)
    assert facts.border


def test_paper_and_sky_are_no_borders() -> None:
    paper = Image.new("RGB", (400, 400), "white")
    ImageDraw.Draw(paper).ellipse((120, 120, 280, 280), fill="red")
    sky = Image.new("RGB", (400, 400), "#80a0ff")
    sky.paste(scene(0, (400, 250)), (0, 150))
    assert facts_of(paper).border == facts_of(sky).border == ""


def test_a_thing_on_a_plain_ground_has_no_border() -> None:
    """Frogs, books and presents: half of a row differs from the ground, at both sides, at a straight edge."""
    folders = (CHECKOUT / "models" / name / "regularisation" for name in ("starter", "starter-flow"))
    paths = [path for folder in folders for path in folder.rglob("*.png")]
    assert len(paths) == 60
    assert [path for path in paths if measure_picture(path, path.read_bytes()).border] == []


def test_a_large_jpeg_is_measured_small_and_told_in_its_own_size() -> None:
    framed = Image.new("RGB", (2600, 2000), "black")
    framed.paste(scene(0, (2600, 1600)), (0, 200))
    facts = facts_of(framed, "JPEG")
    assert facts.size == (2600, 2000)
    assert abs(facts.inner[1] - 200) <= 4
    assert abs(facts.inner[3] - 1800) <= 4


def test_the_size_is_that_of_the_upright_picture() -> None:
    exif = Image.Exif()
    exif[0x112] = 6
    facts = facts_of(scene(0, (320, 200)), "JPEG", exif=exif)
    assert facts.size == (200, 320)
    assert facts.orientation == 6


def test_hashes_of_copies_are_near_and_others_far() -> None:
    first, other = scene(0, (512, 512)), scene(1, (512, 512))
    copy = first.resize((300, 300)).point(lambda level: min(255, int(level * 1.1)))
    hashes = as_numbers([facts_of(image).hash for image in (first, copy, other)])
    near, far = distances(hashes[1:], hashes[0])
    assert near <= 6
    assert far >= 18


def test_what_is_kept_is_used_again_and_a_changed_file_is_measured_anew(tmp_path: Path) -> None:
    path, cache = tmp_path / "a.png", FactsCache(tmp_path / "kept")
    for version in ("v1", "other"):
        (tmp_path / "kept" / version).mkdir(parents=True)
        (tmp_path / "kept" / version / "x.json").write_text("{}")
    cache.tidy()
    assert [folder.name for folder in (tmp_path / "kept").iterdir()] == ["other"]
    path.write_bytes(encoded(scene(2, (128, 128)), "PNG"))
    [first] = measure_pictures([path], cache)
    assert isinstance(first, PictureFacts)
    kept = next((tmp_path / "kept").rglob("*.json"))
    data = json.loads(kept.read_text())
    kept.write_text(json.dumps({**data, "transparent": 0.5}))
    [again] = measure_pictures([path], cache)
    assert isinstance(again, PictureFacts)
    assert again.transparent == 0.5
    for damage in ("{", "[]", json.dumps({**data, "more": 1}), "[" * 100_000):
        kept.write_text(damage)
        assert measure_pictures([path], cache) == [first]
    path.write_bytes(encoded(scene(3, (96, 96)), "PNG"))
    [changed] = measure_pictures([path], cache)
    assert isinstance(changed, PictureFacts)
    assert changed.size == (96, 96)


def test_what_cannot_be_read_is_said_and_the_others_are_measured(tmp_path: Path) -> None:
    good, bad, gone = (tmp_path / name for name in ("a.png", "b.png", "c.png"))
    good.write_bytes(encoded(scene(2, (64, 64)), "PNG"))
    bad.write_bytes(encoded(scene(2, (64, 64)), "PNG")[:300])
    events: list[Event] = []
    found = measure_pictures([good, bad, gone], FactsCache(None), events.append)
    assert [isinstance(one, PictureFacts) for one in found] == [True, False, False]
    assert "b.png is damaged" in str(found[1])
    assert events[-1] == PhaseAdvanced(phase="measuring", done=3, total=3)


def test_stopping_ends_it(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encoded(scene(2, (64, 64)), "PNG"))
    with pytest.raises(DatasetError, match="stopped"):
        measure_pictures([path] * 50, FactsCache(None), should_stop=lambda: True)


def test_a_cache_that_cannot_be_written_ends_no_check(tmp_path: Path) -> None:
    path, taken = tmp_path / "a.png", tmp_path / "kept"
    path.write_bytes(encoded(scene(2, (64, 64)), "PNG"))
    taken.write_text("a file in the folder's place")
    assert isinstance(measure_pictures([path], FactsCache(taken))[0], PictureFacts)
    assert taken.read_text() == "a file in the folder's place"
