"""All that a run needs to go on later as if it had never ended, and the files that it is kept in.

A state file is a mark, the SHA-256 of what follows, and a dictionary in torch's own format that loads without
running any code. The last two are kept: should the newest be damaged, the one before it still serves.
"""

from __future__ import annotations

import contextlib
import hashlib
import pickle
import random
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from io import BufferedRandom, BufferedReader
from pathlib import Path
from typing import Any, BinaryIO

import numpy
import torch

from lora_studio.config import TrainConfig
from lora_studio.config_groups import OutputGroup
from lora_studio.errors import BrokenFile, ModelFileError, UnknownFormat
from lora_studio.events import PreviewSaved, StepDone
from lora_studio.files import read_errors, replacing
from lora_studio.lora.run_states import state_file, state_files, step_of
from lora_studio.training.result_folder import saving

MARK = b"LoRA Studio state 1\n"
DIGEST_BYTES = hashlib.sha256().digest_size
KEPT_FILES = 2
LEAST_SECONDS = 5.0
"""Fewest seconds between two states, without a wish."""
SHARE_OF_TIME = 0.02
"""Largest share of the time that writing states may take, without a wish."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """The values that a step moves, copied to the CPU. `epoch` (1-based) and `index` (from 0) are the place
    of the next step, `losses` those of the moving mean, `watched` those that tell a spike, `halvings` how
    often the rate was halved, `rungs` what was done to save memory, `at_once` the most pictures computed at a
    time."""

    step: int
    epoch: int
    index: int
    lora: Mapping[str, torch.Tensor]
    optimizer: Mapping[str, Any]
    schedule: Mapping[str, Any]
    scaler: Mapping[str, Any] | None = None
    losses: tuple[float, ...] = ()
    watched: tuple[float, ...] = ()
    halvings: int = 0
    rungs: tuple[str, ...] = ()
    at_once: int | None = None


@dataclass(frozen=True, kw_only=True)
class State:
    """A point and the run it belongs to. `pictures` and `base` tell whether dataset and base model are still
    the same (see `resuming.compatibility`); `seconds` is the time spent so far; `last` the step before."""

    point: Point
    config: Mapping[str, Any]
    pictures: tuple[Mapping[str, Any], ...]
    base: str
    last: StepDone | None = None
    previews: tuple[PreviewSaved, ...] = ()
    started_at: float = 0.0
    session_id: int = 0
    seconds: float = 0.0
    device: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    random: Mapping[str, Any] = field(default_factory=dict)

    def to_plain(self) -> dict[str, Any]:
        last = asdict(self.last) if self.last else None
        previews = [asdict(preview) for preview in self.previews]
        return {**vars(self), "point": vars(self.point), "last": last, "previews": previews}

    @classmethod
    def from_plain(cls, data: Mapping[str, Any]) -> State:
        """The state in plain data. Raises TypeError and KeyError for what another version wrote."""
        point, last, previews = data["point"], data["last"], data["previews"]
        return cls(
            **{
                **data,
                "point": Point(**point),
                "last": StepDone(**last) if last else None,
                "previews": tuple(PreviewSaved(**preview) for preview in previews),
            }
        )


@dataclass(kw_only=True)
class States:
    """The state files in one run's folder, and when the next is due."""

    folder: Path
    settings: OutputGroup
    saved_at: float = field(default_factory=time.perf_counter)
    cost: float = 0.0

    def is_due(self, step: int) -> bool:
        """Whether to write one after this step: by the settings, or without any by what the last one cost."""
        steps, minutes = self.settings.save_state_every_n_steps, self.settings.save_state_every_n_minutes
        waited = time.perf_counter() - self.saved_at
        if steps is None and minutes is None:
            return waited >= max(LEAST_SECONDS, self.cost / SHARE_OF_TIME)
        by_the_clock = minutes is not None and waited >= 60 * minutes
        return by_the_clock or bool(steps and step % steps == 0)

    def save(self, state: State, begun: float | None = None) -> Path:
        """Write it whole or not at all, then let go of all but the last two. `begun` is when collecting it
        began, by time.perf_counter. Raises StudioError for a full disk and its like."""
        begun = time.perf_counter() if begun is None else begun
        path = state_file(self.folder, state.point.step)
        with saving(path):
            _write(path, state.to_plain())
        for old in self.files()[KEPT_FILES:]:
            old.unlink(missing_ok=True)
        self.saved_at = time.perf_counter()
        self.cost = self.saved_at - begun
        return path

    def files(self) -> list[Path]:
        return state_files(self.folder)

    def forget_after(self, step: int) -> None:
        """Remove what was written later than that: the run goes another way from there."""
        for path in self.files():
            if step_of(path) > step:
                path.unlink(missing_ok=True)

    def clear(self) -> None:
        """Nothing is left to resume."""
        self.forget_after(-1)
        with contextlib.suppress(OSError):
            self.folder.rmdir()


