"""Generated pictures in the gallery: found, listed, deleted, and those that were drawn from."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lora_studio.errors import StoreError
from lora_studio.gallery import Gallery
from lora_studio.images import input_store
from lora_studio.images.image_metadata import Origin, save_image
from lora_studio.request import GenerateRequest, LoraUse
from lora_studio.settings import Settings
from tests.support.library_entries import draw, write_result


def test_a_generated_image_is_listed_with_its_request(gallery: Gallery, settings: Settings) -> None:
    made = draw(settings, "a zwx cat", 7, (LoraUse(slug="my-cat", weight=0.5), LoraUse(slug="ink")))
    record = gallery.add_image(made)
    assert (record.path, record.prompt, record.seed, record.width) == (made.path, "a zwx cat", 7, 64)
    assert record.lora_slugs == ("my-cat", "ink")
    assert GenerateRequest.model_validate(record.request) == made.request
    with Image.open(record.thumbnail) as thumbnail:
        assert thumbnail.size == (64, 64)
    assert gallery.image(record.id) == record
    assert gallery.images() == [record]
    assert gallery.images("INK zwx") == [record]
    assert gallery.images("dog") == []
    with pytest.raises(StoreError, match="is gone"):
        gallery.add_image(made.__class__(**{**vars(made), "path": str(settings.images / "no.png")}))


def test_images_come_newest_first(gallery: Gallery, settings: Settings) -> None:
    made = [draw(settings, f"a cat {seed}", seed) for seed in range(3)]
    for age, image in enumerate(made):
        os.utime(image.path, (time.time() - age * 60,) * 2)
    gallery.scan()
    assert [record.seed for record in gallery.images()] == [0, 1, 2]
    assert [record.seed for record in gallery.images(limit=1, offset=1)] == [1]


def test_scanning_finds_and_forgets_images(
    gallery: Gallery, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    made = draw(settings, "a zwx cat", 7, (LoraUse(slug="ink"),))
    Image.new("RGB", (32, 16), "red").save(settings.images / "foreign.png")
    (settings.images / "text.png").write_text("no picture")
    (settings.images / ".half.png").write_bytes(b"")
    gallery.scan()
    gallery.scan()
    found = {Path(record.path).name: record for record in gallery.images()}
    assert found.keys() == {Path(made.path).name, "foreign.png"}
    assert found[Path(made.path).name].lora_slugs == ("ink",)
    assert found[Path(made.path).name].request["seed"] == 7
    assert (found["foreign.png"].prompt, found["foreign.png"].request) == ("", {})
    assert sum("text.png" in record.getMessage() for record in caplog.records) == 1
    Path(made.path).unlink()
    gallery.scan()
    assert [Path(record.path).name for record in gallery.images()] == ["foreign.png"]


@pytest.mark.parametrize("form", ["jpeg", "webp"])
def test_scanning_finds_images_of_every_format(gallery: Gallery, settings: Settings, form: str) -> None:
    request = GenerateRequest(
        prompt="a cat",
        seed=5,
        width=64,
        height=64,
        sampler="DDIM",
        image_format=form,
        num_inference_steps=2,
        guidance_scale=3.0,
    )
    origin = Origin(request=request, prompt="a cat", model="starter")
    image = save_image(Image.new("RGB", (64, 64), "red"), settings.images, origin)
    gallery.scan()
    (found,) = gallery.images()
    assert (found.path, found.prompt, found.seed) == (image.path, "a cat", 5)
    assert GenerateRequest(**found.request) == request
    assert Path(found.thumbnail).is_file()


def test_deleting_an_image_takes_its_copies_along_and_can_be_undone(
    gallery: Gallery, settings: Settings
) -> None:
    made = Path(draw(settings, "a cat").path)
    shutil.copy2(made, made.with_name("copy.png"))
    gallery.scan()
    (record,) = gallery.images()
    token = gallery.delete_image(record.id)
    gallery.scan()
    assert gallery.images() == []
    assert list(settings.images.rglob("*.png")) == []
    with pytest.raises(StoreError, match="There is no image"):
        gallery.image(record.id)
    gallery.undo(token)
    assert gallery.images() == [record]
    assert sorted(path.name for path in settings.images.rglob("*.png")) == sorted([made.name, "copy.png"])


def test_thumbnails_may_be_deleted_at_any_time(gallery: Gallery, settings: Settings) -> None:
    write_result(settings, "my-cat")
    gallery.add_image(draw(settings))
    shown: list[Any] = [*gallery.images(), gallery.lora("my-cat")]
    shutil.rmtree(settings.cache)
    assert [*gallery.images(), gallery.lora("my-cat")] == shown
    assert all(Path(record.thumbnail).is_file() for record in shown)


def test_an_image_deleted_by_hand_has_no_thumbnail_and_no_error(gallery: Gallery, settings: Settings) -> None:
    made = draw(settings)
    gallery.add_image(made)
    shutil.rmtree(settings.cache)
    Path(made.path).unlink()
    assert [record.thumbnail for record in gallery.images()] == [""]
    token = gallery.delete_image(gallery.images()[0].id)
    assert gallery.images() == []
    gallery.undo(token)


def test_pictures_to_redraw_go_when_nothing_was_made_from_them_for_a_week(
    gallery: Gallery, settings: Settings
) -> None:
    colours = ("red", "green", "blue", "black", "white")
    kept, masked, trashed, fresh, old = (
        input_store.keep(Image.new("RGB", (32, 32), colour), settings.inputs) for colour in colours
    )
    gallery.add_image(draw(settings, seed=1, image=kept, mask_image=masked))
    deleted = gallery.add_image(draw(settings, seed=2, image=trashed))
    gallery.delete_image(deleted.id)
    long_ago = time.time() - 8 * 86_400
    for name in (kept, masked, trashed, old):
        os.utime(settings.inputs / f"{name}.png", (long_ago, long_ago))
    gallery.forget_inputs()
    assert (settings.inputs / f"{old}.png").is_file(), "what is made from it is known after a scan only"
    gallery.scan()
    gallery.forget_inputs()
    assert {path.stem for path in settings.inputs.iterdir()} == {kept, masked, trashed, fresh}


def test_pictures_to_redraw_go_sooner_when_they_take_too_much(
    gallery: Gallery, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    unused, fresh = (
        input_store.keep(Image.new("RGB", (32, 32), colour), settings.inputs) for colour in ("red", "blue")
    )
    two_hours_ago = time.time() - 7200
    os.utime(settings.inputs / f"{unused}.png", (two_hours_ago, two_hours_ago))
    gallery.scan()
    gallery.forget_inputs()
    assert len(list(settings.inputs.iterdir())) == 2
    monkeypatch.setattr(input_store, "MOST_BYTES", 10)
    gallery.forget_inputs()
    assert [path.stem for path in settings.inputs.iterdir()] == [fresh]
