"""The library of LoRAs and images: list, search, import, rename, delete, undo.

Files and folders are the truth, `models/lora/<slug>` for a LoRA and pictures for images; the store's rows
only make them quick to find, and `scan` makes them again.
"""

from __future__ import annotations

import logging
import re
import shutil
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from lora_studio.access.roles import Role
from lora_studio.access.visitor import STUDIO, Kind, acting, visitor
from lora_studio.data.pixels.thumbnails import thumbnail, thumbnail_folder
from lora_studio.errors import StoreError
from lora_studio.events import ShouldStop, never_stop
from lora_studio.files import check_room, copy_atomically, disk_errors
from lora_studio.generation.reproducible import is_drawn
from lora_studio.images import input_store
from lora_studio.images.image_records import request_in
from lora_studio.images.image_scan import AT_ONCE, PICTURES, UNREADABLE, ImageScan
from lora_studio.lora.checkpoints import use_checkpoint
from lora_studio.lora.file.alphas import config_beside
from lora_studio.lora.file.lora_files import LONGEST_TITLE, LoraHeader, file_name, find_file, read_header
from lora_studio.lora.library_card import renew_card
from lora_studio.lora.lora_folder import (
    NOTES,
    best_preview,
    draws_as,
    fingerprint,
    free_path,
    move_file,
    read_notes,
    read_record,
    state_of,
    unlisted,
    write_notes,
)
from lora_studio.lora.names import find_slug, given_note, given_tags, given_title
from lora_studio.parsing.plain_text import plain_name, plain_text
from lora_studio.parsing.slugs import LONGEST_SLUG, SLUG, slug_from
from lora_studio.records import ImageRecord, ListedLora, LoraRecord
from lora_studio.request import GeneratedImage, GenerateRequest
from lora_studio.settings import Settings
from lora_studio.store.database import Unstorable
from lora_studio.store.library import NEWEST, Library
from lora_studio.store.trash import Deleted, Trash

logger = logging.getLogger(__name__)

KINDS = ("lora", "image")


def uncounted(read: int) -> None:
    """A listener for those who don't ask how far a scan is."""


