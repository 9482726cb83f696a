"""Metadata taken out of pictures: what a phone wrote into them leaves in no export, and no pixel changes."""

from __future__ import annotations

import io
import zlib
from pathlib import Path

import pytest
from PIL import Image, ImageChops, PngImagePlugin

from lora_studio.config_groups import DatasetGroup
from lora_studio.data.pixels.picture_metadata import without_metadata
from lora_studio.data.training_set.dataset_export import planned_export
from lora_studio.data.training_set.write_export import write_export
from lora_studio.settings import Settings
from tests.support.phone_folder import CAMERA, PLACE, exif_of, live_photograph, photograph, write_phone_folder

MARKS = (CAMERA.encode(), PLACE, b"2026:11:30", b"said aloud")
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/">said aloud</x:xmpmeta>'
SRGB = b"a profile that is kept" * 8


def drawn() -> Image.Image:
    image = Image.linear_gradient("L").resize((64, 48))
    return Image.merge("RGB", (image, image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), image))


def png() -> bytes:
    texts, content = PngImagePlugin.PngInfo(), io.BytesIO()
    texts.add_text("Comment", "said aloud")
    texts.add_itxt("XML:com.adobe.xmp", XMP.decode(), zip=False)
    drawn().save(content, "PNG", pnginfo=texts, exif=exif_of(), icc_profile=SRGB)
    return content.getvalue()


GIVEN = {
    "jpeg": lambda: photograph(drawn(), comment="said aloud", xmp=XMP, icc_profile=SRGB),
    "progressive": lambda: photograph(drawn(), progressive=True, icc_profile=SRGB),
    "several pictures": lambda: live_photograph(drawn()),
    "png": png,
    "webp": lambda: photograph(drawn(), kind="WEBP", xmp=XMP, lossless=True, icc_profile=SRGB),
}


@pytest.mark.parametrize("kind", GIVEN)
def test_no_mark_is_left_and_the_pixels_are_the_same(kind: str) -> None:
    given = GIVEN[kind]()
    assert any(mark in given for mark in MARKS)
    bare = without_metadata(given)
    assert not any(mark in bare for mark in MARKS)
    with Image.open(io.BytesIO(given)) as before, Image.open(io.BytesIO(bare)) as after:
        assert after.info.get("icc_profile") == before.info.get("icc_profile")
        assert getattr(after, "n_frames", 1) == 1
        assert not after.getexif()
        assert ImageChops.difference(before.convert("RGB"), after.convert("RGB")).getbbox() is None
    assert without_metadata(bare) == bare


def chunk_of(kind: bytes, payload: bytes) -> bytes:
    return len(payload).to_bytes(4, "big") + kind + payload + zlib.crc32(kind + payload).to_bytes(4, "big")


def test_chunks_that_nobody_knows_go() -> None:
    """C2PA's, whole sources of drawing programs, further frames: all but the pixels of the first picture."""
    given = png()
    for kind in (b"caBX", b"prVW", b"zxIf"):
        given = given[:-12] + chunk_of(kind, b"said aloud") + given[-12:]
    frames = io.BytesIO()
    drawn().save(frames, "PNG", save_all=True, append_images=[drawn().rotate(90)])
    webp = photograph(drawn(), kind="WEBP", lossless=True, icc_profile=SRGB)
    webp += b"C2PA" + (10).to_bytes(4, "little") + b"said aloud"
    webp = webp[:4] + (len(webp) - 8).to_bytes(4, "little") + webp[8:]
    for content in (given, frames.getvalue(), webp):
        bare = without_metadata(content)
        assert b"said aloud" not in bare
        with Image.open(io.BytesIO(bare)) as after:
            assert getattr(after, "n_frames", 1) == 1
            assert ImageChops.difference(drawn(), after.convert("RGB")).getbbox() is None


def test_heads_of_a_jpeg_lose_their_thumbnails() -> None:
    content = io.BytesIO()
    drawn().save(content, "JPEG")
    plain = content.getvalue()
    end = 4 + int.from_bytes(plain[4:6], "big")
    assert plain[6:11] == b"JFIF\0"
    thumbnail = plain[6:18] + bytes([2, 3]) + b"said aloud, again!"
    given = plain[:4] + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail + plain[end:]
    assert without_metadata(given) == without_metadata(plain)
    for marker in (b"\xff\xf3", b"\xff\x02"):
        assert without_metadata(plain[:end] + marker + b"\0\x0csaid aloud" + plain[end:]) == plain


def test_any_end_of_a_file_is_taken_as_far_as_it_goes() -> None:
    for given in (photograph(drawn()), png(), photograph(drawn(), kind="WEBP")):
        for end in range(0, len(given), 7):
            assert len(without_metadata(given[:end])) <= end + 12


def test_another_kind_of_file_stays_as_it_is() -> None:
    for content in (b"", b"\xff", b"RIFF", b"GIF89a said aloud", b"\x89PNG"):
        assert without_metadata(content) == content


@pytest.mark.parametrize("target", ["out", "out.zip"])
def test_the_place_of_a_photograph_leaves_in_no_export(
    tmp_path: Path, settings: Settings, target: str
) -> None:
    (folder := tmp_path / "1_garden").mkdir()
    write_phone_folder(folder, [drawn().rotate(20 * number) for number in range(9)])
    export = planned_export(DatasetGroup(train_data_dir=str(tmp_path)))
    out = write_export(export, tmp_path.parent / f"{tmp_path.name}-{target}")
    files = [out] if out.is_file() else [path for path in out.rglob("*") if path.is_file()]
    assert export.pictures >= 10
    for content in (path.read_bytes() for path in files):
        assert not any(mark in content for mark in MARKS)
