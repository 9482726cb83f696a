from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from lora_studio.errors import BrokenFile, StoreError, UnknownFormat
from lora_studio.generation.images import Origin, read_chunks, read_request, save_image
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
    request = GenerateRequest.build(**{**values, **changes})
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
    with pytest.raises(BrokenFile, match=r"a\.png is no readable PNG"):
        read_request(tmp_path / "a.png")


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(BrokenFile):
        read_request(tmp_path / "none.png")


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match="can't be written"):
        save(tmp_path / "file", origin())