class Gallery:
    """The library's front door. Raises StoreError for entries that do not exist or that the visitor may not
    see, NotAllowed for those that aren't theirs to change, ModelFileError for files that are no LoRA."""

    def __init__(self, settings: Settings, library: Library) -> None:
        self._settings, self._library = settings, library
        self._trash = Trash(settings.trash)
        self._lock = threading.RLock()
        self._logged: set[tuple[str, str]] = set()
        self._images = ImageScan(settings, library, self._tell_once)
        self._is_read = False

    def scan(self, should_stop: ShouldStop = never_stop, count: Callable[[int], None] = uncounted) -> None:
        """Make the rows equal the folders. Unreadable files are logged once and not listed; unchanged ones
        are not read again. LoRA files dropped into the library's folder get a folder of their own. `count` is
        told how many more are read."""
        self._scan_loras(should_stop, count)
        self._images.scan(should_stop, count)
        self._is_read = self._is_read or not should_stop()

    def unread(self) -> int:
        """The number of LoRAs and pictures that a scan would read."""
        return len(self._images.new_images()) + len(self._new_loras())

    def loras(
        self, search: str = "", limit: int = -1, offset: int = 0, *, order: str = NEWEST, only: str = ""
    ) -> list[LoraRecord]:
        """LoRAs without metadata, as `Library.loras` finds them, with thumbnails."""
        found = self._library.loras(search, limit, offset, order=order, only=only)
        return [self._shown_lora(record) for record in found]

    def count_loras(self, search: str = "", only: str = "") -> int:
        """The number of LoRAs that a search finds."""
        return self._library.count_loras(search, only)

    def lora_choices(self) -> dict[str, list[str]]:
        """The values that `only` of `loras` may name: the kinds, bases and tags that there are."""
        return self._library.lora_choices()

    def listed_loras(self) -> list[ListedLora]:
        """All LoRAs, newest first."""
        return self._library.listed_loras()

    def lora(self, slug: str) -> LoraRecord:
        """A LoRA with its metadata, also one that came or changed after the last scan."""
        if not SLUG.fullmatch(slug):
            raise StoreError(f"There is no LoRA {slug[:64]!r} in the library.", "Pick one from the list.")
        folder = self._settings.loras / slug
        if fingerprint(folder) != self._library.lora_fingerprint(slug):
            with self._lock:
                self._read_lora(folder)
        return self._shown_lora(self._library.lora(slug))

    def find_lora(self, name: str) -> LoraRecord:
        """The LoRA of a name: its slug, its title, or the former name of its file. Raises StoreError, also
        for a title that several have."""
        return self.lora(find_slug(name, self._settings.loras))

    def import_lora(self, path: Path, *, anew: bool = False) -> LoraRecord:
        """Copy a LoRA file into the library; the original stays. Unless `anew`, an equal LoRA of the library
        is returned instead. A failure leaves nothing behind. Raises BrokenFile, UnknownFormat, StoreError."""
        visitor().needs(Role.CREATOR)
        path = Path(path)
        header = read_header(path)
        with self._lock:
            for record in map(self._library.lora, self._library.slugs_of(header.tensor_hash)):
                if not anew and draws_as(record.path, header):
                    return self._shown_lora(record)
            with visitor().room(path.stat().st_size):
                return self._place(path, header, keep_original=True)

    def rename_lora(self, slug: str, title: str) -> LoraRecord:
        """Give a LoRA another title; slug, file and hash stay. Raises ConfigError for an empty title."""
        return self.say_of_lora(slug, "name", {"title": given_title(title)})

    def describe_lora(self, slug: str, *, tags: str, note: str) -> LoraRecord:
        """Give a LoRA tags, with commas between them, and a note. Raises ConfigError for too long ones."""
        return self.say_of_lora(slug, "note", {"tags": given_tags(tags), "note": given_note(note)})

    def mark_lora(self, slug: str, favourite: bool) -> LoraRecord:
        """Make a LoRA a favourite, or not any more."""
        return self.say_of_lora(slug, "mark", {"favourite": favourite})

    def say_of_lora(self, slug: str, what: str, facts: Mapping[str, Any]) -> LoraRecord:
        """Write what people say of a LoRA beside its file, and its model card anew."""
        folder = Path(self._own_lora(slug).path).parent
        with self._lock, disk_errors(f"The {what} of {slug}", "saved"):
            notes = read_notes(folder)
            if not notes and (folder / NOTES).is_file():
                raise StoreError(f"{NOTES} of {slug} can't be read.", "Repair or remove that file.")
            write_notes(folder, {**notes, **facts})
            renew_card(folder)
            self._read_lora(folder)
        return self.lora(slug)

    def use_checkpoint(self, slug: str, step: int) -> int:
        """Make the checkpoint of `step` the LoRA's file. Returns the step that was used before: the same call
        with it is the way back. Raises StoreError for a step that was not kept."""
        folder = Path(self._own_lora(slug).path).parent
        with self._lock, disk_errors(f"The checkpoint of {slug}", "put in place"):
            before = use_checkpoint(folder, step)
            self._read_lora(folder)
        return before

    def delete_lora(self, slug: str) -> str:
        """Move a LoRA's folder to the trash, also one that can't be read; returns the token for `undo`."""
        try:
            title = self._own_lora(slug).title
        except StoreError:
            folder = self._settings.loras / slug
            if not (SLUG.fullmatch(slug) and fingerprint(folder) and visitor().owns(Kind.LORA, slug)):
                raise
            title = slug
        with self._lock:
            token = self._trash.put("lora", title, [self._settings.loras / slug])
            self._library.remove_lora(slug)
            visitor().claims(Kind.DELETED, token)
        return token

    def _own_lora(self, slug: str) -> LoraRecord:
        record = self.lora(slug)
        visitor().must_own(Kind.LORA, slug)
        return record

    def undo(self, token: str) -> None:
        """Bring a deleted LoRA or image back; a LoRA whose place is taken gets a number."""
        with self._lock:
            for path in self._trash.restore(token, KINDS, free_path):
                old = path / file_name(re.sub(r"-\d+$", "", path.name))
                if path.is_dir() and old.is_file() and find_file(path) == old:
                    old.rename(path / file_name(path.name))
                if path.is_dir():
                    visitor().claims(Kind.LORA, path.name, new=False)
                else:
                    visitor().claims(Kind.IMAGE, str(path), new=False)
            self.scan()

    def deleted(self) -> list[Deleted]:
        """Deletions that `undo` can bring back, newest first."""
        return self._trash.entries(KINDS)

    def add_image(self, image: GeneratedImage) -> ImageRecord:
        """List a picture that the generator has just written."""
        record = self._images.read(Path(image.path), image.request)
        if record is None:
            raise StoreError(f"The picture {Path(image.path).name} is gone.", "Make it again.")
        visitor().claims(Kind.IMAGE, record.path)
        return self._shown_image(record)

    def list_images(self, paths: Iterable[Path]) -> None:
        """List pictures in the image folder by the settings in their files."""
        for path in paths:
            self._images.read(path)
            visitor().claims(Kind.IMAGE, str(path))

    def forget_inputs(self) -> None:
        """Remove pictures to redraw that no picture of the gallery or its trash was made from, once they are
        `unused`. Files that can't be removed stay."""
        if not self._is_read:
            return  # what is made from them isn't known yet
        old = input_store.unused(self._settings.inputs)
        if not old:
            return
        trash = (path for path in self._settings.trash.rglob("*") if path.suffix in PICTURES)
        with acting(STUDIO):  # those of everybody
            made = [record.request for record in self._library.images(limit=-1)]
        made += [request.model_dump() for path in trash if (request := request_in(path))]
        kept = {values.get(name) for values in made for name in ("image", "mask_image")}
        for path in old:
            if path.stem not in kept:
                with suppress(OSError):
                    path.unlink()

    def images(self, search: str = "", limit: int = 60, offset: int = 0, only: str = "") -> list[ImageRecord]:
        """Images, newest first, as `Library.images` finds them, with thumbnails."""
        return [self._shown_image(record) for record in self._library.images(search, limit, offset, only)]

    def images_with(self, slug: str, limit: int = 12) -> list[ImageRecord]:
        """The newest images that a LoRA was used for."""
        return [self._shown_image(record) for record in self._library.images_with(slug, limit)]

    def count_images_with(self, slug: str) -> int:
        """The number of images that a LoRA was used for."""
        return self._library.count_images_with(slug)

    def count_images(self, search: str = "", only: str = "") -> int:
        """The number of images that a search finds, each content once."""
        return self._library.count_images(search, only)

    def drawn_before(self, requests: Sequence[GenerateRequest]) -> list[ImageRecord | None]:
        """The picture that each request, with all values filled in, would draw again; None where there is
        none."""
        candidates = self._library.images_of_seeds(request.seed or 0 for request in requests)
        found = [
            next((record for record in candidates if is_drawn(request, record, self._settings)), None)
            for request in requests
        ]
        return [record and self._shown_image(record) for record in found]

    def image(self, image_id: str) -> ImageRecord:
        return self._shown_image(self._library.image(image_id))

    def delete_image(self, image_id: str) -> str:
        """Move a picture to the trash, copies included; returns the token for `undo`."""
        record = self._library.image(image_id)
        paths = self._library.image_paths(image_id)
        visitor().must_own(Kind.IMAGE, paths[0] if paths else record.path)
        with self._lock:
            here = [Path(path) for path in paths if Path(path).is_file()]
            token = self._trash.put("image", record.prompt[:LONGEST_TITLE] or Path(record.path).name, here)
            self._library.remove_images(paths)
            visitor().claims(Kind.DELETED, token)
        return token

    def _scan_loras(self, should_stop: ShouldStop, count: Callable[[int], None]) -> None:
        with self._lock, disk_errors("The library", "read"):
            self._settings.loras.mkdir(parents=True, exist_ok=True)
            for path in sorted(self._settings.loras.iterdir()):
                self._take_in(path)
        new = self._new_loras()
        for begin in range(0, len(new), AT_ONCE):
            if should_stop():
                return
            with self._lock:  # others get their turn between two
                self._read_loras(new[begin : begin + AT_ONCE])
            count(len(new[begin : begin + AT_ONCE]))
        with self._lock:
            for slug in self._library.lora_fingerprints():
                if not fingerprint(self._settings.loras / slug):
                    self._library.remove_lora(slug)

    def _new_loras(self) -> list[Path]:
        """Folders whose rows are missing or describe another state."""
        with disk_errors("The library", "read"):
            folders = [path for path in self._settings.loras.iterdir() if SLUG.fullmatch(path.name)]
        rows = self._library.lora_fingerprints()
        present = {folder: fingerprint(folder) for folder in folders}
        return [folder for folder, state in present.items() if state and state != rows.get(folder.name)]

    def _take_in(self, path: Path) -> None:
        """Give a file that was dropped into the library a folder, and a folder a name that can be a slug."""
        is_file = path.is_file() and path.suffix.lower() == ".safetensors"
        is_folder = path.is_dir() and not SLUG.fullmatch(path.name)
        if path.name.startswith(".") or not (is_file or is_folder):
            return
        try:
            header = read_header(path if is_file else find_file(path))
            if is_file:
                self._place(path, header, keep_original=False)
                return
            if not (path / NOTES).exists() and not header.metadata.get("modelspec.title"):
                write_notes(path, {"title": plain_text(path.name, LONGEST_TITLE)})
            path.rename(self._free_folder(path.name))
        except UNREADABLE as error:
            self._tell_once(path, error)

    def _place(self, path: Path, header: LoraHeader, *, keep_original: bool) -> LoraRecord:
        """Copy or move a LoRA file into a folder of its own, where it appears only when it is complete.
        Without a title in its metadata, its file name is its title."""
        if keep_original:
            check_room(self._settings.loras, path.name, path.stat().st_size, self._settings)
        folder = self._free_folder(path.stem)
        target = folder / file_name(folder.name)
        with disk_errors(plain_name(path), "brought into the library"):
            folder.mkdir(parents=True)
            try:
                if not header.metadata.get("modelspec.title"):
                    write_notes(folder, {"title": plain_text(path.stem, LONGEST_TITLE)})
                if keep_original:
                    copy_atomically(path, target)
                    if (config := config_beside(path, header.metadata, header.tensors)) is not None:
                        shutil.copyfile(config, folder / config.name)
                else:
                    move_file(path, target)
                record, state = read_record(folder), fingerprint(folder)
                self._library.put_lora(record, state, best_preview(record.previews))
            except BaseException:
                if not keep_original and (target.exists() or target.is_symlink()):
                    target.rename(path)
                shutil.rmtree(folder, ignore_errors=True)
                raise
        if keep_original:
            visitor().claims(Kind.LORA, folder.name)
        return self._shown_lora(record)

    def _read_loras(self, folders: Sequence[Path]) -> None:
        """Write the rows of LoRAs in one transaction. What can't be read or stored so is tried by itself."""
        rows, alone = [], []
        for folder in folders:
            state = fingerprint(folder)
            try:
                record = read_record(folder)
                rows.append((record, state, best_preview(record.previews)))
                if remark := unlisted(folder):
                    self._tell_once(folder / "others", remark)
            except UNREADABLE:
                alone.append(folder)
        try:
            self._library.put_loras(rows)
        except Unstorable:
            alone = list(folders)
        for folder in alone:
            self._read_lora(folder)

    def _read_lora(self, folder: Path) -> None:
        state = fingerprint(folder)
        try:
            record = read_record(folder)
            self._library.put_lora(record, state, best_preview(record.previews))
            if remark := unlisted(folder):
                self._tell_once(folder / "others", remark)
        except UNREADABLE as error:
            if isinstance(error, StoreError) and not isinstance(error, Unstorable):
                raise
            if state:
                self._tell_once(folder, error)
            self._library.remove_lora(folder.name)

    def _shown_lora(self, record: LoraRecord) -> LoraRecord:
        best = best_preview(record.previews)
        return replace(record, thumbnail=self._thumbnail(best)) if best else record

    def _shown_image(self, record: ImageRecord) -> ImageRecord:
        return replace(record, thumbnail=self._thumbnail(record.path))

    def _thumbnail(self, picture: str) -> str:
        return thumbnail(Path(picture), thumbnail_folder(Path(picture), self._settings))

    def _free_folder(self, name: str) -> Path:
        return free_path(self._settings.loras / (slug_from(name)[:LONGEST_SLUG].strip("-") or "lora"))

    def _tell_once(self, path: Path, error: Exception | str) -> None:
        key = (str(path), state_of(path))
        if key not in self._logged:
            self._logged.add(key)
            logger.warning("%s is not in the library: %s", plain_name(path), error)
