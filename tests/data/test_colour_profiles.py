from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy
import pytest
from PIL import Image, ImageChops, ImageCms

from lora_studio.data.ingestion.ingest import ingest
from lora_studio.data.pixels.colour_profiles import ADOBE_GAMMA, ADOBE_PRIMARIES, matrix_profile
from lora_studio.data.pixels.decoding import Plain
from lora_studio.data.pixels.picture_pixels import look_at, mask_of, open_picture
from lora_studio.data.pixels.sanitize import cleaned_picture
from lora_studio.images.input_store import picture as kept
from lora_studio.images.input_store import take_in
from tests.support.uploaded_sets import file_of
from tests.support.wide_colours import P3_PRIMARIES, WIDE

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
ADOBE = matrix_profile(ADOBE_PRIMARIES, ADOBE_GAMMA)


def swapped() -> bytes:
    """sRGB's profile with what red and blue mean exchanged."""
    raw = bytearray(SRGB)
    red, blue = raw.index(b"rXYZ"), raw.index(b"bXYZ")
    raw[red : red + 4], raw[blue : blue + 4] = b"bXYZ", b"rXYZ"
    return bytes(raw)


def clean(content: bytes) -> Plain:
    with cleaned_picture("a", content) as found:
        return found


def noise(size: tuple[int, int] = (70, 600)) -> Image.Image:
    return Image.fromarray(numpy.random.default_rng(3).integers(0, 256, (size[1], size[0], 3), numpy.uint8))


def in_srgb(colour: tuple[int, int, int], primaries: Any, gamma: float) -> list[float]:
    """What CSS Color 4 says: by linear light and XYZ under D50 to sRGB, cut off at its borders."""
    to_xyz = numpy.array(primaries).T
    srgb = numpy.array(
        [[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]]
    )
    linear = numpy.linalg.inv(srgb) @ to_xyz @ (numpy.array(colour) / 255) ** gamma
    linear = linear.clip(0, 1)
    encoded = numpy.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    return [float(value) for value in encoded * 255]


