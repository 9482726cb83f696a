"""Captions of tags by WD14-style taggers: SmilingWolf's, and others in their form.

A folder with `model.onnx`, which onnxruntime runs (the extra `tagger`), and `selected_tags.csv`. A picture is
prepared as sd-scripts' `tag_images_by_wd14_tagger.py` does: in the middle of a white square, scaled to the
model's side, blue before red, values 0..255. Models take that with the colours last, [N, side, side, 3], or
first, [N, 3, side, side].
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from lora_studio.captioning.captioner import Captioner
from lora_studio.captioning.tagger_options import TaggerOptions
from lora_studio.captioning.tagger_tags import read_tags, tagged_caption
from lora_studio.data.buckets import Placement
from lora_studio.data.pixels.picture_pixels import fit
from lora_studio.errors import ModelFileError

MODEL, TAGS, OTHER_WEIGHTS = "model.onnx", "selected_tags.csv", "model.safetensors"
COLOURS = 3
LEAST_SIDE, MOST_SIDE = 32, 2048
LARGEST_PADDED = 4096
"""Pixels that a picture keeps of a side: a square around a longer one would need too much memory."""
BATCH = 4
LONGEST_REASON = 200
PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")
NO_MEMORY = re.compile(r"allocate memory")
OUTSIDE = re.compile(r"External data path")
"""Patterns in onnxruntime's messages."""


class TaggerCaptioner(Captioner):
    """The tagger of a folder, or of a Hub id in the cache. Raises ModelFileError, OSError, ValueError."""

    def __init__(self, source: str, options: TaggerOptions | None = None) -> None:
        folder = _folder(source)
        self._options = options or TaggerOptions()
        self._tags = read_tags(folder / TAGS)
        self._session = _session(folder / MODEL)
        self._input, self._output, self._shape = _form(self._session, len(self._tags), folder / MODEL)
        self.batch = 1 if self._shape[0] == 1 else BATCH

    def prepared(self, image: Image.Image) -> Image.Image:
        image.thumbnail((LARGEST_PADDED, LARGEST_PADDED))
        return image

    def captions(self, images: Sequence[Image.Image]) -> list[str]:
        is_last = self._shape[-1] == COLOURS
        pixels = np.stack([padded_pixels(image, self._shape[2]) for image in images])
        given = pixels if is_last else np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))
        with _runtime_errors():
            (found,) = self._session.run([self._output], {self._input: given})
        if found.shape != (len(images), len(self._tags)):
            raise RuntimeError(f"The tagger answered with numbers of the shape {[*found.shape]}.")
        return [tagged_caption(self._tags, one, self._options) for one in found]


def padded_pixels(image: Image.Image, side: int) -> np.ndarray:
    """An RGB picture in the middle of a white square as [side, side, 3] in 0..255, 32 bit, blue first."""
    longest = max(image.size)
    square = Image.new("RGB", (longest, longest), "white")
    square.paste(image, ((longest - image.width) // 2, (longest - image.height) // 2))
    whole = Placement(bucket=(side, side), resized=(side, side), aspect_error=0.0)
    return np.asarray(fit(square, whole))[:, :, ::-1].astype(np.float32)


def _folder(source: str) -> Path:
    from huggingface_hub import try_to_load_from_cache

    folder = Path(source)
    if not folder.is_dir():
        place = try_to_load_from_cache(source, MODEL)
        if not isinstance(place, str):
            raise FileNotFoundError(source)
        folder = Path(place).parent
    if not (folder / MODEL).is_file() and (folder / OTHER_WEIGHTS).is_file():
        raise ModelFileError(
            f"The tagger in {folder.name} has its weights in {OTHER_WEIGHTS} alone, which is not read here.",
            f"Fetch {MODEL} of the same tagger into that folder.",
            path=folder,
        )
    return folder


def _session(path: Path) -> Any:
    """The model in memory. Weights in files outside its folder and operators that onnxruntime doesn't know
    are refused by onnxruntime. Raises ModelFileError, OSError."""
    try:
        import onnxruntime
    except ImportError as error:
        raise ModelFileError(
            f"Taggers need the package onnxruntime, which can't be loaded here: {error}.",
            "Install it with: pip install onnxruntime (the extra tagger).",
            path=path,
        ) from error
    if not path.is_file():
        raise FileNotFoundError(path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 4  # what it refuses is said by the exception
    there = onnxruntime.get_available_providers()
    try:
        with _runtime_errors():
            return onnxruntime.InferenceSession(
                path, options, providers=[name for name in PROVIDERS if name in there]
            )
    except RuntimeError as error:
        reason = _reason(error, path)
        raise ModelFileError(
            f"onnxruntime can't load {path.name}: {reason}.", "Fetch the tagger's files once more.", path=path
        ) from error


def _reason(error: RuntimeError, path: Path) -> str:
    """onnxruntime's words, without the folders of this machine."""
    if OUTSIDE.search(str(error)):
        return "its weights lie outside of its folder"
    words = str(error).replace(str(path), path.name).strip().splitlines()[0]
    return words[:LONGEST_REASON].rstrip(".")


def _form(session: Any, tags: int, path: Path) -> tuple[str, str, list[Any]]:
    """Names of the input and the output, and the input's shape. Raises ModelFileError for a model that takes
    or gives something else than a WD14-style tagger."""
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if len(inputs) != 1 or not outputs:
        raise _no_tagger(path, f"it has {len(inputs)} inputs and {len(outputs)} outputs")
    (given, *_), (answer, *_) = inputs, outputs
    shape = [*given.shape]
    sides = shape[1:3] if shape[-1:] == [COLOURS] else shape[2:4]
    is_square = len(shape) == 4 and COLOURS in (shape[1], shape[3]) and sides[0] == sides[1]
    if not (is_square and isinstance(sides[0], int) and LEAST_SIDE <= sides[0] <= MOST_SIDE):
        raise _no_tagger(path, f"it takes numbers of the shape {shape}, no square pictures in colour")
    takes, gives = given.type, answer.type
    if {takes, gives} != {"tensor(float)"}:
        raise _no_tagger(path, f"it takes {takes} and gives {gives}, not 32-bit numbers")
    if isinstance(shape[0], int) and shape[0] != 1:
        raise _no_tagger(path, f"it takes {shape[0]} pictures at a time, neither one nor any number")
    if len(answer.shape) != 2 or (isinstance(answer.shape[1], int) and answer.shape[1] != tags):
        raise _no_tagger(path, f"it gives numbers of the shape {[*answer.shape]} for {tags:,} tags")
    return given.name, answer.name, shape


def _no_tagger(path: Path, why: str) -> ModelFileError:
    return ModelFileError(
        f"{path.name} is no WD14-style tagger with the list of tags beside it: {why}.",
        "Take a folder with both files of one tagger.",
        path=path,
    )


@contextmanager
def _runtime_errors() -> Iterator[None]:
    """Turn onnxruntime's errors, which share no class but Exception, into RuntimeError and MemoryError."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    kinds = (
        *(state.EPFail, state.Fail, state.InvalidArgument, state.InvalidGraph, state.InvalidProtobuf),
        *(state.NoModel, state.NoSuchFile, state.NotImplemented, state.RuntimeException),
    )
    try:
        yield
    except kinds as error:
        if NO_MEMORY.search(str(error)):
            raise MemoryError(str(error)) from error
        raise RuntimeError(str(error)) from error
