"""Labelled sheets: every picture in its place, whole."""

from __future__ import annotations

from PIL import Image

from lora_studio.images.comparison_sheet import GAP, LABEL_WIDTH, TITLE_HEIGHT, SheetRow, draw_sheet


def plain(colour: str, size: tuple[int, int] = (32, 32)) -> Image.Image:
    return Image.new("RGB", size, colour)


def test_pictures_stand_in_rows() -> None:
    rows = [
        SheetRow(label="first", images=[plain("red"), plain("lime")]),
        SheetRow(label="second", images=[plain("blue")]),
    ]
    sheet = draw_sheet("A title", rows, cell=50)
    left, top, pitch = LABEL_WIDTH + 25, TITLE_HEIGHT + 25, 50 + GAP
    assert sheet.getpixel((left, top)) == (255, 0, 0)
    assert sheet.getpixel((left + pitch, top)) == (0, 255, 0)
    assert sheet.getpixel((left, top + pitch)) == (0, 0, 255)
    assert sheet.getpixel((left + pitch, top + pitch)) == (255, 255, 255)


def test_a_wide_picture_is_shown_whole() -> None:
    sheet = draw_sheet("", [SheetRow(label="", images=[plain("red", (64, 32))])], cell=50)
    left, top = LABEL_WIDTH, TITLE_HEIGHT
    assert sheet.getpixel((left + 1, top + 25)) == sheet.getpixel((left + 48, top + 25)) == (255, 0, 0)
    assert sheet.getpixel((left + 25, top + 2)) != (255, 0, 0)


def test_captions_make_room_for_themselves() -> None:
    without = draw_sheet("", [SheetRow(label="", images=[plain("red")])])
    with_captions = draw_sheet("", [SheetRow(label="", images=[plain("red")], captions=["a cat on a mat"])])
    assert with_captions.height > without.height
