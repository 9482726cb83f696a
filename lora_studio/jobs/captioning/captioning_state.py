"""A captioning at one moment, and the form in which the store keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self

from lora_studio.errors import StudioError
from lora_studio.jobs.captioning.captioning_request import CaptioningRequest

MOST_TOLD = 500
"""Pictures without a caption that are remembered with the reason."""


class CaptioningState(StrEnum):
    """running -> finished | stopped | failed | interrupted."""

    RUNNING = "running"
    FINISHED = "finished"
    STOPPED = "stopped"
    FAILED = "failed"
    INTERRUPTED = "interrupted"

    @property
    def may_go_on(self) -> bool:
        """Whether it ended before it had seen all pictures."""
        return self in (CaptioningState.STOPPED, CaptioningState.FAILED, CaptioningState.INTERRUPTED)


@dataclass(frozen=True, kw_only=True)
class Captioning:
    """The captioning of a set at one moment: `done` of `total` pictures are looked at, `captioned` is the
    number of captions that are kept, `failed` in the end the reason for each picture without one; `note` says
    how long it still takes, `waits_for` who has what it waits for (a holder of the device, or `captions`).
    `loading` and `seconds` are the seconds at work: for the engine, and for the pictures."""

    request: CaptioningRequest
    state: CaptioningState = CaptioningState.RUNNING
    done: int = 0
    total: int = 0
    note: str = ""
    waits_for: str = ""
    captioned: int = 0
    loading: float = 0.0
    seconds: float = 0.0
    failed: Mapping[str, str] = field(default_factory=dict)
    error: StudioError | None = None

    @property
    def waiting(self) -> str:
        """The reason why it doesn't go on at present, in words; empty where it does."""
        if self.waits_for == "captions":
            return "Waits until the pictures of another set are captioned."
        if self.waits_for == "training":
            return "Waits for the training that has the device."
        return "Waits for other work that has the device." if self.waits_for else ""

    def to_json(self) -> dict[str, Any]:
        """The facts that outlast the process."""
        error = [self.error.message, self.error.hint] if self.error else []
        return {
            "request": self.request.to_json(),
            "state": str(self.state),
            **{name: getattr(self, name) for name in ("done", "total", "captioned")},
            **{name: round(getattr(self, name), 3) for name in ("loading", "seconds")},
            "failed": dict(list(self.failed.items())[:MOST_TOLD]),
            "error": error,
        }

    @classmethod
    def from_json(cls, facts: Mapping[str, Any]) -> Self:
        """The captioning that `to_json` wrote. Raises ConfigError, KeyError, ValueError, TypeError."""
        return cls(
            request=CaptioningRequest.from_json(facts["request"]),
            state=CaptioningState(facts["state"]),
            done=int(facts["done"]),
            total=int(facts["total"]),
            captioned=int(facts["captioned"]),
            loading=float(facts["loading"]),
            seconds=float(facts["seconds"]),
            failed=dict(facts["failed"]),
            error=StudioError(*facts["error"]) if facts["error"] else None,
        )
