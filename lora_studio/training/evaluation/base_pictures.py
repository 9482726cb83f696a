"""Pictures of a base by itself, kept for the next training on it: they are the same to the bit, and the first
step waits for them."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch
from PIL import Image

from lora_studio import __version__
from lora_studio.families.base_files.locate import file_states
from lora_studio.files import make_room, write_atomically
from lora_studio.training.model import Engine

ENDING = ".png"
MOST_BYTES = 64 * 2**20
DRAWN_BY = ("torch", "diffusers", "transformers")


@dataclass(frozen=True, kw_only=True)
class BasePictures:
    """A folder of pictures. `mark` stands for all that a picture depends on beside its `request`: the base,
    the device, and how both compute. A damaged file counts as none, and a disk that can't be written keeps
    nothing."""

    folder: Path
    mark: str

    def find(self, *request: object) -> Image.Image | None:
        path = self._path(request)
        try:
            content = path.read_bytes()
            with Image.open(io.BytesIO(content), formats=["PNG"]) as picture:
                found = picture.convert("RGB")
        except (OSError, ValueError, SyntaxError):  # PIL's errors for a damaged file
            return None
        with contextlib.suppress(OSError):
            os.utime(path)  # so that what is used stays when room is made
        return found

    def keep(self, picture: Image.Image, *request: object) -> None:
        content = io.BytesIO()
        picture.save(content, format="PNG")
        with contextlib.suppress(OSError):
            write_atomically(self._path(request), content.getvalue(), lasting=False)

    def make_room(self, most_bytes: int = MOST_BYTES) -> None:
        make_room(self.folder, f"*{ENDING}", most_bytes)

    def _path(self, request: tuple[object, ...]) -> Path:
        name = hashlib.sha256(json.dumps([self.mark, *request], default=str).encode()).hexdigest()
        return self.folder / f"{name}{ENDING}"


def base_pictures(engine: Engine, folder: Path) -> BasePictures | None:
    """The pictures of an engine's base; None where the base is not one that files on this disk tell from
    others."""
    found, config = engine.base.found, engine.config
    states = sorted(file_states(found))
    if not states or config.network.base_weights:
        return None
    facts = [
        *(found.path_or_id, found.family, states),
        *(engine.base.process.config, config.model.model_dump()),
        *(engine.device.kind, engine.device.title, engine.dtype, torch.backends.cpu.get_cpu_capability()),
        *(__version__, [version(name) for name in DRAWN_BY]),
    ]
    description = json.dumps(facts, sort_keys=True, default=str)
    return BasePictures(folder=folder, mark=hashlib.sha256(description.encode()).hexdigest())
