"""Pictures and captions written as a folder that sd-scripts and its like read."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path

from lora_studio.data.captions import with_trigger
from lora_studio.data.edits.overlay import OverlaidPicture
from lora_studio.data.training_set.subsets import KOHYA_FOLDER
from lora_studio.errors import DatasetError
from lora_studio.files import expanded
from lora_studio.parsing.file_names import portable_name


def export_folder(
    pictures: Sequence[OverlaidPicture], folder: Path, *, root: Path, subfolder: str, trigger_word: str
) -> Path:
    """Copy pictures with captions, as edited, into `folder`, which appears only when it is whole. Pictures
    directly in `root` go into `subfolder`; pictures in Kohya folders below it keep theirs. Raises
    DatasetError, OSError."""
    folder = expanded(folder).absolute()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DatasetError(f"{folder} is there already.", "Choose a new folder.", path=folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = folder.with_name(f".{folder.name}-{uuid.uuid4().hex[:8]}.part")
    try:
        for original, (picture, mask), caption in pictures:
            text = with_trigger(caption, trigger_word) if caption else ""
            _copy(picture, text, unfinished / _subfolder(original, root, subfolder))
            if mask:  # where conditioning_data_dir can name them
                (unfinished / "masks").mkdir(exist_ok=True)
                shutil.copyfile(mask, unfinished / "masks" / picture.name)
        if folder.exists():
            folder.rmdir()
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def _subfolder(path: Path, root: Path, default: str) -> str:
    name = path.parent.name
    if path.parent != root and KOHYA_FOLDER.fullmatch(name):
        return name
    return portable_name(default, "1_picture", instead=" ")


def _copy(path: Path, caption: str, into: Path) -> None:
    into.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, into / path.name)
    if caption:
        (into / f"{path.stem}.txt").write_text(f"{caption}\n", encoding="utf-8")
