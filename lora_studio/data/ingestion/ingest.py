"""Ingestion of uploaded files into a folder of clean pictures with captions and masks. The originals are only
read.

Pictures are decoded and written anew as PNG: same pixels, upright, no metadata, nothing hidden behind them.
"""

from __future__ import annotations

import io
import os
import re
import zlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from PIL import Image

from lora_studio.catalog import ADVISED_PICTURES
from lora_studio.data.caption_tables import is_table
from lora_studio.data.ingestion.caption_pairing import (
    OF_CONFIG,
    Caption,
    PictureFiles,
    Written,
    encoding_remarks,
    paired,
    read_caption_table,
    read_captions,
)
from lora_studio.data.ingestion.stored_subsets import stored_config
from lora_studio.data.ingestion.upload_claims import UploadClaims
from lora_studio.data.ingestion.uploaded_files import Upload, uploads_in
from lora_studio.data.pixels.colour_profiles import Colours
from lora_studio.data.pixels.decoding import WANTED, opacity, opened, sum_of
from lora_studio.data.pixels.masks import ENDING, is_mask, looks_like_a_mask, owner_stem, same_shape
from lora_studio.data.pixels.picture_remarks import colour_remarks, named, shape_remarks
from lora_studio.data.pixels.sanitize import PixelBudget, cleaned_picture
from lora_studio.data.pixels.stray_files import Leftover, leftover, leftover_remarks
from lora_studio.data.training_set.run_subsets import SUBSETS
from lora_studio.errors import DatasetError
from lora_studio.events import Emit, PhaseAdvanced, ShouldStop, ignore, never_stop
from lora_studio.files import disk_errors
from lora_studio.parsing.archives import Limits, is_archive
from lora_studio.parsing.file_names import portable_name
from lora_studio.parsing.text_encodings import DecodedText

MOST_PICTURES = 500
FEW_PICTURES = 5
PHASE = "ingest"
ABOUT_ONE = re.compile(r"1 picture \(([^,)]{1,200})")
"""A remark on a single picture, whose name it gives."""
STOPPED = "Reading was stopped; nothing of it is kept."


@dataclass(frozen=True, kw_only=True)
class Ingested:
    """Counts of an upload. `refused` and `warnings` hold a sentence each; `refused` names the file and says
    why. `transparent` are file names of written pictures that had transparent parts."""

    images: int
    captions: int
    refused: tuple[str, ...]
    warnings: tuple[str, ...]
    transparent: tuple[str, ...] = ()


@dataclass(kw_only=True)
class _Seen:
    """Names of files that remarks are made on, by kind."""

    transparent: dict[str, str] = field(default_factory=dict)
    """Names for people by the names of the written files."""
    animated: list[str] = field(default_factory=list)
    colours: list[tuple[str, Colours]] = field(default_factory=list)
    sizes: list[tuple[str, tuple[int, int]]] = field(default_factory=list)
    double: list[tuple[str, str]] = field(default_factory=list)
    leftovers: list[tuple[Leftover, str]] = field(default_factory=list)
    left_out: dict[str, list[str]] = field(default_factory=dict)
    """Names of files by the reason, which a dataset config gives."""
    encodings: list[tuple[str, Sequence[DecodedText]]] = field(default_factory=list)
    masks: list[str] = field(default_factory=list)
    surplus: int = 0


@dataclass(kw_only=True)
class _Ingest:
    into: Path
    limits: Limits = field(default_factory=Limits)
    budget: PixelBudget = field(default_factory=PixelBudget)
    pictures: list[Written] = field(default_factory=list)
    regularisation: int = 0
    """The number of the pictures that are for it."""
    captions: list[Caption] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    shown: dict[str, str] = field(default_factory=dict)
    shelf: PictureFiles = field(default_factory=PictureFiles)
    claims: UploadClaims = field(default_factory=UploadClaims)
    seen: _Seen = field(default_factory=_Seen)


def ingest(
    files: Sequence[Path], into: Path, emit: Emit = ignore, should_stop: ShouldStop = never_stop
) -> Ingested:
    """Read pictures, ZIP archives, captions and masks and write `<name>.png`, `<name>.txt` and
    `<name>-masklabel.png` into the empty folder `into`; Kohya's `<repeats>_<class>` folders are kept as
    sub-folders, and the subsets of a dataset config as such, with a config of their own beside them. Emits
    PhaseAdvanced in files, with the total 0 where an archive hides it. Raises DatasetError with all reasons
    when no picture is usable, and when stopped."""
    work = _Ingest(into=into)
    work.claims = UploadClaims.of(files, work.limits)
    work.refused += work.claims.remarks
    done, total = 0, 0 if any(map(is_archive, files)) else len(files)
    # What may be a mask comes after the pictures: whether it is one depends on them.
    for path in sorted(files, key=lambda path: work.claims.may_be_mask(path)):
        try:
            for upload in uploads_in(path, work.limits, work.claims.relabel(path)):
                if should_stop():
                    break
                _take(work, upload)
                done += 1
                emit(PhaseAdvanced(phase=PHASE, done=done, total=total))
        except DatasetError as error:
            work.refused.append(str(error))
        if should_stop():
            raise DatasetError(STOPPED)
    if all(written.upload.is_reg for written in work.pictures):
        raise _nothing_usable([*work.refused, *leftover_remarks(work.seen.leftovers)])
    _keep_kohya_layout(work)
    captions = _write_captions(work)
    _write_subsets(work)
    _remark(work)
    return Ingested(
        images=len(work.pictures) - work.regularisation,
        captions=captions,
        refused=tuple(work.refused),
        warnings=tuple(work.warnings),
        transparent=tuple(work.seen.transparent),
    )


