"""Base models on the Hugging Face Hub: which files one needs, whether they are here already, and fetching
them. What was fetched is loaded as a folder, without asking the network again."""

from __future__ import annotations

import json
import logging
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lora_studio.errors import DiskFull, ModelFileError, NetworkLost, StoreError, StudioError, UnknownFormat
from lora_studio.events import Emit, PhaseAdvanced, ShouldStop, ignore, never_stop
from lora_studio.families.base_files.base_facts import INDEX
from lora_studio.files import check_room
from lora_studio.formatting import size

if TYPE_CHECKING:
    from lora_studio.families.base_files.found_base import FoundBase

log = logging.getLogger(__name__)

MODULAR_INDEX = "modular_model_index.json"
INDEXES = (INDEX, MODULAR_INDEX)
"""Lists of a repository's parts, by diffusers' pipelines and by its modular ones; the first there counts."""
HALF = "fp16"
"""The hub's name for files in half precision."""
LEFT_OUT = {"safety_checker", "feature_extractor", "image_encoder"}
"""Parts that no picture here is drawn with."""
WEIGHTS = ("diffusion_pytorch_model", "model", "pytorch_model")
SMALL = (".json", ".txt", ".jinja")
ENDINGS = (".safetensors",)
"""Never .bin: a pickle can run code while it is read."""
TOKENIZER_FILES = (("tokenizer.json",), ("vocab.json", "merges.txt"))
SHOWN_EVERY = 0.2
"""Seconds between two events, and between two questions whether to stop."""
NO_SPACE = 28

MODULAR = 3
"""Entries of a part in a modular list: library and class, which may be empty, and where it comes from."""

OnBytes = Callable[[int], None]


def cached_folder(hub_id: str) -> Path | None:
    """The folder of a model that is here whole, or None. Asks the disk only."""
    index = cached_index(hub_id)
    if index is None:
        return None
    folder = index.parent
    files = {path.relative_to(folder).as_posix(): 0 for path in folder.glob("*/*") if path.is_file()}
    try:
        parts = _parts(json.loads(index.read_text(encoding="utf-8")))
        variant = variant_of(folder)
        return folder if all(_is_complete(folder, part, files, variant) for part in parts) else None
    except (OSError, ValueError, AttributeError, KeyError, RecursionError):
        return None


def cached_index(hub_id: str) -> Path | None:
    """The list of a repository's parts that was fetched before. Asks the disk only."""
    from huggingface_hub import try_to_load_from_cache

    places = (try_to_load_from_cache(hub_id, name) for name in INDEXES)
    return next((Path(place) for place in places if isinstance(place, str)), None)


