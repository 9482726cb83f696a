"""Views of trainings: pure functions from records and events to HTML."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from lora_studio.events import PHASES, PhaseAdvanced, PreviewSaved, Started
from lora_studio.formatting import about, duration
from lora_studio.records import JobRecord, JobStatus, StoredEvent
from lora_studio.ui.client_input.field_refusals import labelled_sentence
from lora_studio.ui.widgets.html_templates import fill
from lora_studio.ui.widgets.setting_labels import LABELS

STATUS_SENTENCES: Mapping[JobStatus, str] = {
    JobStatus.QUEUED: "Waiting for its turn.",
    JobStatus.RUNNING: "Getting ready.",
    JobStatus.STOPPING: "Stopping after this step; what was learned so far is kept.",
    JobStatus.PAUSING: "Pausing after this step.",
    JobStatus.PAUSED: "It can go on at any time, also after a restart.",
    JobStatus.FINISHED: "Your LoRA is ready.",
    JobStatus.STOPPED: "Stopped.",
    JobStatus.FAILED: "The training failed.",
    JobStatus.INTERRUPTED: "The studio was closed while this ran.",
}


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A phase of a run: `percent` 0..100, `state` waiting, active or done."""

    title: str
    percent: int
    state: str
    count: str


def percent(job: JobRecord) -> int:
    """Whole percent; 100 only once the job has finished."""
    if job.status is JobStatus.FINISHED:
        return 100
    return max(0, min(99, int(job.progress)))


def time_left(job: JobRecord) -> str:
    if job.status is JobStatus.RUNNING and job.seconds_left is not None and job.step:
        return f"{about(_steady(job.seconds_left))} left"
    if job.finished_at and job.started_at and not job.status.active:
        worked = duration(job.seconds_at_work(job.finished_at))
        return f"{worked} so far" if job.status is JobStatus.PAUSED else f"took {worked}"
    return ""


def sentence(job: JobRecord) -> str:
    """The state in words."""
    if job.status in {JobStatus.FAILED, JobStatus.INTERRUPTED, JobStatus.PAUSED} and job.message:
        return job.message
    if job.status is JobStatus.RUNNING and job.phase:
        doing = f"{PHASES[job.phase].title if job.phase in PHASES else job.phase.capitalize()} …"
        return f"{doing} step {job.step} of {job.total_steps}" if job.phase == "train" and job.step else doing
    if job.status is JobStatus.PAUSED and job.step:
        rest = STATUS_SENTENCES[job.status]
        return f"Paused at step {job.step} of {job.total_steps}. {rest}"
    if job.status is JobStatus.STOPPED:
        if job.result_path:
            return f"Stopped at step {job.step}, kept."
        return (
            f"Stopped at step {job.step}, with nothing to keep yet."
            if job.step
            else "Stopped before it began."
        )
    return STATUS_SENTENCES[job.status]


def _steady(seconds: float) -> float:
    """Seconds in steps of five: the estimate wobbles with each step of the training."""
    return 5.0 * math.ceil(seconds / 5)


def remark(job: JobRecord) -> str:
    """The last note of the run, or the hint on its failure, in words of the page."""
    return labelled_sentence(job.hint or ("" if sentence(job) == job.message else job.message), LABELS)


def spoken(job: JobRecord | None) -> str:
    """Text for screen readers: changes with the status and each 10 percent, not each second."""
    if job is None:
        return ""
    if job.status is JobStatus.RUNNING:
        return f"Training {job.name}: {percent(job) // 10 * 10} percent."
    return f"Training {job.name}: {sentence(job)}"


def phases(job: JobRecord, events: Sequence[StoredEvent]) -> list[Phase]:
    """The phases of this run, from its Started and PhaseAdvanced events."""
    names: tuple[str, ...] = ()
    done: dict[str, PhaseAdvanced] = {}
    for stored in events:
        if isinstance(stored.event, Started):
            names, done = stored.event.phases, {}
        elif isinstance(stored.event, PhaseAdvanced):
            done[stored.event.phase] = stored.event
    return [_phase(name, job, done.get(name)) for name in names if name in PHASES]


def _phase(name: str, job: JobRecord, advanced: PhaseAdvanced | None) -> Phase:
    reached, total = (advanced.done, advanced.total) if advanced else (0, 0)
    drawing = name == "preview" and job.phase == "preview"
    if name == "train" or (name == "preview" and job.status.active and not drawing):
        reached, total = job.step, job.total_steps  # previews come in rounds, spread over the training
    share = 100 if job.status is JobStatus.FINISHED else round(100 * reached / total) if total else 0
    active = job.status.active and job.phase == name and share < 100
    return Phase(
        title=PHASES[name].title,
        percent=min(100, share),
        state="done" if share >= 100 else "active" if active else "waiting",
        count=_count(name, reached, total),
    )


def _count(name: str, reached: int, total: int) -> str:
    """Steps as a number. Of preparing a share while it lasts: it counts captions and pictures for
    regularisation too, more than anybody uploaded."""
    if name == "train" and total > 1:
        return f"{reached} / {total}"
    return f"{round(100 * reached / total)} %" if name == "cache" and 0 < reached < total else ""


def speech(job: JobRecord | None) -> str:
    """HTML of `spoken` for the live region."""
    return fill("training_speech", job=job, text=spoken(job))


def job_card(job: JobRecord | None, events: Sequence[StoredEvent] = ()) -> str:
    """HTML of the card of one training: status, bar, phases. Without a job, the first thing to do."""
    if job is None:
        return fill("no_job")
    return fill(
        "job",
        job=job,
        percent=percent(job),
        time_left=time_left(job),
        sentence=sentence(job),
        remark=remark(job),
        phases=phases(job, events),
    )


def strip(job: JobRecord | None, waiting: int = 0) -> str:
    """HTML of the slim line above the tabs while something runs; empty when nothing does."""
    if job is None:
        return ""
    return fill("strip", job=job, percent=percent(job), time_left=time_left(job), waiting=waiting)


def previews(
    stored: Sequence[StoredEvent], title: str, pictures: Sequence[str] = (), *, is_running: bool = True
) -> str:
    """HTML of pairs of base and LoRA, newest checkpoint first, beside training pictures; empty when there are
    none yet. Step 0 is the base alone, shown until there is something to compare it with. Earlier checkpoints
    are unfolded while it trains; afterwards the checkpoint report shows them."""
    saved = [item.event for item in stored if isinstance(item.event, PreviewSaved)]
    shown = [event for event in saved if event.step] or saved
    shown.sort(key=lambda event: -event.step)  # stable: prompts keep their order
    rounds = [(step, list(events)) for step, events in groupby(shown, key=lambda event: event.step)]
    if not rounds:
        return ""
    return fill("previews", rounds=rounds, title=title, pictures=pictures, is_running=is_running)


def log_tail(text: str, lines: int = 60) -> str:
    """The last lines of a log."""
    return "\n".join(text.splitlines()[-lines:])
