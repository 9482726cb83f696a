from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from lora_studio.errors import BrokenFile, StoreError, UnknownFormat
from lora_studio.images.foreign_request import NO_BASE
from lora_studio.images.image_metadata import (
    Origin,
    picture_bytes,
    read_chunks,
    read_origin,
    read_request,
    read_settings,
    save_image,
)
from lora_studio.request import GeneratedImage, GenerateRequest

PROMPTS = [
    "a cat",
    "two\nlines\r\n",
    '"quoted", back\\slash',
    "café 猫 🐈",
    "",
    "a\x00b",
    "Negative prompt: x\ny",
]


def origin(**changes: object) -> Origin:
    values = {
        "prompt": "a cat",
        "base": "starter",
        "num_inference_steps": 4,
        "guidance_scale": 3.0,
        "width": 64,
        "height": 48,
        "seed": 5,
        "sampler": "DDIM",
        "loras": [{"slug": "ink", "weight": 0.5}],
    }
    request = GenerateRequest(**{**values, **changes})
    return Origin(request=request, prompt=request.prompt, model="starter", lora_hashes={"ink": "ab" * 32})


def save(folder: Path, what: Origin) -> GeneratedImage:
    return save_image(Image.new("RGB", (64, 48), (10, 200, 30)), folder, what)


@pytest.mark.parametrize("negative", ["", "blur,\nnoise: “x”"])
@pytest.mark.parametrize("prompt", PROMPTS)
def test_the_request_comes_back_from_the_png(tmp_path: Path, prompt: str, negative: str) -> None:
    made = origin(prompt=prompt, negative_prompt=negative)
    assert read_request(save(tmp_path, made).path) == made.request


def test_name_size_and_pixels(tmp_path: Path) -> None:
    image = save(tmp_path, origin())
    path = Path(image.path)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d/\d{6}-5-[0-9a-f]{8}\.png", path.relative_to(tmp_path).as_posix())
    assert (image.width, image.height, image.seed) == (64, 48, 5)
    with Image.open(path) as picture:
        assert picture.getpixel((3, 3)) == (10, 200, 30)
    assert [entry.name for entry in path.parent.iterdir()] == [path.name], "no temporary file stays behind"


def test_both_chunks_are_there_and_agree(tmp_path: Path) -> None:
    image = save(tmp_path, origin())
    chunks = read_chunks(image.path)
    assert chunks["parameters"] == image.infotext
    data = json.loads(chunks["lora_studio"])
    assert data["lora_hashes"] == {"ink": "ab" * 32}
    assert data["version"] == 1


def test_words_are_written_as_drawn_and_read_as_asked(tmp_path: Path) -> None:
    made = origin(prompt="a {red|blue} cat", negative_prompt="{x|y}")
    drawn = Origin(request=made.request, prompt="zw, a red cat", model="starter", negative_prompt="y")
    image = save(tmp_path, drawn)
    assert image.infotext.startswith("zw, a red cat <lora:ink:0.5>\nNegative prompt: y\nSteps: 4")
    assert read_request(image.path) == made.request


def test_no_folder_of_this_machine_gets_into_the_picture(tmp_path: Path) -> None:
    made = origin(base=str(tmp_path / "secret" / "model.safetensors"))
    image = save(tmp_path, Origin(request=made.request, prompt="a cat", model="model"))
    assert image.request.base.endswith("model.safetensors")
    assert b"secret" not in Path(image.path).read_bytes()
    assert read_request(image.path).base == "model"


def test_a_picture_by_a1111_is_read(tmp_path: Path) -> None:
    info = PngInfo()
    info.add_text("parameters", "a dog\nSteps: 7, Sampler: Euler, CFG scale: 5, Seed: 1, Size: 64x64")
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png", pnginfo=info)
    request = read_request(tmp_path / "a.png")
    assert (request.prompt, request.num_inference_steps, request.sampler) == ("a dog", 7, "Euler")


@pytest.mark.parametrize("chunk", ["not json", "[]", '{"request": 3}', '{"request": {"seed": -1}}'])
def test_a_damaged_chunk_falls_back_to_the_infotext(tmp_path: Path, chunk: str) -> None:
    info = PngInfo()
    info.add_text("lora_studio", chunk)
    info.add_text("parameters", "a dog\nSteps: 7, Sampler: Euler, Seed: 1")
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png", pnginfo=info)
    assert read_request(tmp_path / "a.png").prompt == "a dog"


def test_fields_of_a_later_version_are_left_out(tmp_path: Path) -> None:
    info = PngInfo()
    info.add_text("lora_studio", json.dumps({"version": 9, "request": {"prompt": "a dog", "hires": True}}))
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png", pnginfo=info)
    assert read_request(tmp_path / "a.png").prompt == "a dog"


