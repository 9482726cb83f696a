"""Facts that a run reports while it works: small, frozen, never tensors or pictures.

Every event has a JSON form, `{"kind": "StepDone", ...}`, so the same stream serves a thread, a child process
and a remote machine. The event sink adds time and sequence number.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A part of a run: its name for people, and from which to which percent of the bar it takes."""

    title: str
    share: tuple[int, int] = (0, 0)


PHASES = {
    "download": Phase(title="Downloading the base", share=(0, 1)),
    "load": Phase(title="Loading the base", share=(1, 2)),
    "cache": Phase(title="Preparing pictures", share=(2, 5)),
    "train": Phase(title="Training", share=(5, 97)),
    "preview": Phase(title="Previews"),  # in the middle of training
    "save": Phase(title="Saving", share=(97, 100)),
    "generate": Phase(title="Drawing"),
    "repair": Phase(title="Making the new LoRA"),
    "export": Phase(title="Exporting pictures"),
}


@dataclass(frozen=True, kw_only=True)
class Queued:
    """A place in the queue, behind `ahead` other jobs."""

    ahead: int = 0


@dataclass(frozen=True, kw_only=True)
class Started:
    """The run's beginning. `phases` are those this run will go through, in order; `start_step` is above 0 for
    a resumed run."""

    total_steps: int
    phases: tuple[str, ...]
    device: str
    dtype: str
    images: int = 0
    start_step: int = 0


@dataclass(frozen=True, kw_only=True)
class PhaseAdvanced:
    """`done` of `total` units of one phase: images for cache, files for ingest, bytes for download and for
    the loading of a generation, 1 for save and for the loading of a training, thousandths of the work for
    repair, pictures for export, each of which is read and then written."""

    phase: str
    done: int
    total: int
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class StepDone:
    """One optimizer step. `loss` is this step's, `average_loss` Kohya's moving mean over one epoch,
    `seconds` the wall time of the step, `memory_bytes` what the run holds of its device's memory after it, 0
    where nobody can tell."""

    step: int
    total_steps: int
    loss: float
    average_loss: float
    learning_rate: float
    seconds: float
    epoch: int = 1
    memory_bytes: int = 0


@dataclass(frozen=True, kw_only=True)
class PreviewSaved:
    """A preview at `step`: `path` with the LoRA, `base_path` the same prompt and seed without it."""

    step: int
    path: str
    base_path: str
    prompt: str
    seed: int


@dataclass(frozen=True, kw_only=True)
class CheckpointSaved:
    """A checkpoint's file, or with `final` the LoRA's own."""

    step: int
    path: str
    final: bool = False


@dataclass(frozen=True, kw_only=True)
class StateSaved:
    """A state file at `path`, from which the run can be resumed, should it end now."""

    step: int
    path: str


@dataclass(frozen=True, kw_only=True)
class Validated:
    """The loss on the pictures held back, with fixed noise and noise levels, lower is better; `base_loss` is
    the base model's own on the same."""

    step: int
    loss: float
    base_loss: float | None = None


@dataclass(frozen=True, kw_only=True)
class Noted:
    """A sentence for people."""

    message: str
    level: Literal["info", "warning"] = "info"


@dataclass(frozen=True, kw_only=True)
class Finished:
    """The run's end in order. `path` is the result's folder (training) or the last image (generation)."""

    path: str
    steps: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Failed:
    """The run's end by an error, in a sentence with a hint."""

    message: str
    hint: str = ""


@dataclass(frozen=True, kw_only=True)
class Stopped:
    """The run's end by a stop. `path` is a loadable result, or empty when the run was stopped before its
    first step."""

    step: int
    path: str = ""


@dataclass(frozen=True, kw_only=True)
class Paused:
    """The run has ended for now and given the device back; it goes on from `step`. `message` says why when
    nobody asked for it, `hint` what to do; `path` is a loadable result, if there is one."""

    step: int
    message: str = ""
    hint: str = ""
    path: str = ""


@dataclass(frozen=True, kw_only=True)
class Denoised:
    """Denoising step `step` of `total_steps` for image `image` (1-based) of `images`, and for those after it
    that take the step with it: `together` in all."""

    image: int
    images: int
    step: int
    total_steps: int
    together: int = 1


@dataclass(frozen=True, kw_only=True)
class LivePreview:
    """A look at image `image` after `step` steps: `path` is a small picture that the next one replaces."""

    image: int
    step: int
    path: str


@dataclass(frozen=True, kw_only=True)
class ImageSaved:
    """A finished picture, number `image` (1-based) of `images`."""

    path: str
    seed: int
    image: int
    images: int


@dataclass(frozen=True, kw_only=True)
class ResultDrawn:
    """Pictures with a finished training's LoRA: `paths` in the gallery with their `prompts`, or a `message`
    why there are none. With `ticket` they are only asked for, under this id in the queue of generations. The
    last one of a training counts."""

    paths: tuple[str, ...] = ()
    prompts: tuple[str, ...] = ()
    message: str = ""
    ticket: str = ""


Event = (
    Queued
    | Started
    | PhaseAdvanced
    | StepDone
    | PreviewSaved
    | CheckpointSaved
    | StateSaved
    | Validated
    | Noted
    | Finished
    | Failed
    | Stopped
    | Paused
    | Denoised
    | LivePreview
    | ImageSaved
    | ResultDrawn
)
Emit = Callable[[Event], None]
ShouldStop = Callable[[], bool]
Command = Literal["pause", "save", "preview"]
"""A command for a running training: to pause, to write a checkpoint now, to draw a preview now."""
COMMANDS: tuple[Command, ...] = ("pause", "save", "preview")
Commands = Callable[[], Command | None]
"""A function asked once a step for the next command; None when there is none."""

EVENT_CLASSES: dict[str, type] = {
    cls.__name__: cls
    for cls in (
        Queued,
        Started,
        PhaseAdvanced,
        StepDone,
        PreviewSaved,
        CheckpointSaved,
        StateSaved,
        Validated,
        Noted,
        Finished,
        Failed,
        Stopped,
        Paused,
        Denoised,
        LivePreview,
        ImageSaved,
        ResultDrawn,
    )
}


def event_to_json(event: Event) -> dict[str, Any]:
    return {"kind": type(event).__name__, **asdict(event)}


def event_from_json(data: dict[str, Any]) -> Event:
    """Rebuild an event; keys that a later version added are ignored.

    Raises ValueError for an unknown kind.
    """
    cls = EVENT_CLASSES.get(data.get("kind", ""))
    if cls is None:
        raise ValueError(f"unknown event kind {data.get('kind')!r}")
    names = {field.name for field in fields(cls)}
    values = {
        key: tuple(value) if isinstance(value, list) else value for key, value in data.items() if key in names
    }
    return cls(**values)


def ignore(event: Event) -> None:
    """An `Emit` for callers who do not listen."""


def never_stop() -> bool:
    """A `ShouldStop` for callers who always run to the end."""
    return False


def no_commands() -> Command | None:
    """`Commands` for callers who give none."""
    return None