def fetch_index(repository: str) -> Path:
    """The list of a repository's parts, fetched if need be. Raises what the hub's library raises."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(repository, INDEX))
    except LocalEntryNotFoundError:
        raise
    except EntryNotFoundError as error:
        try:
            return Path(hf_hub_download(repository, MODULAR_INDEX))
        except EntryNotFoundError:
            raise error from None


def split_id(hub_id: str) -> tuple[str, str]:
    """The repository, and the checkpoint file in it, if an id names one: `owner/name/file.safetensors`."""
    owner, name, *file = hub_id.split("/", 2)
    return f"{owner}/{name}", "".join(file)


def cached(hub_id: str) -> Path | None:
    """The folder or the checkpoint file of a model that is here with all it needs. Asks the disk only."""
    from huggingface_hub import try_to_load_from_cache

    repository, file = split_id(hub_id)
    if not file:
        return cached_folder(repository)
    place = try_to_load_from_cache(repository, file)
    return Path(place) if isinstance(place, str) else None


def fetch(hub_id: str, emit: Emit = ignore, should_stop: ShouldStop = never_stop) -> Path | None:
    """The model's folder or file, what is missing fetched; None when stopped, and what is complete by then
    stays for the next time. Emits PhaseAdvanced("download") in bytes. Raises ModelFileError (not to be had),
    UnknownFormat (no diffusers model), StoreError (disk full)."""
    place = cached(hub_id)
    if place is not None:
        return place
    download = _Download(hub_id, emit, should_stop)
    if not download.run():
        return None
    place = cached(hub_id)
    if place is None:
        raise UnknownFormat(
            f"{hub_id} on the Hub lacks parts of a base model.",
            "Take another copy of the model, in diffusers' layout and with .safetensors files.",
            path=hub_id,
        )
    return place


def must_fetch(found: FoundBase) -> bool:
    """Whether something of a base is on the Hub only. Asks the disk only."""
    return found.layout == "hub" and cached(found.path_or_id) is None


def variant_of(folder: Path) -> str | None:
    """The half-precision files if there are no others."""
    names = [file.name for file in (folder / "unet").glob("*.safetensors")]
    return HALF if names and all(f".{HALF}" in name for name in names) else None


def needed_files(index: Mapping[str, Any], sizes: Mapping[str, int]) -> list[str]:
    """The files of a repository that drawing needs, small ones first: of the weights, half precision where
    all parts have it (half the download, and LoRAs don't see the difference)."""
    parts = _parts(index)
    heavy = [part for part in parts if _has_weights(part)]
    complete = {variant: all(_weights(part, variant, sizes) for part in heavy) for variant in (HALF, "")}
    variant = HALF if complete[HALF] else ""
    wanted = [
        *[one for one in INDEXES if one in sizes][:1],
        *(name for part in parts for name in sizes if _is_small(name, part)),
    ]
    for part in heavy:
        wanted += _weights(part, variant, sizes)
    return sorted(set(wanted), key=lambda name: (sizes.get(name, 0), name))


def explain(hub_id: str, error: BaseException) -> ModelFileError | StoreError:
    """One sentence for what the hub's library raises."""
    from huggingface_hub.errors import EntryNotFoundError, GatedRepoError, LocalEntryNotFoundError
    from huggingface_hub.errors import RepositoryNotFoundError as Unknown

    if isinstance(error, DiskFull):
        return error
    if isinstance(error, GatedRepoError):
        return ModelFileError(
            f"The base model {hub_id} is only given to those who have agreed to its licence.",
            f"Agree to it on huggingface.co/{hub_id}, and log in here with `hf auth login`.",
            path=hub_id,
        )
    if isinstance(error, Unknown):
        return ModelFileError(
            f"There is no model {hub_id} on the Hub, or it is private.",
            "Check the name; for a private one, log in with `hf auth login`.",
            path=hub_id,
        )
    if isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError):
        if file := split_id(hub_id)[1]:
            return ModelFileError(f"{hub_id} on the Hub has no {file}.", "Check the name.", path=hub_id)
        return UnknownFormat(
            f"{hub_id} on the Hub is no base model in diffusers' layout: it has no {INDEX}.",
            f"If it offers a .safetensors checkpoint, name that: {hub_id}/the-file.safetensors.",
            path=hub_id,
        )
    if isinstance(error, OSError) and error.errno == NO_SPACE:
        return StoreError(f"The disk is full: {hub_id} can't be stored.", "Free some space, and try again.")
    return ModelFileError(
        f"The base model {hub_id} is not on this machine and could not be fetched.",
        "Check the name and the internet connection, or put the model into models/base.",
        path=hub_id,
    )


class _Download:
    """A fetching, in a thread: the library's fastest way can't be interrupted, and Stop shall not wait."""

    def __init__(self, hub_id: str, emit: Emit, should_stop: ShouldStop) -> None:
        self._hub_id = hub_id
        self._emit = emit
        self._should_stop = should_stop
        self._cancelled = threading.Event()
        self._error: BaseException | None = None
        self._finished = False
        self._done = self._total = 0
        self._file = ""

    def run(self) -> bool:
        """False when stopped."""
        worker = threading.Thread(target=self._work, name=f"download {self._hub_id}", daemon=True)
        worker.start()
        reported, begun = -1, time.monotonic()
        while worker.is_alive():
            worker.join(SHOWN_EVERY)
            if self._done != reported and self._total:
                reported = self._done
                self._say(begun)
            if worker.is_alive() and self._should_stop():
                self._cancelled.set()
                return False
        if not self._finished:
            raise self._reason(self._error or RuntimeError()) from self._error
        self._say(begun)
        return True

    def _reason(self, error: BaseException) -> StudioError:
        """The error of a download: one that breaks off in the middle is the network's."""
        reason = explain(self._hub_id, error)
        if (
            type(reason) is ModelFileError
            and 0 < self._done < self._total
            and isinstance(error, (OSError, *_network_errors()))
        ):
            return NetworkLost(
                f"The connection broke off while {self._hub_id} was fetched "
                f"({size(self._done)} of {size(self._total)} are here).",
                "Check the internet connection.",
            )
        return reason

    def _say(self, begun: float) -> None:
        seconds = max(time.monotonic() - begun, 1e-3)
        note = f"{self._hub_id}, {size(round(self._done / seconds))}/s"
        self._emit(PhaseAdvanced(phase="download", done=self._done, total=self._total, note=note))

    def _work(self) -> None:
        from huggingface_hub.errors import EntryNotFoundError

        try:
            self._fetch_all()
            self._finished = True
        except _Cancelled:
            log.info("the download of %s was stopped", self._hub_id)
        except (OSError, ValueError, RuntimeError, DiskFull, EntryNotFoundError, *_network_errors()) as error:
            self._error = error

    def _fetch_all(self) -> None:
        from huggingface_hub import HfApi, hf_hub_download, try_to_load_from_cache
        from huggingface_hub.constants import HF_HUB_CACHE

        repository, checkpoint = split_id(self._hub_id)
        listed = HfApi().model_info(repository, files_metadata=True).siblings or []
        sizes = {file.rfilename: file.size or 0 for file in listed}
        names = [checkpoint] if checkpoint else self._names_in(repository, sizes)
        missing = [n for n in names if not isinstance(try_to_load_from_cache(repository, n), str)]
        self._done = sum(sizes.get(name, 0) for name in names if name not in missing)
        self._total = sum(sizes.get(name, 0) for name in names)
        check_room(Path(HF_HUB_CACHE), self._hub_id, self._total - self._done)
        for name in missing:
            self._count(0)
            before = self._done
            hf_hub_download(repository, name, tqdm_class=_bar(self._count))
            self._done = before + sizes.get(name, 0)

    def _names_in(self, repository: str, sizes: Mapping[str, int]) -> list[str]:
        index = json.loads(fetch_index(repository).read_text(encoding="utf-8"))
        return needed_files(index, sizes)

    def _count(self, size: int) -> None:
        """Takes note of `more` bytes. Raises _Cancelled when nobody waits any more."""
        self._done = min(self._done + size, self._total)
        if self._cancelled.is_set():
            raise _Cancelled


