"""The estimate of a training, measured before it starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lora_studio.config import config_leaf
from lora_studio.formatting import about, size
from lora_studio.records import JobRecord, JobStatus
from lora_studio.settings import Settings

CARDS = (4, 6, 8, 10, 12, 16, 24, 32, 48, 80)
"""GB of the usual graphics cards."""
CARD_SHARE = 0.9
"""Share of a card's memory that is planned with: memory comes in pieces, and a screen takes some."""


@dataclass(frozen=True, kw_only=True)
class TrainingEstimate:
    """Seconds of each part of the run, bytes at the peak, the most bytes on the disk (states to resume from
    included, which go at the end). `bucket` is the largest size of pictures, on which a step was measured;
    `seconds_per_step` is the mean over all sizes; `device_bytes` is 0 without a device of its own memory;
    `card_bytes` is what it takes of a graphics card, counted where `device_bytes` is 0;
    `disk_free_bytes` is what its disk has left, None where nobody can tell; `notes` are sentences on pictures
    and captions."""

    steps: int
    images: int
    bucket: tuple[int, int]
    seconds_per_step: float
    load_seconds: float
    cache_seconds: float
    train_seconds: float
    preview_seconds: float
    ram_bytes: int
    device_bytes: int
    disk_bytes: int
    device: str
    card_bytes: int = 0
    disk_free_bytes: int | None = None
    trigger_word: str = ""
    notes: tuple[str, ...] = ()

    @property
    def start_seconds(self) -> float:
        """Seconds to the first step, without previews."""
        return self.load_seconds + self.cache_seconds

    @property
    def total_seconds(self) -> float:
        return self.start_seconds + self.train_seconds + self.preview_seconds

    @property
    def sentence(self) -> str:
        """The estimate for people: `About 4 min, 690 MB of RAM, 12 MB on the disk.`"""
        memory = f"{size(self.ram_bytes)} of RAM"
        if self.device_bytes:
            memory = f"{size(self.device_bytes)} of the device's memory, {memory}"
        took = about(self.total_seconds).capitalize()
        estimate = f"{took}, {memory}, {size(self.disk_bytes)} on the disk."
        called = f'You will call it with "{self.trigger_word}".' if self.trigger_word else ""
        return " ".join(filter(None, (estimate, self.fit, self.warning, called)))

    @property
    def card_gb(self) -> int | None:
        """GB of the smallest usual graphics card that is enough; None where none is."""
        return next((gb for gb in CARDS if self.card_bytes <= CARD_SHARE * gb * 1e9), None)

    @property
    def fit(self) -> str:
        """A sentence on a graphics card enough for the largest pictures; empty where nothing is known."""
        if not self.card_bytes:
            return ""
        width, height = self.bucket
        pixels = f"{width} px" if width == height else f"{width} x {height} px"
        verb = "is" if self.device_bytes else "would be"
        if self.card_gb is None:
            verb = "is not" if self.device_bytes else "would not be"
        how = f"{size(self.card_bytes)}, {'measured' if self.device_bytes else 'counted, not measured'}"
        return f"A graphics card of {self.card_gb or CARDS[-1]} GB {verb} enough at {pixels} ({how})."

    @property
    def warning(self) -> str:
        """A sentence where the disk has too little room, else empty."""
        kept = Settings.from_environment().keep_free_bytes
        if self.disk_free_bytes is None or self.disk_free_bytes >= self.disk_bytes + kept:
            return ""
        return (
            f"That is too much for the disk, which has {size(self.disk_free_bytes)} left, of which "
            f"{size(kept)} are kept free."
        )

    def to_json(self) -> Mapping[str, Any]:
        return {**asdict(self), "total_seconds": self.total_seconds, "sentence": self.sentence}


ALIKE = ("resolution", "train_batch_size", "network_dim")
"""Settings in which a training must equal another one for its time to tell the other's."""


def earlier_seconds(jobs: Sequence[JobRecord], base: str, values: Mapping[str, Any], steps: int) -> float:
    """The time of the newest finished training on this base, alike in ALIKE, for so many steps; else 0."""
    wanted = {name: str(values.get(name, config_leaf(name).default)) for name in ALIKE}
    wanted["pretrained_model_name_or_path"] = base
    for job in jobs:
        groups = [group for group in job.config.values() if isinstance(group, dict)]
        settings = {name: value for group in groups for name, value in group.items()}
        alike = all(str(settings.get(name)) == value for name, value in wanted.items())
        if job.status is JobStatus.FINISHED and alike and job.total_steps and job.finished_at:
            return job.seconds_at_work(job.finished_at) * steps / job.total_steps
    return 0.0
