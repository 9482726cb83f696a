"""Records of the store: jobs, LoRAs, images and datasets."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class JobStatus(StrEnum):
    """The status of a training: queued -> running -> stopping -> finished | failed | stopped, or running ->
    pausing -> paused; a running row whose owner is gone becomes interrupted when the studio opens. A job that
    ended early can be resumed: it is queued again, and goes on from its last state, or begins anew without
    one."""

    QUEUED = "queued"
    RUNNING = "running"
    STOPPING = "stopping"
    PAUSING = "pausing"
    PAUSED = "paused"
    FINISHED = "finished"
    FAILED = "failed"
    STOPPED = "stopped"
    INTERRUPTED = "interrupted"

    @property
    def active(self) -> bool:
        """Whether a training of this status waits for the device or has it. A paused one does neither."""
        return self in {JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.STOPPING, JobStatus.PAUSING}


@dataclass(frozen=True, kw_only=True)
class JobRecord:
    """One training. `config` is the TrainConfig's JSON; `progress` runs 0..100 (percent); times are unix
    seconds; `revision` rises with every event, so a reader can tell that nothing changed; `run` counts from
    1, up with every Resume, and `earlier_seconds` is the time of the runs before. `state_step` is the step
    from which it can be resumed, None without a state; `fork_of` the state folder of another run whose
    weights this one begins with; `removed` is the trash's token once it was taken out of the history."""

    id: str
    name: str
    status: JobStatus
    config: dict[str, Any]
    created_at: float
    started_at: float | None = None
    finished_at: float | None = None
    heartbeat_at: float | None = None
    progress: float = 0.0
    step: int = 0
    total_steps: int = 0
    phase: str = ""
    loss: float | None = None
    seconds_left: float | None = None
    message: str = ""
    hint: str = ""
    result_path: str = ""
    revision: int = 0
    owner: str = ""
    state_step: int | None = None
    fork_of: str = ""
    run: int = 1
    earlier_seconds: float = 0.0
    removed: str = ""

    @property
    def slug(self) -> str:
        """Name of the folder of its LoRA."""
        return str((self.config.get("output") or {}).get("output_name") or "")

    def seconds_at_work(self, now: float) -> float:
        """Seconds that the training has run by the unix time `now`, without pauses. An interrupted run ended
        with its last heartbeat."""
        if self.started_at is None:
            return self.earlier_seconds
        end = now if self.status.active else self.finished_at or now
        if self.status is JobStatus.INTERRUPTED and self.heartbeat_at is not None:
            end = min(end, self.heartbeat_at)
        return self.earlier_seconds + max(0.0, end - self.started_at)

    @property
    def resumable(self) -> bool:
        """Whether Resume is possible. Without a state a training begins at its beginning, and to the same
        result; one that left a LoRA when it was stopped is done, and one in the trash has to come back."""
        if self.removed:
            return False
        ended = {JobStatus.INTERRUPTED, JobStatus.STOPPED, JobStatus.FAILED}
        can_begin = self.state_step is not None or not self.result_path
        return self.status is JobStatus.PAUSED or (self.status in ended and can_begin)


@dataclass(frozen=True, kw_only=True)
class StoredEvent:
    """An event with its order and unix time."""

    sequence: int
    at: float
    event: Any


@dataclass(frozen=True, kw_only=True)
class LoraRecord:
    """A LoRA in the library. `id` is the SHA-256 of the tensor bytes, `slug` its folder's name, `title` what
    people see; `family` is a catalog family name; `metadata` is the file's own header, as far as the library
    keeps it, and empty in lists; `left_out` is a sentence's end on the parts of the file that can't be
    used. `favourite`, `tags` and `note` are what people said of it."""

    id: str
    slug: str
    title: str
    path: str
    family: str
    base: str
    trigger_word: str = ""
    kind: str = ""
    network_dim: int = 0
    network_alpha: float = 0.0
    steps: int = 0
    size_bytes: int = 0
    created_at: float = 0.0
    thumbnail: str = ""
    previews: tuple[str, ...] = ()
    metadata: dict[str, str] = field(default_factory=dict)
    left_out: str = ""
    favourite: bool = False
    tags: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class ListedLora:
    """A LoRA to choose from a list."""

    slug: str
    title: str
    created_at: float = 0.0


@dataclass(frozen=True, kw_only=True)
class ImageRecord:
    """A generated picture. `id` is the SHA-256 of the file; `request` is the GenerateRequest's JSON."""

    id: str
    path: str
    thumbnail: str
    prompt: str
    seed: int
    width: int
    height: int
    created_at: float
    lora_slugs: tuple[str, ...] = ()
    request: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class DatasetRecord:
    """Uploaded pictures with captions in one folder. `refused` holds a sentence for each file that was
    left out, `transparent` the file names of pictures that had transparent parts."""

    id: str
    name: str
    path: str
    images: int
    captions: int
    created_at: float
    refused: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    transparent: tuple[str, ...] = ()