def _network_errors() -> list[Any]:
    """Errors of the hub library's HTTP library, which lets some through: all are of this class."""
    from huggingface_hub.errors import HfHubHTTPError

    return [kind for kind in HfHubHTTPError.__mro__ if kind.__name__ == "HTTPError"]


class _Cancelled(Exception):
    """Leaves the library's download in the middle of a file."""


def _bar(on_bytes: OnBytes) -> Any:
    """A progress bar that shows nothing and tells what it is told."""
    from tqdm import tqdm  # type: ignore[import-untyped]

    class Bar(tqdm):
        def __init__(self, *args: Any, **options: Any) -> None:
            options.pop("name", None)
            super().__init__(*args, **{**options, "disable": True})

        def update(self, n: float | None = 1) -> bool | None:
            on_bytes(int(n or 0))
            return None

    return Bar


def _parts(index: Mapping[str, Any]) -> list[str]:
    """The parts of a pipeline that it has and that are used here."""
    return [
        name
        for name, kind in index.items()
        if isinstance(kind, list) and kind and (kind[0] or len(kind) == MODULAR) and name not in LEFT_OUT
    ]


def _has_weights(part: str) -> bool:
    return not (_is_tokenizer(part) or part.startswith("scheduler"))


def _is_tokenizer(part: str) -> bool:
    return "tokenizer" in part


def _is_small(name: str, part: str) -> bool:
    """Configuration, vocabulary and template of a chat, directly in the part's folder."""
    folder, _, file = name.partition("/")
    return folder == part and "/" not in file and file.endswith(SMALL) and ".index." not in file


def _weights(part: str, variant: str | None, names: Iterable[str]) -> list[str]:
    """The part's files of one variant and, where it is split, their index; none when it is missing."""
    mark, present = (f".{variant}" if variant else ""), set(names)
    for ending in ENDINGS:
        for stem in WEIGHTS:
            whole = f"{part}/{stem}{mark}{ending}"
            if whole in present:
                return [whole]
            index = f"{part}/{stem}{ending}.index{mark}.json"
            if index in present:
                piece = re.compile(re.escape(f"{part}/{stem}{mark}") + r"-\d+-of-\d+" + re.escape(ending))
                return [index, *sorted(name for name in present if piece.fullmatch(name))]
    return []


def _is_complete(folder: Path, part: str, files: Mapping[str, int], variant: str | None) -> bool:
    if _is_tokenizer(part):
        return any(all(f"{part}/{name}" in files for name in names) for names in TOKENIZER_FILES)
    if not _has_weights(part):
        return f"{part}/scheduler_config.json" in files
    found = _weights(part, variant, files)
    if not found or f"{part}/config.json" not in files:
        return False
    if not found[0].endswith(".json"):
        return True
    pieces = json.loads((folder / found[0]).read_text(encoding="utf-8"))["weight_map"].values()
    return all(f"{part}/{piece}" in files for piece in pieces)