def read_newest(place: Path) -> tuple[State, list[str]]:
    """The newest whole state of a folder, and a sentence for each damaged one passed over. Raises
    ModelFileError, or its kin when none is whole."""
    files, notes = state_files(place), []
    if not files:
        raise ModelFileError(
            f"There is no saved state in {place}.", "Start the training from its beginning.", path=place
        )
    for path in files:
        try:
            state = read_state(path)
        except BrokenFile as error:
            notes.append(error.message)
            broken = error
        else:
            return state, [f"{note} The state of step {state.point.step} is taken instead." for note in notes]
    raise broken


def read_state(path: Path) -> State:
    """The state in a file. Raises BrokenFile, UnknownFormat."""
    with read_errors(path, BrokenFile), path.open("rb") as file:
        data = _checked(file, path)
    try:
        return State.from_plain(data)
    except (TypeError, KeyError) as error:
        raise _of_another_version(path) from error


def _checked(file: BufferedReader, path: Path) -> Mapping[str, Any]:
    """The content of the file, if its checksum is right."""
    whole = file.read(len(MARK)) == MARK and len(digest := file.read(DIGEST_BYTES)) == DIGEST_BYTES
    begin = file.tell()
    if not whole or _digest(file) != digest:
        raise BrokenFile(
            f"{path.name} is damaged or was cut short.", "Take an earlier state, or start anew.", path=path
        )
    file.seek(begin)
    try:
        data: Mapping[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError) as error:
        raise _of_another_version(path) from error
    return data


def _of_another_version(path: Path) -> UnknownFormat:
    return UnknownFormat(
        f"{path.name} was written by another version of LoRA Studio.",
        "Resume it with that version, or start the training anew.",
        path=path,
    )


def _digest(file: BufferedReader | BufferedRandom) -> bytes:
    """The digest of the rest of the file."""
    return hashlib.file_digest(file, "sha256").digest()


def _write(path: Path, data: Mapping[str, Any]) -> None:
    """Atomically, and without a second copy of it all in memory."""
    with replacing(path) as file:
        begin = file.write(MARK + bytes(DIGEST_BYTES))
        _save(data, file)
        file.seek(begin)
        digest = _digest(file)
        file.seek(len(MARK))
        file.write(digest)


def _save(data: Mapping[str, Any], file: BinaryIO) -> None:
    """torch's writer turns a full disk into a RuntimeError; the OSError is what says why."""
    try:
        torch.save(data, file)
    except RuntimeError as error:
        cause = error.__context__
        raise (cause if isinstance(cause, OSError) else OSError(str(error))) from error


def copied(value: Any) -> Any:
    """A copy on the CPU that a state file can hold. Raises TypeError for what it can't."""
    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, Mapping):
        return {key: copied(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(copied(inner) for inner in value)
    if isinstance(value, numpy.generic):
        return value.item()
    if value is None or isinstance(value, bool | int | float | str | bytes):
        return value
    raise TypeError(f"a {type(value).__name__} can't be kept in a state file")


def random_states() -> dict[str, Any]:
    """The states of torch's, Python's and numpy's generators. Our own random numbers are seeded by what they
    are for; these are for code of others, such as an optimizer that rounds by chance."""
    _, keys, position, has_gauss, gauss = numpy.random.get_state()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "python": random.getstate(),
        "numpy": [torch.from_numpy(numpy.asarray(keys, dtype=numpy.int64)), position, has_gauss, gauss],
    }


def set_random_states(states: Mapping[str, Any]) -> None:
    torch.set_rng_state(states["torch"])
    if states["cuda"] and len(states["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(states["cuda"])
    random.setstate(states["python"])
    keys, *rest = states["numpy"]
    numpy.random.set_state(("MT19937", keys.numpy().astype(numpy.uint32), *rest))


@contextlib.contextmanager
def keeping_random_states() -> Iterator[None]:
    """Whatever happens inside, the caller's random numbers go on as they would have."""
    before = random_states()
    try:
        yield
    finally:
        set_random_states(before)


def config_of(state: State) -> TrainConfig:
    """The settings in a state. Raises ConfigError for a later version's."""
    return TrainConfig.from_json(state.config)
