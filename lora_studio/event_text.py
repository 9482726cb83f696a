"""Events as sentences: the one wording for the log, the command line, the mirror and the page."""

from __future__ import annotations

from pathlib import Path

from lora_studio.events import (
    PHASES,
    CheckpointSaved,
    Event,
    Failed,
    Finished,
    Noted,
    Paused,
    PhaseAdvanced,
    PreviewSaved,
    Queued,
    ResultDrawn,
    Started,
    StepDone,
    Stopped,
    Validated,
)

LINES_OF_TRAINING = 50
"""Lines on steps in a log at most, however many steps there are."""


def event_text(event: Event, *, paths: bool = False) -> str:
    """A line for people, with files by name or with `paths` whole; empty for events that only repeat."""
    match event:
        case Queued():
            return f"Waiting, {event.ahead} ahead." if event.ahead else "Waiting."
        case Started():
            resumed = f", from step {event.start_step}" if event.start_step else ""
            pictures = "1 picture" if event.images == 1 else f"{event.images} pictures"
            steps = "1 step" if event.total_steps == 1 else f"{event.total_steps} steps"
            return f"Started on {event.device} in {event.dtype}: {pictures}, {steps}{resumed}."
        case PhaseAdvanced():
            note = f" ({event.note})" if event.note else ""
            title = PHASES[event.phase].title if event.phase in PHASES else event.phase
            return f"{title}: done{note}" if event.done >= event.total else ""
        case StepDone():
            every = max(1, event.total_steps // LINES_OF_TRAINING)
            if event.step % every and event.step != event.total_steps:
                return ""
            return (
                f"Step {event.step} of {event.total_steps}: loss {event.average_loss:.4f}, "
                f"learning rate {event.learning_rate:.2e}, {event.seconds:.2f} s"
            )
        case PreviewSaved() | CheckpointSaved():
            what = "Preview" if isinstance(event, PreviewSaved) else "Saved"
            return f"{what} at step {event.step}: {event.path if paths else Path(event.path).name}"
        case Validated():
            base = f" (base {event.base_loss:.4f})" if event.base_loss is not None else ""
            return f"Loss on the pictures held back at step {event.step}: {event.loss:.4f}{base}"
        case Noted():
            return f"{'Warning' if event.level == 'warning' else 'Note'}: {event.message}"
        case Finished():
            return f"Finished after {event.steps} steps in {event.seconds:.0f} s: {event.path}"
        case Stopped():
            return f"Stopped at step {event.step}." + (f" Kept: {event.path}" if event.path else "")
        case Paused():
            return f"{event.message} {event.hint}".rstrip() or f"Paused at step {event.step}."
        case ResultDrawn() if not event.ticket:
            pictures = "1 picture was" if len(event.paths) == 1 else f"{len(event.paths)} pictures were"
            return event.message or f"{pictures} drawn with it."
        case Failed():
            return f"Failed: {event.message} {event.hint}".rstrip()
    return ""
