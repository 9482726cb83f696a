"""Pictures that people hand in: to redraw, as masks, to read settings from; and nothing else gets in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lora_studio.catalog import BASES
from lora_studio.errors import DatasetError, StoreError, StudioError
from lora_studio.studio import Studio
from lora_studio.ui.client_input.picture_input import kept_picture, take_picture
from lora_studio.ui.generate.img2img import easel, fitting_size, placed
from lora_studio.ui.generate.png_info import recalled
from tests.support.html import data_url, parse

A1111 = (
    "a lighthouse <lora:sea:0.8>\nNegative prompt: fog\n"
    "Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 5, Size: 512x768, Model: deliberate_v2"
)


@pytest.fixture
def uploaded(studio: Studio) -> Path:
    path = studio.settings.uploads / "abc" / "red.jpg"
    path.parent.mkdir(parents=True)
    Image.new("RGB", (48, 40), "red").save(path)
    return path


def test_an_upload_and_a_data_url_are_kept_as_files_of_ours(studio: Studio, uploaded: Path) -> None:
    settings = studio.settings
    for given in (str(uploaded), {"path": str(uploaded)}, data_url(Image.new("RGB", (48, 40), "red"))):
        with Image.open(kept_picture(take_picture(given, settings), settings)) as kept:
            assert (kept.size, kept.format) == ((48, 40), "PNG")
    mask = take_picture(data_url(Image.new("L", (48, 40), 200)), settings, mask=True)
    with Image.open(kept_picture(mask, settings)) as kept:
        assert kept.getpixel((0, 0)) == 255
    assert list(settings.uploads.glob("sent-*")) == []


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (None, "One picture is needed"),
        ([], "One picture is needed"),
        ("/etc/passwd", "not accepted"),
        ({"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}, "not accepted"),
        ("data:text/html;base64,AAAA", "no picture's data URL"),
        ("data:image/png;base64,%%%", "damaged"),
        ("data:image/png;base64,aGVsbG8=", "picture"),
        ("data:image/png;base64," + "A" * 48_000_001, "too large"),
    ],
)
def test_what_is_no_picture_is_refused(studio: Studio, given: Any, said: str) -> None:
    with pytest.raises(StudioError, match=said):
        take_picture(given, studio.settings)
    assert list(studio.settings.inputs.iterdir()) == []


def test_a_server_file_is_refused_also_where_it_is_a_picture(studio: Studio, tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    Image.new("RGB", (8, 8)).save(secret)
    for given in (str(secret), [str(secret)], {"path": str(secret)}, f"{studio.settings.uploads}/../x.png"):
        with pytest.raises(DatasetError, match="not accepted"):
            take_picture(given, studio.settings)


def test_the_easel_shows_only_what_was_taken_in(studio: Studio, uploaded: Path) -> None:
    source = take_picture(str(uploaded), studio.settings)
    shown = parse(easel(source, source, studio.settings))
    (picture,) = shown.iter("img")
    assert source in (picture.get("src") or "")
    assert source in (picture.get("data-mask") or "")
    (canvas,) = shown.iter("canvas")
    assert (canvas.get("tabindex"), bool(canvas.get("aria-label"))) == ("0", True)
    for wrong in ("", "../../etc/passwd", "0" * 64, None):
        assert easel(wrong, "", studio.settings) == ""  # type: ignore[arg-type]
        with pytest.raises(StoreError):
            kept_picture(wrong, studio.settings)


@pytest.mark.parametrize(
    ("size", "base", "fitting"),
    [
        ((512, 512), "starter", (64, 64)),
        ((64, 96), "starter", None),
        ((4000, 3000), "sd15", (592, 440)),
        ((700, 512), "sd15", None),
        ((4000, 3000), "someone/else", (1184, 888)),
        ((4000, 40), "starter", (640, 32)),
    ],
)
def test_a_picture_far_too_large_for_the_base_brings_a_size(
    size: tuple[int, int], base: str, fitting: tuple[int, int] | None
) -> None:
    assert fitting_size(size, BASES.get(base)) == fitting


def test_a_picture_is_placed_with_its_size(studio: Studio, uploaded: Path) -> None:
    settings = studio.settings
    small = placed(take_picture(str(uploaded), settings), "starter", settings)
    assert (small["width"], small["height"], small["mask_image"]) == ("", "", "")
    large = placed(take_picture(data_url(Image.new("RGB", (512, 256))), settings), "starter", settings)
    assert (large["width"], large["height"]) == ("88", "48")
    assert "88 × 48 pixels" in large["canvas"]


def test_settings_come_back_from_an_a1111_file(studio: Studio, uploaded: Path) -> None:
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text("parameters", A1111)
    path = uploaded.with_name("a.png")
    Image.new("RGB", (8, 8)).save(path, pnginfo=info)
    restored, infotext = recalled(studio, str(path))
    request = restored.request
    assert (request.prompt, request.seed, request.width, request.height) == ("a lighthouse", 5, 512, 768)
    assert request.loras[0].slug == "sea"
    assert infotext == A1111
    with pytest.raises(StudioError, match="no settings"):
        recalled(studio, str(uploaded))
