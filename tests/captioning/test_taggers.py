"""WD14-style taggers: pictures as sd-scripts prepares them, tags as they are asked for, hostile folders."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lora_studio.captioning.caption_engines import load_captioner
from lora_studio.captioning.captioner import ENGINES
from lora_studio.captioning.tagger_captioner import padded_pixels
from lora_studio.captioning.tagger_options import TaggerOptions
from lora_studio.captioning.tagger_tags import KnownTag, read_tags, tagged_caption
from lora_studio.errors import ConfigError, ModelFileError
from tests.support.drawn_scenes import scene
from tests.support.tiny_taggers import FIRST, LAST, ROWS, SIDE, make_tiny_tagger, write_tags

WD14 = ENGINES["wd14"]
TAGS = [KnownTag(*row) for row in ROWS]


def in_sd_scripts_way(image: Image.Image, side: int) -> np.ndarray:
    """A picture as its script makes it a model's input, where both sides shrink by a whole number: OpenCV's
    area is then the mean of the pixels."""
    pixels = np.asarray(image)[:, :, ::-1]
    longest = max(pixels.shape[:2])
    down, right = longest - pixels.shape[0], longest - pixels.shape[1]
    around = ((down // 2, down - down // 2), (right // 2, right - right // 2), (0, 0))
    square = np.pad(pixels, around, constant_values=255)
    step = longest // side
    return square.reshape(side, step, side, step, 3).mean((1, 3))


@pytest.mark.parametrize("size", [(128, 96), (64, 131), (33, 192)])
def test_a_picture_is_prepared_as_sd_scripts_does(size: tuple[int, int]) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    side = max(size) // (4 if max(size) % 4 == 0 else 1)
    pixels = padded_pixels(Image.fromarray(noise), side)
    assert (pixels.shape, pixels.dtype) == ((side, side, 3), np.float32)
    # Pillow rounds after each of both directions, OpenCV once.
    assert np.abs(pixels - in_sd_scripts_way(Image.fromarray(noise), side)).max() <= 1


def test_a_small_picture_is_enlarged_as_sd_scripts_does() -> None:
    image = scene(3, (20, 14)).convert("RGB")
    square = np.pad(np.asarray(image)[:, :, ::-1], ((3, 3), (0, 0), (0, 0)), constant_values=255)
    wanted = Image.fromarray(square).resize((48, 48), Image.Resampling.LANCZOS)
    assert np.array_equal(padded_pixels(image, 48), np.asarray(wanted, dtype=np.float32))


@pytest.mark.parametrize("shape", [LAST, FIRST])
def test_a_model_of_a_folder_tells_tags(shape: tuple[Any, ...], tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    tagger = make_tiny_tagger(tmp_path, shape)
    captioner = load_captioner(WD14, str(tmp_path), TaggerOptions(general_threshold=0.5))
    pictures = [scene(number, (96, 64)).convert("RGB") for number in range(captioner.batch + 1)]
    told = captioner.captions([captioner.prepared(picture.copy()) for picture in pictures])
    for picture, caption in zip(pictures, told, strict=True):
        pixels = in_sd_scripts_way(picture, SIDE)
        order = pixels if shape is LAST else pixels.transpose(2, 0, 1)
        sure = dict(zip((name for name, _ in ROWS), tagger.probabilities(order), strict=True))
        least = {0: 0.5, 4: 0.35, 9: 2.0}
        wanted = {name for name, category in ROWS if sure[name] >= least[category]}
        assert {tag.replace(" ", "_") for tag in caption.split(", ")} == wanted
    assert len({*told}) > 1


def test_tags_are_written_as_they_are_asked_for() -> None:
    sure = np.array([0.9, 0.95, 0.6, 0.7, 0.5, 0.4, 0.2, 0.36, 0.99], dtype=np.float32)

    def caption(**options: Any) -> str:
        return tagged_caption(TAGS, sure, TaggerOptions(**options))

    plain = "kagamine rin, hatsune miku (vocaloid), long hair, 1girl, ^_^, ||_||"
    assert caption() == plain
    assert caption(use_rating_tags=True) == f"sensitive, {plain}"
    assert caption(character_threshold=1.1) == "long hair, 1girl, ^_^, ||_||"
    assert caption(general_threshold=0.65, character_tags_first=False) == (
        "kagamine rin, long hair, hatsune miku (vocaloid)"
    )
    assert caption(remove_underscore=False, character_threshold=0.5) == (
        "kagamine_rin, long_hair, 1girl, ^_^, ||_||"
    )
    spoken = "long_hair; Kagamine Rin; ^_^; hatsune miku (vocaloid)"
    assert caption(undesired_tags=spoken, caption_separator="; ") == "1girl; ||_||"
    for wrong in ({"general_threshold": -1}, {"caption_separator": " "}, {"thresh": 0.3}):
        with pytest.raises(ConfigError):
            TaggerOptions(**wrong)


HEAD = "tag_id,name,category,count\n"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"name,category\ncat,0\n", "doesn't begin with the columns tag_id, name, category"),
        (b"", "doesn't begin with the columns"),
        (f"{HEAD}1,cat\n".encode(), "a row can't be read"),
        (f"{HEAD}1,cat,many\n".encode(), "a row can't be read"),
        (f'{HEAD}1,"{"x" * 200_000}",0,1\n'.encode(), "a row can't be read"),
        (HEAD.encode() + b"\xff\xfe", "a row can't be read"),
        (HEAD.encode() + b"1,a,0,1\n" * 200_001, "more than 200,000 tags"),
        (b"x" * 16_000_001, "too large"),
    ],
)
def test_a_list_that_is_none_is_refused(content: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "selected_tags.csv"
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=reason):
        read_tags(path)


def test_tags_are_plain_text(tmp_path: Path) -> None:
    write_tags(tmp_path, [("a\u202eb", 0), ("c" * 500, 4)])
    first, second = read_tags(tmp_path / "selected_tags.csv")
    assert ("\u202e" in first.name, len(second.name) <= 200, second.category) == (False, True, 4)


@pytest.mark.parametrize(
    ("shape", "changes", "reason"),
    [
        (("N", SIDE, SIDE, 4), {}, "no square pictures in colour"),
        (("N", SIDE, 2 * SIDE, 3), {}, "no square pictures in colour"),
        (("N", "height", "width", 3), {}, "no square pictures in colour"),
        (("N", SIDE * SIDE * 3), {}, "no square pictures in colour"),
        ((4, SIDE, SIDE, 3), {}, "takes 4 pictures at a time"),
        (LAST, {"kind": "UINT8"}, "not 32-bit numbers"),
        (LAST, {"operator": "Telephone"}, "onnxruntime can't load model.onnx"),
    ],
)
def test_another_model_is_refused(
    shape: tuple[Any, ...], changes: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    pytest.importorskip("onnxruntime")
    make_tiny_tagger(tmp_path, shape, **changes)
    with pytest.raises(ModelFileError, match=reason):
        load_captioner(WD14, str(tmp_path))


def test_the_list_of_another_tagger_and_damaged_models_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    make_tiny_tagger(tmp_path)
    write_tags(tmp_path, ROWS[:-1])
    with pytest.raises(ModelFileError, match="for 8 tags"):
        load_captioner(WD14, str(tmp_path))
    write_tags(tmp_path)
    model = tmp_path / "model.onnx"
    model.write_bytes(model.read_bytes()[:2000])
    with pytest.raises(ModelFileError, match=r"onnxruntime can't load model\.onnx") as damaged:
        load_captioner(WD14, str(tmp_path))
    assert str(tmp_path) not in str(damaged.value)


def test_weights_outside_the_folder_are_not_read(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    folder = tmp_path / "tagger"
    make_tiny_tagger(folder, outside="weights.bin")
    assert load_captioner(WD14, str(folder)).batch > 1  # beside the model they are
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    for place in ("../secret.bin", str(tmp_path / "secret.bin"), "link.bin"):
        make_tiny_tagger(folder, outside=place)
        assert (tmp_path / "secret.bin").is_file()
        with pytest.raises(ModelFileError, match="its weights lie outside of its folder"):
            load_captioner(WD14, str(folder))


def test_it_is_said_what_a_tagger_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelFileError, match="isn't on this machine") as missing:
        load_captioner(WD14, str(tmp_path))
    assert "hf download SmilingWolf/wd-vit-tagger-v3 model.onnx selected_tags.csv" in missing.value.hint
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(ModelFileError, match=r"weights in model\.safetensors alone"):
        load_captioner(WD14, str(tmp_path))
    write_tags(tmp_path)
    (tmp_path / "model.onnx").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ModelFileError, match="need the package onnxruntime") as absent:
        load_captioner(WD14, str(tmp_path))
    assert "pip install onnxruntime" in absent.value.hint
