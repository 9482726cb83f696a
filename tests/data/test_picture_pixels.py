from __future__ import annotations

from pathlib import Path

import numpy
import pytest
import torch
from PIL import Image

from lora_studio.data.buckets import Placement
from lora_studio.data.pixels.picture_pixels import fit, open_picture, to_mask, to_pixels, upright_size
from lora_studio.errors import DatasetError


def place(bucket: tuple[int, int], resized: tuple[int, int]) -> Placement:
    return Placement(bucket=bucket, resized=resized, aspect_error=0)


def test_exif_turns_the_picture(tmp_path: Path) -> None:
    picture = Image.new("RGB", (40, 20), "blue")
    picture.paste("red", (0, 0, 20, 20))
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn clockwise
    picture.save(tmp_path / "a.png", exif=exif)
    turned = open_picture(tmp_path / "a.png")
    assert turned.size == (20, 40)
    assert turned.getpixel((10, 5)) == (255, 0, 0)
    assert turned.getpixel((10, 35)) == (0, 0, 255)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_becomes_white(tmp_path: Path, mode: str) -> None:
    picture = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    picture.putpixel((0, 0), (0, 0, 0, 255))
    picture.convert(mode).save(tmp_path / "a.png")
    opened = open_picture(tmp_path / "a.png")
    assert opened.mode == "RGB"
    assert opened.getpixel((3, 3)) == (255, 255, 255)
    assert opened.getpixel((0, 0)) == (0, 0, 0)


@pytest.mark.parametrize("mode", ["L", "1", "CMYK", "P"])
def test_other_modes_become_rgb(tmp_path: Path, mode: str) -> None:
    Image.new("RGB", (4, 4), "white").convert(mode).save(tmp_path / "a.tif")
    assert open_picture(tmp_path / "a.tif").getpixel((1, 1)) == (255, 255, 255)


def test_sixteen_bits_are_scaled_not_cut_off(tmp_path: Path) -> None:
    Image.fromarray(numpy.full((4, 4), 0x8000, dtype=numpy.uint16)).save(tmp_path / "a.png")
    assert open_picture(tmp_path / "a.png").getpixel((1, 1)) == (128, 128, 128)


@pytest.mark.parametrize("content", [b"", b"just text", b"\x89PNG\r\n\x1a\n", b"GIF89a"])
def test_files_that_are_no_pictures_are_told_by_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "fake.png").write_bytes(content)
    with pytest.raises(DatasetError, match=r"fake\.png is (not a picture|damaged)"):
        open_picture(tmp_path / "fake.png")


def test_a_truncated_picture_is_told(tmp_path: Path) -> None:
    noise = numpy.random.default_rng(0).integers(0, 255, (200, 200, 3), dtype=numpy.uint8)
    Image.fromarray(noise).save(tmp_path / "a.jpg")
    content = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(content[: len(content) // 2])
    with pytest.raises(DatasetError, match=r"a\.jpg is damaged"):
        open_picture(tmp_path / "a.jpg")


def test_a_picture_bomb_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("1", (200, 200)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(DatasetError, match=r"a\.png is too large"):
        open_picture(tmp_path / "a.png")


def test_shrinking_averages_and_cuts_the_middle() -> None:
    columns = numpy.repeat(numpy.arange(12, dtype=numpy.uint8)[None] * 20, 4, axis=0)
    picture = Image.fromarray(numpy.stack([columns] * 3, axis=2))
    found = numpy.asarray(fit(picture, place((2, 2), (6, 2))))
    # Scaled by a half, columns average in pairs: 10, 50, 90, 130 ... The middle two of six remain.
    assert found[0, :, 0].tolist() == [90, 130]


def test_enlarging_is_smooth_and_of_the_right_size() -> None:
    picture = Image.new("RGB", (10, 10), (7, 8, 9))
    found = fit(picture, place((32, 40), (40, 40)))
    assert found.size == (32, 40)
    assert found.getpixel((16, 20)) == (7, 8, 9)


def test_pixels_run_from_minus_one_to_one_and_mirror() -> None:
    picture = Image.new("RGB", (3, 2), "black")
    picture.putpixel((0, 0), (255, 255, 255))
    pixels = to_pixels(picture)
    assert pixels.shape == (3, 2, 3)
    assert (pixels.min(), pixels.max()) == (-1, 1)
    assert pixels[0, 0, 0] == 1
    assert torch.equal(to_pixels(picture, mirrored=True), pixels.flip(2))


@pytest.mark.parametrize(
    ("orientation", "ending"), [(1, "png"), (6, "jpg"), (8, "png"), (3, "webp"), (5, "tif")]
)
def test_the_size_is_known_without_decoding(tmp_path: Path, orientation: int, ending: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", (40, 20)).save(tmp_path / f"a.{ending}", exif=exif)
    assert upright_size(tmp_path / f"a.{ending}") == open_picture(tmp_path / f"a.{ending}").size


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "CMYK"])
def test_a_tiff_is_turned_whatever_its_channels(tmp_path: Path, mode: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = Image.linear_gradient("L").resize((40, 20)).rotate(90).convert(mode)
    picture.save(tmp_path / "a.tif", exif=exif)
    turned = open_picture(tmp_path / "a.tif")
    assert upright_size(tmp_path / "a.tif") == turned.size == (20, 40)
    picture.transpose(Image.Transpose.ROTATE_270).save(tmp_path / "b.tif")
    assert turned.tobytes() == open_picture(tmp_path / "b.tif").tobytes()


def test_the_size_of_what_is_no_picture_is_told(tmp_path: Path) -> None:
    (tmp_path / "fake.png").write_text("text")
    with pytest.raises(DatasetError, match=r"fake\.png is not a picture"):
        upright_size(tmp_path / "fake.png")


@pytest.mark.parametrize("word", ["lanczos", "nearest", "bilinear", "linear", "bicubic", "cubic", "area"])
@pytest.mark.parametrize("size", [(64, 64), (8, 8)])
def test_every_interpolation_scales(word: str, size: tuple[int, int]) -> None:
    noise = numpy.random.default_rng(1).integers(0, 255, (*size, 3), dtype=numpy.uint8)
    assert fit(Image.fromarray(noise), place((16, 16), (16, 16)), word).size == (16, 16)


def test_interpolations_differ_and_the_default_is_by_area_when_shrinking() -> None:
    noise = Image.fromarray(numpy.random.default_rng(1).integers(0, 255, (64, 64, 3), dtype=numpy.uint8))
    found = {
        word: fit(noise, place((16, 16), (16, 16)), word).tobytes() for word in ("area", "nearest", "cubic")
    }
    assert len(set(found.values())) == 3
    assert fit(noise, place((16, 16), (16, 16))).tobytes() == found["area"]


def test_a_mask_is_the_mean_of_each_place() -> None:
    grey = Image.new("L", (16, 8))
    grey.paste(255, (0, 0, 4, 8))
    assert to_mask(grey, 8).tolist() == [[[0.5, 0.0]]]
    assert to_mask(grey, 8, mirrored=True).tolist() == [[[0.0, 0.5]]]
