"""A captioning at one moment, and the form in which the store keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
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
    def is_open(self) -> bool:
        """Whether it runs, or would if the studio had not ended."""
        return self in (CaptioningState.RUNNING, CaptioningState.INTERRUPTED)

    @property
    def may_go_on(self) -> bool:
        """Whether it ended before it had seen all pictures."""
        return self in (CaptioningState.STOPPED, CaptioningState.FAILED, CaptioningState.INTERRUPTED)


@dataclass(frozen=True, kw_only=True)
class Captioning:
    """The captioning of a set at one moment: `done` of `total` pictures are looked at, `captioned` is the
    number of captions that are kept, `failed` in the end the reason for each picture without one; `note` says
    how long it still takes, `waits_for` who has what it waits for (a holder of the device, or `captions`).
    `loading` and `seconds` are the seconds at work: for the engine, and for the pictures. `rest` is an
    earlier one that may go on once these single pictures are done."""

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
    rest: Captioning | None = None

    def given_up(self) -> Captioning:
        """Return it with what was interrupted as stopped, also its `rest`."""
        state = CaptioningState.STOPPED if self.state is CaptioningState.INTERRUPTED else self.state
        return replace(self, state=state, rest=self.rest.given_up() if self.rest else None)

    def left_by(self, request: CaptioningRequest) -> Captioning | None:
        """The captioning that may go on after the single pictures of a request that replaces this."""
        if not request.pictures:
            return None
        does_the_same = bool(self.request.pictures) and {*self.request.pictures} <= {*request.pictures}
        left = self if self.state.may_go_on and not does_the_same and self.rest is None else self.rest
        return left if left is not None and left.request.run != request.run else None

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
            **{name: round(getattr(self, name), 6) for name in ("loading", "seconds")},
            "failed": dict(list(self.failed.items())[:MOST_TOLD]),
            "error": error,
            "rest": self.rest.to_json() if self.rest else None,
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
            rest=cls.from_json(rest) if (rest := facts.get("rest")) else None,
        )