def test_a_png_without_settings_says_so(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    with pytest.raises(UnknownFormat, match=r"a\.png has no settings in it"):
        read_request(tmp_path / "a.png")


@pytest.mark.parametrize("data", [b"", b"hello", b"\x89PNG\r\n\x1a\n\x00\x00"])
def test_what_is_no_png_says_so(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(BrokenFile, match=r"a\.png is no readable PNG, JPEG or WebP"):
        read_request(tmp_path / "a.png")


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(BrokenFile):
        read_request(tmp_path / "none.png")


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match="can't be written"):
        save(tmp_path / "file", origin())


@pytest.mark.parametrize("form", ["jpeg", "webp"])
@pytest.mark.parametrize("prompt", PROMPTS)
def test_the_request_comes_back_from_jpeg_and_webp(tmp_path: Path, form: str, prompt: str) -> None:
    made = origin(prompt=prompt, negative_prompt="blur,\nnoise: “x”", image_format=form)
    image = save(tmp_path, made)
    assert Path(image.path).suffix == {"jpeg": ".jpg", "webp": ".webp"}[form]
    assert read_request(image.path) == made.request
    assert read_chunks(image.path)["parameters"] == made.infotext
    assert read_origin(image.path) == made.to_json()
    with Image.open(image.path) as picture:
        assert (picture.format, picture.size) == (form.upper(), (64, 48))
        assert max(abs(a - b) for a, b in zip(picture.getpixel((3, 3)), (10, 200, 30), strict=True)) < 6


def test_a_jpeg_with_more_than_fits_keeps_the_infotext(tmp_path: Path) -> None:
    made = origin(image_format="jpeg", negative_prompt="x" * 2000)
    long = Origin(request=made.request, prompt="猫" * 10_000, model="starter", lora_hashes={"ink": "ab" * 32})
    image = save(tmp_path, long)
    assert set(read_chunks(image.path)) >= {"parameters"}
    assert read_chunks(image.path)["parameters"] == long.infotext


SAID = "a döner 猫\nSteps: 7, Sampler: Euler, CFG scale: 5, Seed: 1, Size: 64x64"


@pytest.mark.parametrize(
    "comment",
    [
        b"UNICODE\0" + SAID.encode("utf-16-be"),
        b"UNICODE\0" + SAID.encode("utf-16-le"),
        b"UNICODE\0" + SAID.encode("utf-16"),
        b"ASCII\0\0\0" + SAID.encode(),
        b"\0" * 8 + SAID.encode() + b"\0",
        SAID.encode(),
    ],
)
@pytest.mark.parametrize("form", ["JPEG", "WEBP", "PNG"])
def test_a_user_comment_is_read_however_it_is_written(tmp_path: Path, comment: bytes, form: str) -> None:
    exif = Image.Exif()
    exif[0x8769] = {0x9286: comment}
    Image.new("RGB", (8, 8)).save(tmp_path / "a", format=form, exif=exif)
    found = read_settings(tmp_path / "a")
    assert (found.request.prompt, found.request.num_inference_steps) == ("a döner 猫", 7)
    assert found.notes == (NO_BASE,)


def test_a_photo_with_a_comment_has_no_settings(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x8769] = {0x9286: b"ASCII\0\0\0my holiday, 2024", 0x927C: b"Nikon\0\x02"}
    Image.new("RGB", (8, 8)).save(tmp_path / "a.jpg", exif=exif)
    with pytest.raises(UnknownFormat, match=r"a\.jpg has no settings"):
        read_request(tmp_path / "a.jpg")
    assert read_origin(tmp_path / "a.jpg") == {}


def test_a_picture_of_our_first_version_is_read(tmp_path: Path) -> None:
    """As it was before redrawing, variations and second passes came."""
    info = PngInfo()
    request = {"prompt": "a cat", "negative_prompt": "", "base": "starter", "insert_trigger": True}
    request |= {"loras": [{"slug": "ink", "weight": 0.5}], "num_inference_steps": 4, "guidance_scale": 3.0}
    request |= {"width": 64, "height": 48, "seed": 5, "count": 1, "sampler": "DPM++ 2M Karras"}
    values = {"version": 1, "software": "LoRA Studio 0.1.0", "request": request, "prompt": "zw, a cat"}
    info.add_text("lora_studio", json.dumps(values))
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png", pnginfo=info)
    assert read_request(tmp_path / "a.png") == GenerateRequest(**request)
    line = (
        "zw, a cat <lora:ink:0.5>\nSteps: 4, Sampler: DPM++ 2M Karras, CFG scale: 3, Seed: 5, Size: 64x48, "
    )
    info = PngInfo()
    info.add_text(
        "parameters", f'{line}Model: starter, Lora hashes: "ink: 0123456789ab", Version: LoRA Studio 0.1.0'
    )
    Image.new("RGB", (8, 8)).save(tmp_path / "b.png", pnginfo=info)
    assert read_request(tmp_path / "b.png") == GenerateRequest(**{**request, "prompt": "zw, a cat"})


def test_a_nest_of_brackets_in_a_picture_is_no_settings(tmp_path: Path) -> None:
    data = picture_bytes(Image.new("RGB", (8, 8)), {"lora_studio": "[" * 100_000})
    path = tmp_path / "nest.png"
    path.write_bytes(data)
    assert read_origin(path) == {}
    with pytest.raises(UnknownFormat, match="no settings"):
        read_request(path)
