"""From uploaded files to a folder of clean pictures with captions. The originals are only read.

Pictures are decoded and written anew as PNG: same pixels, upright, no metadata, nothing hidden behind them.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lora_studio.catalog import ADVISED_PICTURES
from lora_studio.data.archives import Limits, is_archive, open_archive, too_big
from lora_studio.data.cleaning import clean_picture
from lora_studio.errors import DatasetError

CAPTION_ENDINGS = (".txt", ".caption")
MOST_PICTURES = 500
MOST_CAPTION_BYTES = 64_000
FEW_PICTURES = 5
KOHYA_FOLDER = re.compile(r"(\d{1,4})_(.+)")
MOST_REPEATS = 1000
RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)", re.IGNORECASE)
QUICK_COMPRESSION_ABOVE = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Ingested:
    """`refused` and `warnings` hold a sentence each; `refused` names the file and says why."""

    images: int
    captions: int
    refused: tuple[str, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class _Upload:
    """A file to look at. `group` is the folder it came from: captions and pictures of one belong together."""

    shown: str
    group: str
    name: str
    kohya_folder: str
    read: Callable[[], bytes]

    @property
    def stem(self) -> str:
        return Path(self.name).stem.casefold()

    @property
    def is_caption(self) -> bool:
        return self.name.lower().endswith(CAPTION_ENDINGS)


@dataclass(frozen=True, kw_only=True)
class _Written:
    upload: _Upload
    path: Path


@dataclass(kw_only=True)
class _Ingest:
    into: Path
    limits: Limits = field(default_factory=Limits)
    pictures: list[_Written] = field(default_factory=list)
    captions: list[tuple[_Upload, str]] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    seen: dict[bytes, str] = field(default_factory=dict)
    surplus: int = 0
    transparent: int = 0


def ingest(files: Sequence[Path], into: Path) -> Ingested:
    """Read pictures, ZIP archives and captions and write `<name>.png` and `<name>.txt` into the empty folder
    `into`; Kohya's `<repeats>_<class>` folders are kept as sub-folders. Raises DatasetError with all reasons
    when no picture is usable."""
    work = _Ingest(into=into)
    for path in files:
        try:
            for upload in _uploads(path, work.limits):
                _take(work, upload)
        except DatasetError as error:
            work.refused.append(str(error))
    if not work.pictures:
        raise _nothing_usable(work.refused)
    _keep_kohya_layout(work)
    captions = _write_captions(work)
    _remark(work)
    return Ingested(
        images=len(work.pictures),
        captions=captions,
        refused=tuple(work.refused),
        warnings=tuple(work.warnings),
    )


def read_caption_text(content: bytes, shown: str) -> str:
    """The caption in a file's bytes. Raises DatasetError when it is not UTF-8 text of a caption's length."""
    if len(content) > MOST_CAPTION_BYTES:
        raise DatasetError(f"{shown} is too long for a caption.", path=shown)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise DatasetError(
            f"{shown} is not UTF-8 text.", "Save it again with the encoding UTF-8.", path=shown
        )
    return text.strip()


def _uploads(path: Path, limits: Limits) -> Iterator[_Upload]:
    if is_archive(path):
        with open_archive(path, limits) as members:
            for member in members:
                yield _Upload(
                    shown=f"{path.name}: {'/'.join(member.parts)}",
                    group="/".join((str(path), *member.parts[:-1])),
                    name=member.parts[-1],
                    kohya_folder=_kohya_folder(member.parts[:-1]),
                    read=member.read,
                )
    else:
        yield _Upload(
            shown=path.name,
            group=str(path.parent),
            name=path.name,
            kohya_folder=_kohya_folder((path.parent.name,)),
            read=lambda: _read_file(path, limits),
        )


def _read_file(path: Path, limits: Limits) -> bytes:
    try:
        if path.stat().st_size > limits.member_bytes:
            raise too_big(path.name, limits.member_bytes)
        return path.read_bytes()
    except OSError as error:
        raise DatasetError(f"{path.name} can't be read: {error.strerror or error}.", path=path) from error


def _take(work: _Ingest, upload: _Upload) -> None:
    if not upload.is_caption and len(work.pictures) >= MOST_PICTURES:
        work.surplus += 1
        return
    try:
        content = upload.read()
        if not upload.is_caption:
            _take_picture(work, upload, content)
        elif text := read_caption_text(content, upload.shown):
            work.captions.append((upload, text))
    except DatasetError as error:
        work.refused.append(str(error))


def _take_picture(work: _Ingest, upload: _Upload, content: bytes) -> None:
    clean = clean_picture(upload.shown, content)
    folder = work.into / upload.kohya_folder
    folder.mkdir(exist_ok=True)
    path = folder / _free_name(work.names, Path(upload.name).stem)
    width, height = clean.image.size
    buffer = io.BytesIO()
    level = 1 if width * height > QUICK_COMPRESSION_ABOVE else 6
    clean.image.save(buffer, "PNG", compress_level=level)
    _write(path, buffer.getvalue())
    work.pictures.append(_Written(upload=upload, path=path))
    work.transparent += clean.was_transparent
    if clean.was_animated:
        work.warnings.append(f"{upload.shown} is animated; its first picture is used.")
    key = hashlib.sha256(f"{width} {height} ".encode() + clean.image.tobytes()).digest()
    first = work.seen.setdefault(key, upload.shown)
    if first != upload.shown:
        work.warnings.append(f"{upload.shown} is the same picture as {first}.")


def _free_name(taken: set[str], stem: str) -> str:
    """A file name that every system can keep, and that no picture of the set has, whatever its folder."""
    plain = "".join(letter for letter in unicodedata.normalize("NFC", stem) if letter.isprintable())
    plain = re.sub(r'[<>:"/\\|?*]', "_", plain)[:80].strip(" .") or "picture"
    if RESERVED.fullmatch(plain):
        plain = f"_{plain}"
    name, number = plain, 1
    while name.casefold() in taken:
        number += 1
        name = f"{plain}-{number}"
    taken.add(name.casefold())
    return f"{name}.png"


def _kohya_folder(parents: Sequence[str]) -> str:
    """`10_cat` for a file in such a folder, empty otherwise. `2024_summer` counts as a year."""
    for name in reversed(parents):
        match = KOHYA_FOLDER.fullmatch(name)
        if match and 1 <= int(match[1]) <= MOST_REPEATS:
            words = re.sub(r'[<>:"/\\|?*\x00-\x1f]', "_", match[2])[:80].strip(" .")
            return f"{int(match[1])}_{words or 'picture'}"
    return ""


def _keep_kohya_layout(work: _Ingest) -> None:
    """Beside `<repeats>_<class>` folders, training passes over loose pictures: they get one as well."""
    folders = [written.path.parent.name for written in work.pictures if written.upload.kohya_folder]
    loose = [written for written in work.pictures if not written.upload.kohya_folder]
    if not folders or not loose:
        return
    folder = work.into / f"1_{folders[0].partition('_')[2]}"
    folder.mkdir(exist_ok=True)
    moved = {}
    for written in loose:
        moved[written.path] = written.path.replace(folder / written.path.name)
    work.pictures = [
        _Written(upload=written.upload, path=moved.get(written.path, written.path))
        for written in work.pictures
    ]
    work.warnings.append(
        f"{_count(len(loose))} outside the <repeats>_<class> folders went into {folder.name}."
    )


def _write_captions(work: _Ingest) -> int:
    """Put each caption beside its picture: same folder and name, or else same name anywhere. Returns how many
    pictures have one."""
    nearby: dict[tuple[str, str], list[Path]] = {}
    anywhere: dict[str, list[Path]] = {}
    for written in work.pictures:
        nearby.setdefault((written.upload.group, written.upload.stem), []).append(written.path)
        anywhere.setdefault(written.upload.stem, []).append(written.path)
    captioned: dict[Path, str] = {}
    # .txt before .caption, as training prefers it.
    for upload, text in sorted(work.captions, key=lambda pair: not pair[0].name.lower().endswith(".txt")):
        pictures = nearby.get((upload.group, upload.stem)) or anywhere.get(upload.stem, [])
        free = [path for path in pictures if path not in captioned]
        if not pictures:
            work.refused.append(f"{upload.shown} belongs to no picture: none has its name.")
        elif not free:
            work.warnings.append(
                f"{upload.shown} was left out: its picture has a caption from {captioned[pictures[0]]}."
            )
        for path in free:
            captioned[path] = upload.shown
            _write(path.with_suffix(".txt"), f"{text}\n".encode())
    return len(captioned)


def _remark(work: _Ingest) -> None:
    if work.surplus:
        work.refused.append(f"{_count(work.surplus)} left out: a set holds at most {MOST_PICTURES}.")
    if work.transparent:
        work.warnings.append(f"{_count(work.transparent)} with transparent parts: they are white now.")
    if len(work.pictures) < FEW_PICTURES:
        work.warnings.append(
            f"{_count(len(work.pictures))} only: {ADVISED_PICTURES} different ones teach more."
        )


def _write(path: Path, content: bytes) -> None:
    try:
        with path.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise DatasetError(
            f"{path.name} can't be written: {error.strerror or error}.", "Free some disk space.", path=path
        ) from error


def _nothing_usable(refused: list[str]) -> DatasetError:
    wanted = f"Give at least one PNG, JPEG, WebP or BMP picture; {ADVISED_PICTURES} work best."
    if not refused:
        return DatasetError("There are no pictures.", wanted)
    more = f" And {len(refused) - 5} more." if len(refused) > 5 else ""
    return DatasetError(f"There is no usable picture. {' '.join(refused[:5])}{more}", wanted)


def _count(pictures: int) -> str:
    return f"{pictures} picture{'' if pictures == 1 else 's'}"