def _take(work: _Ingest, upload: Upload) -> None:
    if kind := leftover(upload.parts):
        work.seen.leftovers.append((kind, upload.shown))
        return
    if upload.left_out is not None:
        if upload.left_out:
            work.seen.left_out.setdefault(upload.left_out, []).append(upload.shown)
        return
    is_text = upload.is_caption or is_table(upload.name)
    alike = work.regularisation if upload.is_reg else len(work.pictures) - work.regularisation
    if not is_text and alike >= MOST_PICTURES:
        work.seen.surplus += 1
        return
    try:
        content = upload.read()
        if upload.is_caption:
            ways: list[DecodedText] = []
            work.captions += read_captions(upload, content, ways)
            if ways:
                work.seen.encodings.append((upload.shown, ways))
        elif is_text:
            work.captions += read_caption_table(upload, content)
        elif not _take_mask(work, upload, content):
            _take_picture(work, upload, content)
    except DatasetError as error:
        work.refused.append(str(error))


def _take_picture(work: _Ingest, upload: Upload, content: bytes) -> None:
    with cleaned_picture(upload.shown, content, budget=work.budget) as clean:
        folder = work.into / upload.kohya_folder
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / _free_name(work.names, upload.stem)
        _write_picture(path, clean.image)
        sum_ = sum_of(clean.image)
    if upload.alpha_mask and clean.was_transparent:
        _write_alpha(work, upload, content, path)
    if upload.named_caption:
        caption = Caption(
            shown=upload.shown,
            text=upload.named_caption,
            rank=OF_CONFIG,
            group=upload.group,
            name=upload.name,
        )
        work.captions.append(caption)
    written = Written(upload=upload, path=path, size=clean.image.size)
    work.pictures.append(written)
    work.regularisation += upload.is_reg
    work.shelf.add(written)
    work.seen.colours.append((upload.shown, clean.colours))
    work.seen.sizes.append((upload.shown, clean.image.size))
    if clean.was_transparent:
        work.seen.transparent[path.name] = upload.shown
    if clean.was_animated:
        work.seen.animated.append(upload.shown)
    first = work.shown.setdefault(sum_, upload.shown)
    if first != upload.shown:
        work.seen.double.append((upload.shown, first))


def _take_mask(work: _Ingest, upload: Upload, content: bytes) -> bool:
    """Write an upload that is a mask beside its pictures; False if it is none. Raises DatasetError."""
    owner, sure = owner_stem(upload.parts), is_mask(upload.stem)
    if owner is None:
        return False
    beside = upload.group.replace("\\", "/").rpartition("/")[0]
    if upload.mask_groups:
        pictures = work.shelf.find_near(owner, *upload.mask_groups)
    else:
        pictures = work.shelf.find(owner, upload.group, beside)
    if not pictures:
        if sure:
            raise DatasetError(f"{upload.shown} is the mask of no picture: none has its name.")
        return False
    with cleaned_picture(upload.shown, content, colours=False, budget=work.budget) as clean:
        if not sure and not looks_like_a_mask(clean.image):
            return False
        for picture in pictures:
            if not same_shape(clean.image.size, picture.size):
                raise DatasetError(f"The mask {upload.shown} has another shape than its picture.")
            path = _mask_of(picture.path)
            if not path.exists():
                _write_picture(path, clean.image.getchannel("R"))
    work.seen.masks.append(upload.shown)
    return True


def _write_alpha(work: _Ingest, upload: Upload, content: bytes, picture: Path) -> None:
    """Keep a picture's transparency, which the set has no other place for, as its mask."""
    with opened(upload.shown, content) as image:
        alpha = opacity(upload.shown, image)
    if alpha is not None:
        _write_picture(_mask_of(picture), alpha)
        work.seen.masks.append(upload.shown)


def _mask_of(picture: Path) -> Path:
    return picture.with_name(f"{picture.stem}{ENDING}.png")


