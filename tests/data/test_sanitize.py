from __future__ import annotations

import struct
import zlib

import pytest
from PIL import Image, ImageChops, PngImagePlugin

from lora_studio.data.pixels.decoding import Plain
from lora_studio.data.pixels.sanitize import LEAST_SIDE, MOST_PIXELS, cleaned_picture
from lora_studio.errors import DatasetError
from tests.support.uploaded_sets import file_of

RED, BLUE, WHITE = (200, 30, 20), (20, 40, 220), (255, 255, 255)


def clean_picture(file: str, content: bytes) -> Plain:
    with cleaned_picture(file, content) as clean:
        return clean


def picture(size: tuple[int, int] = (64, 48)) -> Image.Image:
    """Left half red, right half blue, the upper left corner white."""
    image = Image.new("RGB", size, RED)
    image.paste(BLUE, (size[0] // 2, 0, *size))
    image.paste(WHITE, (0, 0, 8, 8))
    return image


def png_header_of(width: int, height: int) -> bytes:
    """A whole PNG of a few bytes that claims any size: its pixels are cut off."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("kind", ["PNG", "BMP", "WEBP", "TIFF"])
def test_pixels_are_kept_exactly(kind: str) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    clean = clean_picture("a", file_of(picture(), kind, **options))
    assert ImageChops.difference(clean.image, picture()).getbbox() is None
    assert (clean.image.mode, clean.was_transparent, clean.was_animated) == ("RGB", False, False)


def test_a_jpeg_is_turned_upright_and_stripped() -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Camera"  # shown after a quarter turn to the right
    clean = clean_picture("a.jpg", file_of(picture(), "JPEG", exif=exif, quality=95))
    assert clean.image.size == (48, 64)
    corner, lower = clean.image.getpixel((44, 3)), clean.image.getpixel((24, 60))
    assert isinstance(corner, tuple)
    assert isinstance(lower, tuple)
    assert min(corner) > 220
    assert lower[2] > 180 > lower[0]
    assert clean.image.info == {}
    assert b"Camera" not in file_of(clean.image)


def test_what_is_hidden_in_and_behind_a_picture_is_gone() -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("secret", "hidden words")
    content = file_of(picture(), pnginfo=info) + b"<script>hidden words</script>"
    assert b"hidden words" not in file_of(clean_picture("a.png", content).image)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_parts_become_white(mode: str) -> None:
    image = picture().convert("RGBA")
    image.paste((0, 0, 0, 0), (0, 40, 64, 48))
    clean = clean_picture("a.png", file_of(image.convert(mode) if mode != "P" else image.quantize(8)))
    assert clean.was_transparent
    assert clean.image.getpixel((30, 45)) == WHITE
    assert clean.image.getpixel((50, 20)) != WHITE


def test_an_alpha_channel_that_hides_nothing_is_no_transparency() -> None:
    clean = clean_picture("a.png", file_of(picture().convert("RGBA")))
    assert not clean.was_transparent
    assert ImageChops.difference(clean.image, picture()).getbbox() is None


@pytest.mark.parametrize("mode", ["L", "1", "CMYK", "I;16"])
def test_other_kinds_of_pixels_become_rgb(mode: str) -> None:
    source = (
        Image.new("I;16", (64, 48), 32896) if mode == "I;16" else Image.new("L", (64, 48), 255).convert(mode)
    )
    clean = clean_picture("a", file_of(source, "JPEG" if mode == "CMYK" else "PNG"))
    grey = 128 if mode == "I;16" else 255
    assert clean.image.getpixel((10, 10)) == (grey, grey, grey)


def test_of_an_animation_the_first_picture_is_taken() -> None:
    content = file_of(picture(), "WEBP", lossless=True, save_all=True, append_images=[picture().rotate(180)])
    clean = clean_picture("a.webp", content)
    assert clean.was_animated
    assert ImageChops.difference(clean.image, picture()).getbbox() is None


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "notes.png is empty."),
        (b"just some text", "notes.png is not a picture."),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "notes.png is not a picture."),
        (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(64), "notes.png is a JPEG XL picture."),
        (b"\xff\x0a" + bytes(64), "notes.png is a JPEG XL picture."),
        (b"\0\0\0\x18ftypisom" + bytes(64), "notes.png is a film."),
        (b"%PDF-1.7 ...", "notes.png is a PDF."),
        (b"PK\x03\x04...", "notes.png is a ZIP archive inside another one."),
    ],
)
def test_what_is_no_picture_is_named(content: bytes, said: str) -> None:
    with pytest.raises(DatasetError) as caught:
        clean_picture("notes.png", content)
    assert caught.value.message == said


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP"])
def test_a_picture_that_is_cut_off_is_named(kind: str) -> None:
    content = file_of(Image.effect_noise((200, 200), 50).convert("RGB"), kind)
    with pytest.raises(DatasetError, match="is damaged or cut off"):
        clean_picture("a.jpg", content[: len(content) * 2 // 3])


@pytest.mark.parametrize(
    ("width", "height"), [(8000, 5001), (10_000, 10_000), (20_000, 20_000), (2**31 - 1, 2**31 - 1)]
)
def test_a_picture_with_too_many_pixels_is_refused_before_it_is_decoded(width: int, height: int) -> None:
    content = png_header_of(width, height)
    assert len(content) < 100
    with pytest.raises(DatasetError, match=r"too large.* at most 40 megapixels"):
        clean_picture("a.png", content)


@pytest.mark.filterwarnings("ignore")
def test_the_size_is_refused_as_well_where_warnings_are_none() -> None:
    """Outside of tests Pillow only warns about 100 megapixels."""
    with pytest.raises(DatasetError, match="too large, 10000 × 10000: at most 40 megapixels"):
        clean_picture("a.png", png_header_of(10_000, 10_000))


def test_the_largest_allowed_size_is_tried() -> None:
    with pytest.raises(DatasetError, match="damaged"):  # that is: it came to decoding
        clean_picture("a.png", png_header_of(MOST_PIXELS // 5000, 5000))


def test_a_tiny_picture_is_refused() -> None:
    with pytest.raises(DatasetError, match=r"a\.png is too small, 31 × 64"):
        clean_picture("a.png", file_of(picture((LEAST_SIDE - 1, 64))))
    assert clean_picture("a.png", file_of(picture((LEAST_SIDE, 64)))).image.size == (32, 64)
