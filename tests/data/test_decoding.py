from __future__ import annotations

import struct
import subprocess
import sys
import threading
import zlib
from pathlib import Path

import pytest
from PIL import Image, PngImagePlugin

from lora_studio.data.pixels import decoding, sanitize
from lora_studio.data.pixels.decoding import MOST_PIXELS, decode, opened, turn
from lora_studio.data.pixels.picture_pixels import open_picture, upright_size
from lora_studio.errors import DatasetError
from tests.support.uploaded_sets import file_of
from tests.support.waiting import PATIENCE

LARGE = (3000, 2000)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def deep_png(width: int, height: int) -> bytes:
    """Whole, of 16 bit a channel with alpha, all zero: a thousand times smaller than what it shows."""
    packer, row = zlib.compressobj(9), b"\0" + bytes(8 * width)
    body = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    head = struct.pack(">2I5B", width, height, 16, 6, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


MEMORY = """
import resource, sys, threading
from pathlib import Path
from lora_studio.data.pixels import decoding
from lora_studio.images.input_store import take_in
path, folder = Path(sys.argv[1]), Path(sys.argv[2])
threads = [threading.Thread(target=take_in, args=(path, folder)) for _ in range(3)]
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for thread in threads: thread.start()
for thread in threads: thread.join()
unit = 1 if sys.platform == "darwin" else 1024
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * unit)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="asks resource")
def test_three_large_pictures_at_once_need_the_memory_of_one(tmp_path: Path) -> None:
    """36 megapixels of 16 bit with alpha, three at once: once 2.4 GB, now what two copies of one take."""
    content = deep_png(6000, 6000)
    assert len(content) < 300_000
    (tmp_path / "a.png").write_bytes(content)
    told = subprocess.run(
        [sys.executable, "-c", MEMORY, str(tmp_path / "a.png"), str(tmp_path / "in")],
        capture_output=True,
        text=True,
        check=True,
        timeout=600,
    )
    assert len(list((tmp_path / "in").glob("*.png"))) == 1
    assert int(told.stdout) < 2.5 * 4 * 6000 * 6000 + 60_000_000


def test_large_pictures_have_one_turn_and_small_ones_none() -> None:
    held, go_on = threading.Event(), threading.Event()
    entered: list[str] = []

    def hold() -> None:
        with turn(LARGE):
            held.set()
            go_on.wait(PATIENCE)
            entered.append("first")

    def enter(name: str, size: tuple[int, int]) -> None:
        with turn(size):
            entered.append(name)

    first = threading.Thread(target=hold)
    first.start()
    assert held.wait(PATIENCE)
    second = threading.Thread(target=enter, args=("large", LARGE))
    second.start()
    enter("small", (2000, 2000))
    assert entered == ["small"]
    go_on.set()
    first.join(PATIENCE)
    second.join(PATIENCE)
    assert entered == ["small", "first", "large"]


def test_an_upload_has_no_more_pixels_than_its_bytes_allow() -> None:
    budget = sanitize.PixelBudget()
    for number in range(5):
        budget.take(f"{number}.png", (8000, 5000), 1000)
    with pytest.raises(DatasetError, match=r"^6\.png was left out"):
        budget.take("6.png", (8000, 5000), 1000)
    for number in range(400):  # photographs
        budget.take(f"{number}.jpg", (6000, 4000), 6_000_000)


def test_more_pixels_than_pillow_reads_are_a_sentence_everywhere(tmp_path: Path) -> None:
    head = struct.pack(">2I5B", 10_000, 10_000, 8, 2, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b""))
    (tmp_path / "a.png").write_bytes(content)
    for look in (open_picture, upright_size):
        with pytest.raises(DatasetError, match=f"too large.*{MOST_PIXELS // 1_000_000} megapixels"):
            look(tmp_path / "a.png")


def test_a_tile_that_is_larger_than_its_picture_is_refused() -> None:
    content = bytearray(file_of(Image.new("RGB", (64, 64), "red"), "TIFF", compression="tiff_lzw"))
    at = content.index(struct.pack("<HHI", 278, 3, 1)) if content[:2] == b"II" else -1
    assert at > 0
    struct.pack_into("<HHII", content, at, 322, 4, 1, 40_000)  # rows of a strip become the width of a tile
    with (
        pytest.raises(DatasetError, match=r"too large|damaged"),
        opened("a.tif", bytes(content), most_pixels=20_000) as image,
    ):
        decode("a.tif", image)


def test_a_jpeg_of_very_many_passes_is_refused_and_a_progressive_one_is_not() -> None:
    noise = Image.effect_noise((200, 200), 60).convert("RGB")
    content = file_of(noise, "JPEG", progressive=True, quality=90)
    scan, end = content.rindex(b"\xff\xda"), content.rindex(b"\xff\xd9")
    with opened("a.jpg", content) as image:
        assert decode("a.jpg", image).image.size == (200, 200)
    many = content[:end] + content[scan:end] * 200 + content[end:]
    with pytest.raises(DatasetError, match=r"a\.jpg is drawn in more than 100"), opened("a.jpg", many):
        pass
    with opened("a.jpg", content + content[scan:end] * 200) as image:  # behind its end, as phones put films
        assert decode("a.jpg", image).image.size == (200, 200)


@pytest.mark.parametrize("kind", ["zip", "plain"])
def test_texts_of_any_length_do_not_hide_a_picture(tmp_path: Path, kind: str) -> None:
    """A workflow of megabytes, or a bomb of one: the pixels are there all the same."""
    info = PngImagePlugin.PngInfo()
    info.add_text("workflow", "x" * 80_000_000, zip=True)
    content = file_of(Image.new("RGB", (64, 64), "red"), "PNG", pnginfo=info)
    source = content if kind == "zip" else tmp_path / "a.png"
    if isinstance(source, Path):
        source.write_bytes(content)
    with opened("a.png", source) as image:
        assert decode("a.png", image).image.getpixel((5, 5)) == (255, 0, 0)


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "WEBP", "AVIF", "PNG"])
def test_of_several_pictures_in_one_the_first_is_taken(kind: str) -> None:
    more = [Image.new("RGB", (64, 64), "blue") for _ in range(3)]
    options = {} if kind in {"TIFF", "PNG", "GIF"} else {"quality": 100}
    content = file_of(Image.new("RGB", (64, 64), "red"), kind, save_all=True, append_images=more, **options)
    with opened("a", content) as image:
        plain = decode("a", image)
    assert plain.was_animated
    red, green, blue = plain.image.getpixel((5, 5))  # type: ignore[misc]
    assert red > 245 > 30 > max(green, blue)


def test_an_animation_is_not_counted_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counting the frames of a GIF reads all of it; a hostile one has millions."""
    from PIL import GifImagePlugin

    sought: list[int] = []
    seek = GifImagePlugin.GifImageFile._seek
    monkeypatch.setattr(
        GifImagePlugin.GifImageFile,
        "_seek",
        lambda self, frame, update_image=True: (sought.append(frame), seek(self, frame, update_image))[1],
    )
    frames = [Image.new("L", (32, 32), shade) for shade in range(50)]
    with opened("a.gif", file_of(frames[0], "GIF", save_all=True, append_images=frames[1:])) as image:
        assert decode("a.gif", image).was_animated
    assert max(sought) <= 1


@pytest.mark.parametrize("at_the_end", [False, True])
def test_a_png_is_only_decoded_for_its_size_where_exif_follows_its_pixels(
    tmp_path: Path, at_the_end: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    plain = file_of(Image.new("RGB", (40, 20)), "PNG")
    end = plain.index(b"IEND") - 4
    late = chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0")) if at_the_end else b""
    (tmp_path / "a.png").write_bytes(plain[:end] + late + plain[end:])
    decoded: list[str] = []
    load = PngImagePlugin.PngImageFile.load
    monkeypatch.setattr(
        PngImagePlugin.PngImageFile, "load", lambda self: (decoded.append("x"), load(self))[1]
    )
    assert upright_size(tmp_path / "a.png") == ((20, 40) if at_the_end else (40, 20))
    assert bool(decoded) == at_the_end
    assert open_picture(tmp_path / "a.png").size == ((20, 40) if at_the_end else (40, 20))


def test_heic_says_what_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "with_heic", lambda: False)
    with (
        pytest.raises(DatasetError, match=r"a\.heic is a HEIC photo") as caught,
        opened("a.heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64)),
    ):
        pass
    assert "pillow-heif" in caught.value.hint


def test_heic_is_read_where_that_is_installed(tmp_path: Path) -> None:
    pytest.importorskip("pillow_heif")
    assert decoding.with_heic()
    (tmp_path / "a.heic").write_bytes(file_of(Image.new("RGB", (64, 48), "red"), "HEIF", quality=100))
    red, green, blue = open_picture(tmp_path / "a.heic").getpixel((5, 5))  # type: ignore[misc]
    assert red > 240 > 20 > max(green, blue)
    assert upright_size(tmp_path / "a.heic") == (64, 48)
