"""Uploads of pictures, and the sets that they become."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from lora_studio.config_groups import DatasetGroup
from lora_studio.data.training_set.folders import Picture, read_folder
from lora_studio.data.training_set.run_subsets import options_of_set

Files = Mapping[str, str | bytes | None]


def file_of(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


def png(colour: str = "red", mode: str = "RGB", size: tuple[int, int] = (40, 48)) -> bytes:
    return file_of(Image.new(mode, size, colour))


def zipped(path: Path, files: Files) -> Path:
    """None stands for a picture."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, png() if content is None else content)
    return path


def laid_out(folder: Path, files: Files) -> Path:
    for name, content in files.items():
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        content = png() if content is None else content
        place.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def trained_on(into: Path, **changes: Any) -> list[Picture]:
    data = {"train_data_dir": str(into), **options_of_set(into), **changes}
    return list(read_folder(DatasetGroup.model_validate(data)).pictures)
