"""Damaged and hostile uploads: whatever the bytes, a set comes of it or one sentence."""

from __future__ import annotations

import contextlib
import io
import tempfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from lora_studio.data.ingestion.ingest import ingest
from lora_studio.errors import DatasetError, StudioError
from lora_studio.images.input_store import take_in

KINDS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "AVIF")
PROFILE = bytes(range(256)) * 2


def picture(kind: str) -> bytes:
    image = Image.linear_gradient("L").resize((48, 40)).convert("RGB")
    buffer = io.BytesIO()
    options = {} if kind in {"BMP", "GIF"} else {"icc_profile": PROFILE}
    image.save(buffer, kind, **options)
    return buffer.getvalue()


PICTURES = {kind: picture(kind) for kind in KINDS}


def archive(names: list[str], contents: list[bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in zip(names, contents, strict=False):
            packed.writestr(name, content)
    return buffer.getvalue()


ARCHIVE = archive(
    ["10_a/a.png", "10_a/a.txt", "b.jpg", "metadata.jsonl", "@eaDir/x.jpg", "a-masklabel.png"],
    [
        PICTURES["PNG"],
        b"caption",
        PICTURES["JPEG"],
        b'{"file_name": "b.jpg", "text": "b"}',
        b"x",
        PICTURES["PNG"],
    ],
)


@st.composite
def mutated(draw: st.DrawFn, content: bytes) -> bytes:
    """Some bytes changed, a piece left out or doubled, the end cut off."""
    changed = bytearray(content)
    for _ in range(draw(st.integers(1, 12))):
        changed[draw(st.integers(0, len(changed) - 1))] = draw(st.integers(0, 255))
    start = draw(st.integers(0, len(changed)))
    piece = changed[start : start + draw(st.integers(0, 40))]
    kind = draw(st.sampled_from(["as it is", "left out", "doubled", "cut off"]))
    if kind == "left out":
        del changed[start : start + len(piece)]
    elif kind == "doubled":
        changed[start:start] = piece
    elif kind == "cut off":
        del changed[start:]
    return bytes(changed)


def upload(name: str, content: bytes) -> None:
    """Through the upload of a set and that of a picture to redraw. Only DatasetError and its kin leave."""
    with tempfile.TemporaryDirectory() as folder:
        path, into = Path(folder) / name, Path(folder) / "set"
        path.write_bytes(content)
        into.mkdir()
        with contextlib.suppress(DatasetError):
            assert ingest([path], into).images >= 1
            for written in into.rglob("*.png"):
                Image.open(written).load()
        with contextlib.suppress(StudioError):
            take_in(path, Path(folder) / "inputs")


def examples(number: int) -> settings:
    return settings(max_examples=number, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("kind", KINDS)
@examples(12)
@given(data=st.data())
def test_mutated_pictures(kind: str, data: st.DataObject) -> None:
    upload(f"a.{kind.lower()}", data.draw(mutated(PICTURES[kind])))


@examples(30)
@given(content=mutated(ARCHIVE))
def test_mutated_archives(content: bytes) -> None:
    upload("a.zip", content)


@examples(30)
@given(
    names=st.lists(st.text(min_size=1, max_size=30).filter(lambda name: "\0" not in name), max_size=6),
    contents=st.lists(
        st.one_of(st.binary(max_size=200), st.sampled_from([*PICTURES.values()])), min_size=6, max_size=6
    ),
)
def test_archives_of_any_names(names: list[str], contents: list[bytes]) -> None:
    try:
        content = archive(names, contents)
    except (ValueError, UserWarning):  # two files of one name, or halves of letters
        return
    upload("a.zip", content)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@examples(100)
@given(data=st.data())
def test_many_mutated_pictures(kind: str, data: st.DataObject) -> None:
    upload(f"a.{kind.lower()}", data.draw(mutated(PICTURES[kind])))


@pytest.mark.slow
@examples(200)
@given(content=mutated(ARCHIVE))
def test_many_mutated_archives(content: bytes) -> None:
    upload("a.zip", content)


@examples(60)
@given(content=st.binary(max_size=300), name=st.sampled_from(["a.txt", "captions.json", "a.jsonl", "a.csv"]))
def test_texts_of_any_bytes(content: bytes, name: str) -> None:
    upload("a.zip", archive(["a.png", name], [PICTURES["PNG"], content]))