def test_red_that_means_blue_becomes_blue_everywhere(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(file_of(Image.new("RGB", (128, 128), "red"), icc_profile=swapped()))
    (tmp_path / "set").mkdir()
    made = ingest([path], tmp_path / "set")
    stored = Image.open(tmp_path / "set" / "a.png")
    for image in (open_picture(path), stored, kept(take_in(path, tmp_path / "in"), tmp_path / "in")):
        red, green, blue = image.convert("RGB").getpixel((64, 64))
        assert (red, green) < (4, 4)
        assert blue > 251
        assert "icc_profile" not in image.info
    assert [said for said in made.warnings if "1 picture (a.png) with a colour profile" in said]


@pytest.mark.parametrize("colour", [(100, 150, 100), (200, 40, 30), (128, 128, 128), (20, 60, 200)])
@pytest.mark.parametrize(
    ("profile", "primaries", "gamma"), [(ADOBE, ADOBE_PRIMARIES, ADOBE_GAMMA), (WIDE, P3_PRIMARIES, 2.2)]
)
def test_wide_colours_become_those_of_srgb(
    colour: tuple[int, int, int], profile: bytes, primaries: Any, gamma: float
) -> None:
    plain = clean(file_of(Image.new("RGB", (40, 40), colour), icc_profile=profile))
    assert plain.image.getpixel((3, 3)) == pytest.approx(in_srgb(colour, primaries, gamma), abs=1.5)
    assert plain.colours == "converted"


def test_transparent_parts_are_white_and_half_of_a_colour_is_half_converted() -> None:
    image = Image.new("RGBA", (40, 40), (100, 150, 100, 255))
    image.paste((100, 150, 100, 0), (0, 0, 40, 10))
    image.paste((100, 150, 100, 128), (0, 10, 40, 20))
    plain = clean(file_of(image, icc_profile=ADOBE))
    solid = in_srgb((100, 150, 100), ADOBE_PRIMARIES, ADOBE_GAMMA)
    assert plain.was_transparent
    assert plain.image.getpixel((5, 5)) == (255, 255, 255)
    assert plain.image.getpixel((5, 30)) == pytest.approx(solid, abs=1.5)
    half = [(value * 128 + 255 * 127) / 255 for value in solid]
    assert plain.image.getpixel((5, 15)) == pytest.approx(half, abs=2)


def test_a_camera_that_says_adobe_rgb_in_exif_only_is_believed(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA005] = {1: "R03"}
    content = file_of(Image.new("RGB", (64, 64), (100, 150, 100)), "JPEG", exif=exif, quality=100)
    wanted = in_srgb((100, 150, 100), ADOBE_PRIMARIES, ADOBE_GAMMA)
    assert clean(content).image.getpixel((3, 3)) == pytest.approx(wanted, abs=3)


def test_grey_pictures_may_have_grey_profiles_and_those_for_rgb() -> None:
    # PhotoCMM's smallest grey profile: its curve is gamma 1, so the middle becomes much lighter.
    raw = matrix_profile(ADOBE_PRIMARIES, 1.0)
    grey = raw[:16] + b"GRAY" + raw[20:]
    grey = grey.replace(b"rTRC", b"kTRC")
    plain = clean(file_of(Image.new("L", (40, 40), 128), icc_profile=grey))
    assert plain.colours == "converted"
    assert plain.image.getpixel((3, 3)) == (188, 188, 188)  # sRGB's number for half of the light
    deep = clean(file_of(Image.new("I;16", (40, 40), 0x8000), icc_profile=grey))
    assert deep.image.getpixel((3, 3)) == (188, 188, 188)
    assert clean(file_of(Image.new("L", (40, 40), 77), icc_profile=SRGB)).image.getpixel((3, 3)) == (77,) * 3
    wide = clean(file_of(Image.new("L", (40, 40), 77), icc_profile=WIDE))
    assert wide.image.getpixel((3, 3)) == pytest.approx(in_srgb((77, 77, 77), P3_PRIMARIES, 2.2), abs=1)


def printing(perceptual: tuple[int, int, int], colorimetric: tuple[int, int, int]) -> bytes:
    """A profile of a press whose four inks are white wherever they stand, but cyan alone has these colours
    (L 0..255, a and b from 128), by rendering intent. Layout: ICC.1:2001-04, 6.5.9 (lut8Type)."""

    def table(cyan: tuple[int, int, int]) -> bytes:
        corners = [cyan if corner == 0b1000 else (255, 128, 128) for corner in range(16)]
        unit = struct.pack(">9i", *(65536 * (place % 4 == 0) for place in range(9)))
        curve = bytes(range(256))
        cube = bytes(value for corner in corners for value in corner)
        return b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + unit + 4 * curve + cube + 3 * curve

    def tag(head: bytes) -> bytes:
        start, size = struct.unpack_from(">II", SRGB, SRGB.index(head, 128) + 4)
        return SRGB[start : start + size]

    tags = {head: tag(head) for head in (b"desc", b"cprt", b"wtpt")}
    tags |= {b"A2B0": table(perceptual), b"A2B1": table(colorimetric)}
    at, listed, body = 128 + 4 + 12 * len(tags), struct.pack(">I", len(tags)), b""
    for name, content in tags.items():
        listed += name + struct.pack(">II", at + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    head = struct.pack(">I4s4s4s4s4s", at + len(body), bytes(4), b"\2\x40\0\0", b"prtr", b"CMYK", b"Lab ")
    return head + SRGB[24:128] + listed + body


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_what_is_meant_for_print_has_the_colours_of_its_inks(kind: str) -> None:
    """Perceptual: with cyan alone (L 58.8, a 72, b 52), nothing that could be guessed without the profile."""
    profile = printing((150, 200, 180), (60, 128, 128))
    content = file_of(Image.new("CMYK", (40, 40), (255, 0, 0, 0)), kind, icc_profile=profile)
    plain = clean(content)
    assert plain.colours == "converted"
    assert plain.image.getpixel((9, 9)) == pytest.approx(lab_in_srgb(150 / 2.55, 72, 52), abs=3)
    paper = file_of(Image.new("CMYK", (40, 40)), kind, icc_profile=profile)
    assert clean(paper).image.getpixel((9, 9)) == pytest.approx((255, 255, 255), abs=2)


def lab_in_srgb(lightness: float, a: float, b: float) -> list[float]:
    """CIE Lab under D50, by XYZ."""
    fy = (lightness + 16) / 116
    cubes = (fy + a / 500, fy, fy - b / 200)
    linear = [f**3 if f > 6 / 29 else 3 * (6 / 29) ** 2 * (f - 4 / 29) for f in cubes]
    xyz = [white * part for white, part in zip((0.9642, 1, 0.82491), linear, strict=True)]
    return in_srgb((255, 0, 0), [xyz, [0, 0, 0], [0, 0, 0]], 1.0)


def broken() -> list[bytes]:
    cmyk = SRGB[:16] + b"CMYK" + SRGB[20:]
    link = SRGB[:12] + b"link" + SRGB[16:]
    return [b"x", b"x" * 200, SRGB[:300], SRGB[:128] + b"\xff" * 400, cmyk, link]


@pytest.mark.parametrize("number", range(6))
def test_a_profile_that_cannot_be_read_is_said_and_changes_nothing(number: int) -> None:
    plain = clean(file_of(noise(), icc_profile=broken()[number]))
    assert ImageChops.difference(plain.image, noise()).getbbox() is None
    assert plain.colours == "unreadable"


def test_a_profile_of_srgb_changes_nothing_and_is_not_mentioned() -> None:
    plain = clean(file_of(noise(), icc_profile=SRGB))
    assert plain.image.tobytes() == noise().tobytes()
    assert plain.colours == "srgb"


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "1", "P", "CMYK", "I;16"])
def test_pictures_without_a_profile_are_what_they_were(tmp_path: Path, mode: str) -> None:
    """To the bit as Pillow makes them, strips or not."""
    image = noise()
    if mode == "I;16":
        image = Image.fromarray(numpy.random.default_rng(1).integers(0, 65536, (600, 70), numpy.uint16))
    elif mode in {"RGBA", "LA"}:
        image.putalpha(noise().getchannel("G").rotate(180))
    kind = "TIFF" if mode == "CMYK" else "PNG"
    path = tmp_path / "a.img"
    path.write_bytes(file_of(image if image.mode == mode else image.convert(mode), kind))
    with Image.open(path) as found:
        found.load()
        if mode == "I;16":
            expected = found.point(lambda value: value / 256).convert("L").convert("RGB")
        elif mode in {"RGBA", "LA"}:
            white = Image.new("RGBA", found.size, "white")
            expected = Image.alpha_composite(white, found.convert("RGBA")).convert("RGB")
        else:
            expected = found.convert("RGB")
    assert open_picture(path).tobytes() == expected.tobytes() == clean(path.read_bytes()).image.tobytes()


