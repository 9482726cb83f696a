"""Uploaded files one by one, members of archives included, with the folders they came from."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lora_studio.data.pixels.masks import owner_stem
from lora_studio.data.pixels.stray_files import is_trash
from lora_studio.errors import DatasetError
from lora_studio.files import read_errors
from lora_studio.parsing.archives import Limits, is_archive, open_archive, too_big
from lora_studio.parsing.file_names import portable_name

CAPTION_ENDINGS = (".txt", ".caption")
KOHYA_FOLDER = re.compile(r"(\d{1,4})_(.+)")
MOST_REPEATS = 1000


@dataclass(frozen=True, kw_only=True)
class Upload:
    """An uploaded file; `shown` is its name for people. `group` is the folder it came from: captions, masks
    and pictures of one belong together; `parts` is its path inside of the upload. `read` raises DatasetError.

    The dataset config that an upload came with may say more: `named_caption`, the only one that the picture
    has; that its transparency is its mask (`alpha_mask`); the groups in which the picture of a mask is looked
    for (`mask_groups`); why the file is left out, nothing for one that was read before."""

    shown: str
    group: str
    parts: tuple[str, ...]
    kohya_folder: str
    read: Callable[[], bytes]
    is_reg: bool = False
    alpha_mask: bool = False
    named_caption: str = ""
    mask_groups: tuple[str, ...] = ()
    left_out: str | None = None

    @property
    def name(self) -> str:
        return self.parts[-1]

    @property
    def stem(self) -> str:
        return Path(self.name).stem

    @property
    def is_caption(self) -> bool:
        return self.name.lower().endswith(CAPTION_ENDINGS)


def uploads_in(path: Path, limits: Limits, relabel: Callable[[Upload], Upload]) -> Iterator[Upload]:
    """The file itself, or the members of an archive, each as `relabel` makes it. Raises DatasetError."""
    if not is_archive(path):
        yield relabel(uploaded_file(path, limits))
        return
    with open_archive(path, limits) as members:
        uploads = [
            relabel(
                Upload(
                    shown=f"{path.name}: {'/'.join(member.parts)}",
                    group="/".join((str(path), *member.parts[:-1])),
                    parts=member.parts,
                    kohya_folder=_kohya_folder(member.parts[:-1]),
                    read=member.read,
                )
            )
            for member in members
        ]
        # What may be a mask comes after the pictures: whether it is one depends on them.
        yield from sorted(uploads, key=lambda upload: owner_stem(upload.parts) is not None)


def uploaded_file(path: Path, limits: Limits) -> Upload:
    """A file that is no archive."""
    folder = path.parent.name
    # A hidden folder may hold all that was given; only those of systems say something of the file.
    telling = not folder.startswith(".") or is_trash(folder)
    return Upload(
        shown=path.name,
        group=str(path.parent),
        parts=(folder, path.name) if folder and telling else (path.name,),
        kohya_folder=_kohya_folder((folder,)),
        read=lambda: _read_file(path, limits),
    )


def _read_file(path: Path, limits: Limits) -> bytes:
    with read_errors(path, DatasetError):
        if path.stat().st_size > limits.member_bytes:
            raise too_big(path.name, limits.member_bytes)
        return path.read_bytes()


def _kohya_folder(parents: Sequence[str]) -> str:
    """`10_cat` for a file in such a folder, empty otherwise. `2024_summer` counts as a year."""
    for name in reversed(parents):
        match = KOHYA_FOLDER.fullmatch(name)
        if match and 1 <= int(match[1]) <= MOST_REPEATS:
            return f"{int(match[1])}_{portable_name(match[2], 'picture')}"
    return ""
