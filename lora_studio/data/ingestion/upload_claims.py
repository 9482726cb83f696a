"""The dataset configs among uploaded files, and what they say of the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

from lora_studio.data.ingestion.subset_claims import Contents, Parts, SubsetClaims
from lora_studio.data.ingestion.uploaded_config import MOST_BYTES, read_uploaded
from lora_studio.data.ingestion.uploaded_files import Upload, uploaded_file
from lora_studio.data.pixels.masks import owner_stem
from lora_studio.data.pixels.stray_files import leftover
from lora_studio.errors import StudioError
from lora_studio.parsing.archives import Limits, is_archive, open_archive

MOST_LOOKED_AT = 20
"""Files of a kind that configs are looked for among."""
LINK = "a link out of the folder: left out"


@dataclass(kw_only=True)
class UploadClaims:
    """The configs of an upload, one for each archive and folder, and sentences on what doesn't fit."""

    of_archives: dict[Path, SubsetClaims] = field(default_factory=dict)
    of_folders: dict[Path, SubsetClaims] = field(default_factory=dict)
    of_loose: SubsetClaims | None = None
    remarks: list[str] = field(default_factory=list)
    _loose: set[Path] = field(default_factory=set)
    _taken: set[Path] = field(default_factory=set)

    @classmethod
    def of(cls, files: Sequence[Path], limits: Limits) -> UploadClaims:
        claims = cls()
        plain = []
        for path in files:
            if is_archive(path):
                claims._look_into(path, limits)
            else:
                plain.append(path)
        claims._look_among(plain, limits)
        return claims

    @property
    def each(self) -> list[SubsetClaims]:
        loose = [self.of_loose] if self.of_loose else []
        return [*self.of_folders.values(), *self.of_archives.values(), *loose]

    def _look_into(self, path: Path, limits: Limits) -> None:
        try:
            with open_archive(path, limits) as members:
                contents = {member.parts: member.read for member in members if not leftover(member.parts)}
                found = self._first(contents, f"{path.name}: ", str(path))
        except StudioError:
            return  # said where it is unpacked
        if found is not None:
            self.of_archives[path] = found

    def _look_among(self, files: Sequence[Path], limits: Limits) -> None:
        """A config holds for what its folder has; alone in a browser's folder, for all loose files."""
        candidates = {path.parts: path for path in files if _may_be(path.name) and _is_small(path)}
        for path in (candidates[parts] for parts in _nearest(candidates)):
            root = path.parent
            if any(root.is_relative_to(other) for other in self.of_folders):
                continue
            below = [other for other in files if other.is_relative_to(root)]
            is_alone = all(_may_be(other.name) for other in below)
            if is_alone and self.of_loose:
                continue
            given = files if is_alone else below
            relative = {
                (other.name,) if is_alone else other.relative_to(root).parts: other for other in given
            }
            contents = {parts: uploaded_file(other, limits).read for parts, other in relative.items()}
            found = self._first(contents, "", str(root), at=path.relative_to(root).parts)
            if found is not None and is_alone:
                self.of_loose, self._loose = found, set(files)
            elif found is not None:
                self.of_folders[root] = found

    def _first(self, contents: Contents, before: str, root: str, at: Parts = ()) -> SubsetClaims | None:
        """The claims of the config at `at`, else nearest to the root; None where no picture has one."""
        first: SubsetClaims | None = None
        for parts in [at] if at else _nearest(contents):
            shown = f"{before}{'/'.join(parts)}"
            try:
                config = read_uploaded(shown, contents[parts]())
            except StudioError as error:
                self.remarks.append(f"{error} It is not used.")
                continue
            if config is None:
                continue
            if first is not None:
                self.remarks.append(f"{shown} is not used: {first.config.shown} says what the subsets are.")
                continue
            claims = SubsetClaims.of(config, parts, contents, root=root, taken=self._taken)
            self.remarks += claims.remarks
            if claims.has_pictures:
                first = claims
            else:
                self.remarks.append(f"{shown} is not used: its pictures are not among the files.")
        return first

    def may_be_mask(self, path: Path) -> bool:
        """Whether a file comes after the pictures: if it is a mask depends on them."""
        upload = Upload(shown="", group="", parts=(path.parent.name, path.name), kohya_folder="", read=bytes)
        return owner_stem(self.relabel(path)(upload).parts) is not None

    def relabel(self, path: Path) -> Callable[[Upload], Upload]:
        """A function that gives an upload from `path` the place that a config has for it."""
        if archive := self.of_archives.get(path):
            return lambda upload: archive.relabelled(upload, upload.parts)
        root = next((root for root in self.of_folders if path.is_relative_to(root)), None)
        if root is not None:
            claims = self.of_folders[root]
            if not path.resolve().is_relative_to(root.resolve()):
                return lambda upload: replace(upload, left_out=LINK)
            parts = path.relative_to(root).parts
            return lambda upload: claims.relabelled(replace(upload, shown="/".join(parts)), parts)
        if self.of_loose and path in self._loose:
            loose = self.of_loose
            return lambda upload: loose.relabelled(upload, (path.name,))
        return lambda upload: upload


def _may_be(name: str) -> bool:
    return name.lower().endswith((".toml", ".json"))


def _is_small(path: Path) -> bool:
    try:
        return path.stat().st_size <= MOST_BYTES or path.suffix.lower() == ".toml"
    except OSError:
        return False


def _nearest(contents: Iterable[Parts]) -> Iterator[Parts]:
    in_order = sorted(contents, key=lambda parts: (len(parts), parts))
    for ending in (".toml", ".json"):
        named = (parts for parts in in_order if parts[-1].lower().endswith(ending))
        yield from islice(named, MOST_LOOKED_AT)