def test_a_converted_picture_is_marked_and_no_other_one(tmp_path: Path) -> None:
    for name, profile in {"none": None, "srgb": SRGB, "broken": b"x", "wide": WIDE}.items():
        options = {"icc_profile": profile} if profile else {}
        (tmp_path / f"{name}.png").write_bytes(file_of(noise(), **options))
    marks = {path.stem: look_at(path).mark for path in tmp_path.iterdir()}
    assert marks["wide"].startswith("srgb")
    assert (marks["none"], marks["srgb"], marks["broken"]) == ("", "", "")


def test_masks_are_numbers_and_no_colours(tmp_path: Path) -> None:
    path, picture = tmp_path / "mask.png", tmp_path / "a.png"
    path.write_bytes(file_of(Image.new("RGB", (64, 64), (120, 120, 120)), icc_profile=swapped()))
    picture.write_bytes(file_of(noise()))
    mask = mask_of(picture, path)
    assert mask is not None
    assert mask.getextrema() == (120, 120)
    path.write_bytes(file_of(Image.new("RGB", (64, 64), (200, 0, 0)), icc_profile=swapped()))
    digest = take_in(path, tmp_path / "in", mask=True)
    assert kept(digest, tmp_path / "in").getextrema() == (0, 0)  # a dark grey, as L has it
