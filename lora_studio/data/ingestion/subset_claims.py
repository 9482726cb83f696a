"""The files of an upload that the subsets of its dataset config name, found by the last parts of paths that
are of another machine: nothing else is looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from lora_studio.data.caption_tables import PICTURES, by_spelling, is_table, read_table
from lora_studio.data.ingestion.uploaded_config import UploadedConfig, UploadedSubset, first_remarks
from lora_studio.data.ingestion.uploaded_files import CAPTION_ENDINGS, Upload
from lora_studio.data.pixels.masks import ENDING, owner_stem
from lora_studio.data.pixels.masks import FOLDERS as MASK_FOLDERS
from lora_studio.data.training_set.dataset_export import folder_name
from lora_studio.data.training_set.export_folder import free_place
from lora_studio.data.training_set.run_subsets import REGULARISATION
from lora_studio.errors import DatasetError
from lora_studio.parsing.archives import harmless_parts

Parts = tuple[str, ...]
Contents = Mapping[Parts, Callable[[], bytes]]
Table = Mapping[Parts, str]
NOT_THERE = "Put it into the folder or ZIP, with {config} in it."
MOST_PARTS = 16
"""Last parts of a path that are compared."""
IN_NO_SUBSET = "in no subset of {config}: left out"


@dataclass(frozen=True, kw_only=True)
class ClaimedFolder:
    """A folder of the upload whose pictures a subset has, and its place in the set. `captions` are those of a
    metadata file, by the pictures' names with and without ending: other pictures and captions don't count."""

    folder: Parts
    place: str
    is_reg: bool = False
    alpha_mask: bool = False
    extension: str = ""
    captions: Mapping[str, str] | None = None
    captions_from: str = ""


@dataclass(frozen=True, kw_only=True)
class ClaimedSubset:
    """A subset with the place of its pictures in the set."""

    subset: UploadedSubset
    place: str


class PathsElsewhere:
    """Paths in an upload by what a config calls them: from its own folder, from the upload, or by as many of
    the last parts as there are the same."""

    def __init__(self, paths: Iterable[Parts], base: Parts) -> None:
        self._base, self._paths = base, set(paths)
        self._by_end: dict[Parts, list[Parts]] = {}
        self._near: dict[Parts, list[Parts]] = {}
        for path in sorted(self._paths):
            is_near = path[: len(base)] == base
            for end in _ends(path):
                self._by_end.setdefault(end, []).append(path)
                if is_near:
                    self._near.setdefault(end, []).append(path)

    def find(self, given: str) -> list[Parts]:
        """The path; several where a name fits them equally well, none where there is none."""
        parts = harmless_parts(given)
        for path in ((*self._base, *parts), parts):
            if path in self._paths:
                return [path]
        longest = next((end for end in reversed(_ends(parts)) if end in self._by_end), ())
        return self._near.get(longest) or self._by_end.get(longest, [])


def _ends(path: Parts) -> list[Parts]:
    """The last part, the last two and so on, whatever the case of their letters."""
    last = tuple(part.casefold() for part in path[-MOST_PARTS:])
    return [last[-count:] for count in range(1, len(last) + 1)]


def _same_end(path: Parts, other: Parts) -> int:
    count = 0
    for one, two in zip(reversed(path), reversed(other), strict=False):
        if one.casefold() != two.casefold():
            break
        count += 1
    return count


def _of_folder(pictures: Iterable[Parts], places: Sequence[Parts]) -> list[Parts]:
    """Paths of a metadata file that may be of the folder with these names, the likeliest last: one file
    often stands for several folders with pictures of the same names."""
    fits = {parts: max(_same_end(parts[:-1], place) for place in places) for parts in pictures}
    best = max(fits.values(), default=0)
    found = [parts for parts, same in fits.items() if same in (best, len(parts) - 1)]
    return sorted(found, key=fits.__getitem__)


@dataclass(kw_only=True)
class SubsetClaims:
    """The files that the subsets of a config claim below `root`, the archive or folder that it is in."""

    config: UploadedConfig
    root: str
    subsets: list[ClaimedSubset] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    _folders: dict[Parts, ClaimedFolder] = field(default_factory=dict)
    _masks: dict[Parts, list[Parts]] = field(default_factory=dict)
    _read: set[Parts] = field(default_factory=set)
    _tables: dict[Parts, Table | DatasetError] = field(default_factory=dict)

    @classmethod
    def of(
        cls, config: UploadedConfig, at: Parts, contents: Contents, *, root: str, taken: set[Path]
    ) -> SubsetClaims:
        """The claims of the config at `at`, whose pictures go to places that are not `taken`."""
        claims = cls(config=config, root=root)
        claims._read.add(at)
        pictures = {parts[:-1] for parts in contents if not _is_text(parts[-1])}
        folders, files = PathsElsewhere(pictures, at[:-1]), PathsElsewhere(contents, at[:-1])
        wanted = [subset for subset in config.subsets if not subset.options.get("is_reg")]
        for subset in config.subsets:
            # A single folder may have been left behind, with the config among the pictures.
            alone = at[:-1] if len(wanted) == 1 and subset is wanted[0] and at[:-1] in pictures else None
            try:
                claims._claim(subset, folders, files, contents, alone, taken)
            except DatasetError as error:
                claims.remarks.append(f"{subset.where} is left out: {error}")
        claims.remarks = [*config.remarks, *first_remarks(config.shown, claims.remarks)]
        return claims

    @property
    def has_pictures(self) -> bool:
        """Whether a subset that is trained on is among the files."""
        return any(not one.subset.options.get("is_reg") for one in self.subsets)

    def _claim(
        self,
        subset: UploadedSubset,
        folders: PathsElsewhere,
        files: PathsElsewhere,
        contents: Contents,
        alone: Parts | None,
        taken: set[Path],
    ) -> None:
        options, source = subset.options, str(subset.options.get("metadata_file") or "")
        given = str(options.get("image_dir") or PurePosixPath(source.replace("\\", "/")).parent)
        if not options.get("image_dir") and not source:
            raise DatasetError("image_dir is missing.", "Name the folder with the pictures.")
        folder = self._found(folders, given, "image_dir", alone)
        is_reg = bool(options.get("is_reg"))
        first = self._folders.get(folder)
        if first is not None and (first.is_reg != is_reg or self._stands_in(subset.dataset, first.place)):
            raise DatasetError(f"the folder {'/'.join(folder) or given} is another subset already.")
        places = (harmless_parts(given), folder)
        captions = self._captions(files, source, contents, places) if source else None
        named = harmless_parts(source)[-1] if captions is not None else ""
        claimed = first or ClaimedFolder(
            folder=folder,
            place=_place(subset, (folder or harmless_parts(given) or ("pictures",))[-1], taken),
            is_reg=is_reg,
            alpha_mask=bool(options.get("alpha_mask")),
            extension=self._extension(subset),
            captions=captions,
            captions_from=named,
        )
        wanted = (bool(options.get("alpha_mask")), _extension(options.get("caption_extension")), named)
        if first is not None and wanted != (first.alpha_mask, first.extension, first.captions_from):
            where = subset.where
            self.remarks.append(
                f"{where}: captions and masks of its folder are those of the dataset that has it first."
            )
        self._folders[folder] = claimed
        self.subsets.append(ClaimedSubset(subset=subset, place=claimed.place))
        if masks := str(options.get("conditioning_data_dir") or ""):
            try:
                place = self._found(folders, masks, "conditioning_data_dir")
                self._masks.setdefault(place, []).append(folder)
            except DatasetError as error:
                self.remarks.append(f"{subset.where} has no masks: {error}")

    def _extension(self, subset: UploadedSubset) -> str:
        """The ending of a subset's captions; "" where it names none, or that of pictures, which is said."""
        extension = _extension(subset.options.get("caption_extension"))
        if extension not in PICTURES:
            return extension
        self.remarks.append(f"{subset.where}: caption_extension {extension!r} is that of pictures: left out.")
        return ""

    def _found(self, paths: PathsElsewhere, given: str, option: str, alone: Parts | None = None) -> Parts:
        found = paths.find(given)
        if len(found) > 1:
            names = " and ".join("/".join(path) for path in found[:2])
            hint = f"Write the path from the folder of {self.config.name}."
            raise DatasetError(f"{option} {_end(given)!r} may be {names}.", hint)
        if not found and alone is None:
            hint = NOT_THERE.format(config=self.config.name)
            raise DatasetError(f"{option} {_end(given)!r} is not among the files.", hint)
        return found[0] if found else alone or ()

    def _captions(
        self, files: PathsElsewhere, source: str, contents: Contents, places: Sequence[Parts]
    ) -> dict[str, str] | None:
        """Captions of a metadata file for the pictures of a folder, by what it is called there and here; None
        where it can't be read, which is said."""
        try:
            place = self._found(files, source, "metadata_file")
            table = self._table(place, contents)
        except DatasetError as error:
            self.remarks.append(f"{error} The captions beside the pictures are taken.")
            return None
        self._read.add(place)
        return by_spelling((parts[-1], table[parts]) for parts in _of_folder(table, places))

    def _table(self, place: Parts, contents: Contents) -> Table:
        """A metadata file, read once however many subsets name it. Raises DatasetError."""
        if place not in self._tables:
            try:
                self._tables[place] = read_table(place[-1], contents[place]())
            except DatasetError as error:
                self._tables[place] = error
        found = self._tables[place]
        if isinstance(found, DatasetError):
            raise found
        return found

    def _stands_in(self, dataset: int, place: str) -> bool:
        return any(one.place == place and one.subset.dataset == dataset for one in self.subsets)

    def relabelled(self, upload: Upload, parts: Parts) -> Upload:
        """The upload at `parts` from the root, as the subset says to which it belongs."""
        folder, name = parts[:-1], parts[-1]
        upload = replace(upload, parts=parts, group=self._group(folder), kohya_folder="")
        if parts in self._read:
            return replace(upload, left_out="")
        if claimed := self._folders.get(folder):
            return self._of_subset(upload, claimed)
        if owners := self._masks.get(folder):
            file = Path(name)
            groups = tuple(map(self._group, owners))
            mask = f"{owner_stem((name,)) or file.stem}{ENDING}{file.suffix}"
            return replace(upload, parts=(*folder, mask), mask_groups=groups)
        if folder and folder[-1].lower() in MASK_FOLDERS and folder[:-1] in self._folders:
            return replace(upload, mask_groups=(self._group(folder[:-1]),))
        if is_table(name):
            return upload  # it may name the pictures of several folders
        return replace(upload, left_out=IN_NO_SUBSET.format(config=self.config.name))

    def _group(self, folder: Parts) -> str:
        return "/".join((self.root, *folder))

    def _of_subset(self, upload: Upload, claimed: ClaimedFolder) -> Upload:
        upload = replace(upload, kohya_folder=claimed.place, is_reg=claimed.is_reg)
        name, is_caption = upload.name.lower(), upload.is_caption
        if claimed.captions is not None:
            if is_caption or is_table(name):
                return replace(upload, left_out=f"not used: the captions come from {claimed.captions_from}")
            text = claimed.captions.get(name, claimed.captions.get(Path(name).stem))
            if text is None and owner_stem((upload.name,)) is None:
                return replace(upload, left_out=f"not named in {claimed.captions_from}: left out")
            return replace(upload, alpha_mask=claimed.alpha_mask, named_caption=text or "")
        if claimed.extension and name.endswith(claimed.extension):
            caption = f"{upload.name[: -len(claimed.extension)]}.txt"
            return replace(upload, parts=(*upload.parts[:-1], caption))
        if claimed.extension and is_caption:
            return replace(upload, left_out=f"not used: captions end in {claimed.extension} there")
        return upload if is_caption or is_table(name) else replace(upload, alpha_mask=claimed.alpha_mask)


def _place(subset: UploadedSubset, given: str, taken: set[Path]) -> str:
    """A folder of the set with the subset's repeats and class in its name, which no other has."""
    words = str(subset.options.get("class_tokens") or "")
    name = folder_name(given, int(subset.options.get("num_repeats", 1)), words)
    above = Path(REGULARISATION) if subset.options.get("is_reg") else Path()
    return free_place(above, name, taken).as_posix()


def _extension(given: object) -> str:
    plain = str(given or "").strip(". ").lower()
    return f".{plain}" if plain else ""


def _is_text(name: str) -> bool:
    return is_table(name) or name.lower().endswith((*CAPTION_ENDINGS, ".toml"))


def _end(given: str) -> str:
    """The last parts of a path, for people."""
    return "/".join(harmless_parts(given)[-2:])[-80:]
