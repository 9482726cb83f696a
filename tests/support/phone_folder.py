"""A folder of photographs as a phone leaves it: turned by EXIF, with the place in them, bursts, copies, films
beside them, and forms that no other program writes."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from PIL import ExifTags, Image

from tests.support.wide_colours import WIDE

CAMERA, PLACE = "Telefon 9000", b"51 30 26.46"
"""Marks of the metadata: what may leave in no file."""
LYING = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}
"""What a photograph is turned by when it is stored, by EXIF's orientation."""
FILM = b"\0\0\0\x14ftypqt  \0\0\0\0qt  " + bytes(64)
ADJUSTMENTS = b'<?xml version="1.0" encoding="UTF-8"?>\n<plist version="1.0"><dict/></plist>\n'


def exif_of(orientation: int = 1) -> Image.Exif:
    """What a phone writes into a photograph: its name, the time, and the place."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    exif[ExifTags.Base.Make] = CAMERA
    exif[ExifTags.Base.DateTime] = "2026:11:30 10:15:00"
    place = exif.get_ifd(ExifTags.IFD.GPSInfo)
    place[ExifTags.GPS.GPSLatitudeRef] = "N"
    place[ExifTags.GPS.GPSLatitude] = (51.0, 30.0, 26.46)
    place[ExifTags.GPS.GPSAreaInformation] = PLACE
    return exif


def photograph(image: Image.Image, orientation: int = 1, kind: str = "JPEG", **options: object) -> bytes:
    """An upright picture as a phone stores it, lying where `orientation` says so."""
    stored = image.transpose(LYING[orientation]) if orientation in LYING else image
    content = io.BytesIO()
    chosen = {"quality": 92, **options}
    stored.save(content, kind, exif=exif_of(orientation), **chosen)  # type: ignore[arg-type]
    return content.getvalue()


def live_photograph(image: Image.Image) -> bytes:
    """Two pictures in one file, as phones put a depth map or a second lens behind the first."""
    content, depth = io.BytesIO(), image.convert("L").resize((64, 48)).convert("RGB")
    depth.encoderinfo = {"exif": exif_of().tobytes()}
    image.save(content, "MPO", save_all=True, append_images=[depth], exif=exif_of().tobytes(), quality=92)
    return content.getvalue()


def write_phone_folder(folder: Path, photographs: Sequence[Image.Image]) -> list[Path]:
    """Write nine photographs and what else lies in such a folder; returns the files that a file chooser
    shows. HEIC is among them where it can be written."""
    taken = list(photographs[:9])
    files = {
        "IMG_2041.JPG": photograph(taken[0], 6),
        "IMG_2042.JPG": photograph(taken[1]),
        "IMG_2042.MOV": FILM,
        "IMG_2042.AAE": ADJUSTMENTS,
        "IMG_2043.JPG": photograph(taken[2], 8),
        "IMG_2044.JPG": photograph(taken[3]),
        "IMG_2045.JPG": photograph(_a_moment_later(taken[3])),
        "IMG_2046.JPG": live_photograph(taken[4]),
        "IMG_2047.JPG": photograph(taken[5], 3),
        "IMG_2048.JPG": photograph(taken[6], icc_profile=WIDE),
        "IMG_2041(1).JPG": photograph(taken[0], 6),
        "Screenshot_20261130-101500.png": _screenshot(taken[7]),
    }
    try:
        files["IMG_2049.HEIC"] = _heic(taken[8])
    except (KeyError, ImportError):  # nothing here writes it
        files["IMG_2049.JPG"] = photograph(taken[8])
    for name, content in files.items():
        (folder / name).write_bytes(content)
    (hidden := folder / ".thumbnails").mkdir()
    (hidden / "1041.jpg").write_bytes(photograph(taken[0].resize((160, 120))))
    return [folder / name for name in files]


def _a_moment_later(image: Image.Image) -> Image.Image:
    """The next picture of a burst: the hand moved a little."""
    wide, high = image.size
    return image.crop((wide // 100, high // 100, wide, high)).resize(image.size)


def _screenshot(image: Image.Image) -> bytes:
    """A picture with bars of one colour above and below, in the shape of a screen."""
    content, screen = io.BytesIO(), Image.new("RGB", (780, 1688), (18, 18, 18))
    screen.paste(image.resize((780, 585)), (0, 550))
    screen.save(content, "PNG")
    return content.getvalue()


def _heic(image: Image.Image) -> bytes:
    import pillow_heif

    pillow_heif.register_heif_opener()
    return photograph(image, kind="HEIF")