def _write_picture(path: Path, image: Image.Image) -> None:
    """A PNG. Only runs of equal bytes are looked for: zlib's search for longer matches takes up to six times
    as long, and makes no smaller files of photographs."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_type=zlib.Z_RLE)
    _write(path, buffer.getvalue())


def _free_name(taken: set[str], stem: str) -> str:
    """A file name that every system can keep, and that no picture of the set has, whatever its folder."""
    plain = portable_name(stem, "picture")
    name, number = plain, 1
    while name.casefold() in taken:
        number += 1
        name = f"{plain}-{number}"
    taken.add(name.casefold())
    return f"{name}.png"


def _keep_kohya_layout(work: _Ingest) -> None:
    """Give loose pictures a `<repeats>_<class>` folder where others have one, since training passes over
    pictures beside such folders."""
    in_folders = (one for one in work.pictures if one.upload.kohya_folder and not one.upload.is_reg)
    folders = [written.path.parent.name for written in in_folders]
    loose = [written for written in work.pictures if not written.upload.kohya_folder]
    if not folders or not loose:
        return
    folder = work.into / f"1_{folders[0].partition('_')[2]}"
    folder.mkdir(exist_ok=True)
    moved = {}
    for written in loose:
        moved[written.path] = written.path.replace(folder / written.path.name)
        mask = _mask_of(written.path)
        if mask.exists():
            mask.replace(folder / mask.name)
    work.pictures = [
        replace(written, path=moved.get(written.path, written.path)) for written in work.pictures
    ]
    work.warnings.append(
        f"{_count(len(loose))} outside the <repeats>_<class> folders went into {folder.name}."
    )


def _write_captions(work: _Ingest) -> int:
    """Put each caption beside its picture. Returns the number of pictures to train on that have one."""
    result = paired(work.captions, PictureFiles.of(work.pictures))
    for path, text in result.captions.items():
        _write(path.with_suffix(".txt"), f"{text}\n".encode())
    work.refused += result.refused
    work.warnings += result.warnings
    return sum(one.path in result.captions for one in work.pictures if not one.upload.is_reg)


def _write_subsets(work: _Ingest) -> None:
    """Put a dataset config beside the pictures that came with one."""
    places = {written.path.parent.relative_to(work.into).as_posix() for written in work.pictures}
    claimed = {one.place for claims in work.claims.each for one in claims.subsets}
    text, remarks = stored_config(work.claims.each, places, sorted(places - claimed))
    if text:
        _write(work.into / SUBSETS, text.encode())
        work.warnings += remarks


def _remark(work: _Ingest) -> None:
    seen = work.seen
    if seen.surplus:
        work.refused.append(f"{_count(seen.surplus)} left out: a set holds at most {MOST_PICTURES}.")
    for reason, files in seen.left_out.items():
        work.refused.append(f"{named(files, one='file', many='files')} {reason}.")
    if work.regularisation:
        work.warnings.append(
            f"{_count(work.regularisation)} for regularisation: a training of this set uses them as such."
        )
    if seen.transparent:
        work.warnings.append(
            f"{named(list(seen.transparent.values()))} with transparent parts: they are white now."
        )
    if seen.animated:
        work.warnings.append(f"{named(seen.animated)} with several pictures in one: the first is used.")
    if seen.double:
        same = [f"{shown} is {first}" for shown, first in seen.double]
        work.warnings.append(f"{named(same)} there twice, which makes them count for more.")
    if seen.masks:
        masks = named(seen.masks, one="mask", many="masks")
        work.warnings.append(f"{masks} taken as such: only what is white in them will be learned.")
    work.warnings += colour_remarks(seen.colours)
    work.warnings += shape_remarks(seen.sizes)
    work.warnings += encoding_remarks(seen.encodings)
    work.warnings += leftover_remarks(seen.leftovers)
    work.warnings += few_remark(len(work.pictures) - work.regularisation)


def few_remark(pictures: int) -> list[str]:
    """A remark on a set of too few pictures; none on enough of them."""
    few = pictures < FEW_PICTURES
    return [f"{_count(pictures)} only: {ADVISED_PICTURES} different ones teach more."] if few else []


def is_about(warning: str, stems: Collection[str]) -> bool:
    """Whether a remark is about one picture alone, or about it and its double, of these names."""
    found = ABOUT_ONE.match(warning) if stems else None
    names = [found[1], *found[1].split(" is ")] if found else []
    return any(portable_name(Path(name).stem, "picture") in stems for name in names)


def _write(path: Path, content: bytes) -> None:
    with disk_errors(path.name, "written", kind=DatasetError), path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _nothing_usable(refused: list[str]) -> DatasetError:
    wanted = f"{WANTED} Give at least one; {ADVISED_PICTURES} work best."
    if not refused:
        return DatasetError("There are no pictures.", wanted)
    rest = f" And {len(refused) - 5} more." if len(refused) > 5 else ""
    reasons = " ".join(reason.removesuffix(WANTED).strip() for reason in refused[:5])  # said at the end
    return DatasetError(f"There is no usable picture. {reasons}{rest}", wanted)


def _count(pictures: int) -> str:
    return f"{pictures} picture{'' if pictures == 1 else 's'}"
